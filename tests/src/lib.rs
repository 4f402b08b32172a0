//! What the tests of the whole share: the repository, the libraries built from it, how they are opened, and trials on every backend.

mod artifacts;
mod backends;
mod programs;
mod trials;

use std::path::{Path, PathBuf};
use std::process::Command;

use mimus_core::abi::{Origin, Prober, Registry, Search};
use mimus_core::{Error, Result};

pub use artifacts::{Artifacts, cargo};
pub use backends::{Engine, State, backends};
pub use programs::{begin, defaults, memae, training_step};
pub use trials::{Gaps, trial};

/// The root of the checkout.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The child process that tries libraries: the command `mimus`, as in use; no verdict is kept.
///
/// # Errors
/// If the build fails.
pub fn prober() -> Result<Prober> {
    let program = Artifacts::of_workspace()?.program("mimus")?.to_owned();
    Ok(Prober { program, arguments: vec!["__probe".into()], cache: None })
}

/// The command `mimus`, started in `folder` and blind to what the user has installed; what it caches goes below `folder`.
///
/// # Errors
/// If the build fails.
pub fn mimus(folder: &Path) -> Result<Command> {
    let mut command = Command::new(Artifacts::of_workspace()?.program("mimus")?);
    command.current_dir(folder).env_remove("MIMUS_PLUGIN_PATH").env_remove("MIMUS_CACHE").env_remove("MIMUS_CACHE_GB");
    command.env("XDG_CACHE_HOME", folder.join("cache")).env("XDG_DATA_HOME", folder.join("data"));
    Ok(command)
}

/// All plugins of the workspace, opened from their files as a user's are.
///
/// # Errors
/// If the build fails, or a library is refused.
pub fn plugins() -> Result<Registry> {
    let libraries = &Artifacts::of_workspace()?.libraries;
    let places = libraries.iter().map(|library| (Origin::Explicit, library.clone())).collect();
    let registry = Registry::discover(&Search { places, lock: None, prober: prober()? }, &[])?;
    match registry.refused.first() {
        None => Ok(registry),
        Some((_, _, error)) => Err(error.clone()),
    }
}

/// What a program left when it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ended {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// If it cannot be started, or prints what is no text.
    pub fn of(command: &mut Command) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let output = command.output().map_err(|error| Error::io("cannot be started", &program, &error))?;
        let text = |bytes| String::from_utf8(bytes).map_err(|error| Error::data(format!("prints no text: {error}")));
        Ok(Self { code: output.status.code(), out: text(output.stdout)?, err: text(output.stderr)? })
    }
}

/// The program ffmpeg: the one on the `PATH`, else the one that `mimus backend install ffmpeg` has put into the checkout.
///
/// # Errors
/// If neither is there.
pub fn ffmpeg() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = repository().join(".mimus/native/ffmpeg/lib/ffmpeg");
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).chain([installed]);
    places.find(|place| place.is_file()).ok_or_else(|| {
        Error::data("the program ffmpeg is not there").hint("run `mimus backend install ffmpeg` in the checkout")
    })
}

/// The folder of real data sets that tests read: the one that `MIMUS_TEST_DATA` names, else `../shared/data` beside the checkout;
/// or why there is none.
///
/// # Errors
/// If neither is there.
pub fn test_data() -> Result<PathBuf> {
    let folder = match std::env::var_os("MIMUS_TEST_DATA") {
        Some(named) => PathBuf::from(named),
        None => repository().join("../shared/data"),
    };
    folder.canonicalize().map_err(|error| {
        Error::io("the real data sets are not there", &folder, &error)
            .hint("name their folder in the environment variable MIMUS_TEST_DATA")
    })
}
