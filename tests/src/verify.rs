//! `cargo verify`: everything that must hold before a change lands, step by step; the first failure ends it.

use std::process::Command;
use std::time::Instant;

use mimus_core::{Error, Result};
use mimus_tests::{Artifacts, cargo, repository};

/// What a step starts.
#[derive(Clone, Copy)]
enum Program {
    Cargo,
    /// The command `mimus` of this checkout.
    Mimus,
}

/// One call of a program.
struct Step {
    name: &'static str,
    program: Program,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// What to do if it fails.
    hint: &'static str,
}

/// In this order: what is cheap first; what the whole workspace needs, the native libraries of its backends, before all of it. The
/// tests build the plugin libraries themselves, which a step of its own does here so that its time is seen.
const STEPS: &[Step] = &[
    Step {
        name: "tools: rustfmt",
        program: Program::Cargo,
        arguments: &["fmt", "--version"],
        variables: &[],
        hint: "install it: rustup component add rustfmt",
    },
    Step {
        name: "tools: clippy",
        program: Program::Cargo,
        arguments: &["clippy", "--version"],
        variables: &[],
        hint: "install it: rustup component add clippy",
    },
    Step {
        name: "format",
        program: Program::Cargo,
        arguments: &["fmt", "--all", "--check"],
        variables: &[],
        hint: "format the files that are shown: cargo fmt --all",
    },
    Step {
        name: "plugins",
        program: Program::Cargo,
        arguments: &["build"],
        variables: &[],
        hint: "mend what the compiler shows above",
    },
    Step {
        name: "native library of torch",
        program: Program::Mimus,
        arguments: &["backend", "install", "torch"],
        variables: &[],
        hint: "the error above says what is missing",
    },
    Step {
        name: "native library of onnx",
        program: Program::Mimus,
        arguments: &["backend", "install", "onnxruntime"],
        variables: &[],
        hint: "the error above says what is missing",
    },
    Step {
        name: "program ffmpeg",
        program: Program::Mimus,
        arguments: &["backend", "install", "ffmpeg"],
        variables: &[],
        hint: "the error above says what is missing",
    },
    Step {
        name: "clippy",
        program: Program::Cargo,
        arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        variables: &[],
        hint: "mend what clippy shows above",
    },
    Step {
        name: "docs",
        program: Program::Cargo,
        arguments: &["doc", "--workspace", "--no-deps"],
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
        hint: "mend what rustdoc shows above",
    },
    Step {
        name: "tests",
        program: Program::Cargo,
        arguments: &["test", "--workspace"],
        variables: &[],
        hint: "the failing test says above what it expected",
    },
    Step {
        name: "candle's tensors",
        program: Program::Cargo,
        arguments: &[
            "test",
            "--package",
            "mimus-tests",
            "--features",
            "tensors",
            "--test",
            "conformance",
            "--",
            "tensors",
        ],
        variables: &[],
        hint: "the failing trial says above what the interpreter computes",
    },
];

/// Runs all steps.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    for (i, step) in STEPS.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", i + 1, STEPS.len(), step.name, step.command());
        let seconds = call(step)?;
        eprintln!("[{}/{}] {}: passed in {seconds:.1} s", i + 1, STEPS.len(), step.name);
    }
    eprintln!("verified in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

impl Step {
    /// As one would type it.
    fn command(&self) -> String {
        let program = match self.program {
            Program::Cargo => "cargo",
            Program::Mimus => "mimus",
        };
        format!("{program} {}", self.arguments.join(" "))
    }
}

/// Seconds that the step took.
fn call(step: &Step) -> Result<f64> {
    let start = Instant::now();
    let mut command = match step.program {
        Program::Cargo => cargo(),
        Program::Mimus => Command::new(Artifacts::of_workspace()?.program("mimus")?),
    };
    command.args(step.arguments).envs(step.variables.iter().copied()).current_dir(repository());
    let failed =
        |error: std::io::Error| Error::io(&format!("`{}` cannot be started", step.command()), repository(), &error);
    let status = command.status().map_err(failed)?;
    if status.success() {
        return Ok(start.elapsed().as_secs_f64());
    }
    let message = format!("`{}` failed ({status})", step.command());
    Err(Error::config(message).with("step", step.name).hint(step.hint))
}
