//! `cargo verify`: everything that must hold before a change lands, step by step; the first failure ends it.

use std::time::Instant;

use mimus_core::{Error, Result};
use mimus_tests::{cargo, repository};

/// One call of cargo.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// What to do if it fails.
    hint: &'static str,
}

/// In this order: what is cheap first. The tests need no tool but cargo; they build the plugin libraries themselves, which a step of
/// its own does here so that its time is seen.
const STEPS: &[Step] = &[
    Step {
        name: "tools: rustfmt",
        arguments: &["fmt", "--version"],
        variables: &[],
        hint: "install it: rustup component add rustfmt",
    },
    Step {
        name: "tools: clippy",
        arguments: &["clippy", "--version"],
        variables: &[],
        hint: "install it: rustup component add clippy",
    },
    Step {
        name: "format",
        arguments: &["fmt", "--all", "--check"],
        variables: &[],
        hint: "format the files that are shown: cargo fmt --all",
    },
    Step { name: "plugins", arguments: &["build"], variables: &[], hint: "mend what the compiler shows above" },
    Step {
        name: "clippy",
        arguments: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        variables: &[],
        hint: "mend what clippy shows above",
    },
    Step {
        name: "docs",
        arguments: &["doc", "--workspace", "--no-deps"],
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
        hint: "mend what rustdoc shows above",
    },
    Step {
        name: "tests",
        arguments: &["test", "--workspace"],
        variables: &[],
        hint: "the failing test says above what it expected",
    },
    Step {
        name: "candle's tensors",
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
        eprintln!("[{}/{}] {}: cargo {}", i + 1, STEPS.len(), step.name, step.arguments.join(" "));
        let seconds = call(step)?;
        eprintln!("[{}/{}] {}: passed in {seconds:.1} s", i + 1, STEPS.len(), step.name);
    }
    eprintln!("verified in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn call(step: &Step) -> Result<f64> {
    let start = Instant::now();
    let mut command = cargo();
    command.args(step.arguments).envs(step.variables.iter().copied()).current_dir(repository());
    let status = command.status().map_err(|error| Error::io("cargo cannot be started", repository(), &error))?;
    if status.success() {
        return Ok(start.elapsed().as_secs_f64());
    }
    let message = format!("`cargo {}` failed ({status})", step.arguments.join(" "));
    Err(Error::config(message).with("step", step.name).hint(step.hint))
}
