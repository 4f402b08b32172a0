//! Builds with cargo and reads from its messages where the results are: `cargo test` alone builds no plugin library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use mimus_core::{Error, Result};
use serde_json::Value;

use crate::repository;

/// Packages of the libraries that misbehave on purpose: no default members, so that no build for use makes them.
const ROGUES: [&str; 4] = ["rogue-aborting", "rogue-components", "rogue-layout", "rogue-silent"];

/// What a build made.
#[derive(Clone, Debug, Default)]
pub struct Artifacts {
    /// Shared libraries, sorted.
    pub libraries: Vec<PathBuf>,
    /// Programs by name.
    pub programs: BTreeMap<String, PathBuf>,
}

impl Artifacts {
    /// The default members of the workspace, built once in the life of this process; candle with its devices `tensors` and `cuda:N`
    /// where the features `tensors` and `cuda` ask for them. While tests run, cargo's lock is free.
    ///
    /// # Errors
    /// If the build fails.
    pub fn of_workspace() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<Artifacts>> = OnceLock::new();
        let arguments: &[&str] = if cfg!(feature = "cuda") {
            &["--features", "mimus-candle/cuda"]
        } else if cfg!(feature = "tensors") {
            &["--features", "mimus-candle/tensors"]
        } else {
            &[]
        };
        BUILT.get_or_init(|| Self::build(repository(), arguments)).as_ref().map_err(Clone::clone)
    }

    /// The libraries of `tests/rogues`, built once in the life of this process.
    ///
    /// # Errors
    /// If the build fails.
    pub fn of_rogues() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<Artifacts>> = OnceLock::new();
        let build = || {
            let packages = ROGUES.iter().flat_map(|package| ["--package", package]);
            Self::build(repository(), &packages.collect::<Vec<_>>())
        };
        BUILT.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    /// Runs `cargo build` with `arguments` in `folder`: in the profile and target directory of the running program, so that nothing
    /// is built twice.
    ///
    /// # Errors
    /// If the build fails; the compiler's own words are on the terminal.
    pub fn build(folder: &Path, arguments: &[&str]) -> Result<Self> {
        let (target, profile) = own_build()?;
        let mut command = cargo();
        command.args(["build", "--message-format=json-render-diagnostics", "--profile", &profile, "--target-dir"]);
        command.arg(target).args(arguments).current_dir(folder).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| Error::io("cargo cannot be started", folder, &error))?;
        if !output.status.success() {
            let message = format!("`cargo build {}` failed ({})", arguments.join(" "), output.status);
            return Err(Error::plugin(message).with("folder", folder.display()));
        }
        let mut artifacts = Self::default();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
            let message = serde_json::from_slice(line)
                .map_err(|error| Error::plugin(format!("cargo's message cannot be read: {error}")))?;
            artifacts.add(&message);
        }
        artifacts.libraries.sort();
        Ok(artifacts)
    }

    fn add(&mut self, message: &Value) {
        if message["reason"] != "compiler-artifact" {
            return;
        }
        if let (Some(name), Some(program)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
            self.programs.insert(name.to_owned(), program.into());
        }
        let is_library =
            message["target"]["crate_types"].as_array().is_some_and(|types| types.contains(&"cdylib".into()));
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        self.libraries
            .extend(files.filter(|file| is_library && file.ends_with(std::env::consts::DLL_SUFFIX)).map(PathBuf::from));
    }

    /// The program called `name`.
    ///
    /// # Errors
    /// If the build made none.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let found = self.programs.get(name).map(PathBuf::as_path);
        found.ok_or_else(|| Error::plugin(format!("the build made no program `{name}`")))
    }

    /// The library of the package called `package`.
    ///
    /// # Errors
    /// If the build made none.
    pub fn library(&self, package: &str) -> Result<&Path> {
        let name =
            format!("{}{}{}", std::env::consts::DLL_PREFIX, package.replace('-', "_"), std::env::consts::DLL_SUFFIX);
        let found = self.libraries.iter().find(|path| path.file_name().is_some_and(|file| file == name.as_str()));
        found.map(PathBuf::as_path).ok_or_else(|| Error::plugin(format!("the build made no library `{name}`")))
    }
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Target directory and profile of the running program, from its path `TARGET/PROFILE/[deps/]program`.
fn own_build() -> Result<(PathBuf, String)> {
    let program = std::env::current_exe()
        .map_err(|error| Error::plugin(format!("the program's own path is unknown: {error}")))?;
    let folder = program.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let parts = folder.and_then(|folder| Some((folder.parent()?, folder.file_name()?.to_str()?)));
    let (target, profile) = parts.ok_or_else(|| {
        Error::plugin("the program lies in no target directory of cargo").with("file", program.display())
    })?;
    Ok((target.to_owned(), if profile == "debug" { "dev" } else { profile }.to_owned()))
}
