//! What the tests of the whole share: the repository, the libraries built from it, how they are opened, and trials on every backend.

mod artifacts;
mod backends;
mod trials;

use std::path::Path;
use std::process::Command;

use mimus_core::Result;
use mimus_core::abi::{Origin, Prober, Registry, Search};

pub use artifacts::{Artifacts, cargo};
pub use backends::{Engine, State, backends};
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
    command.current_dir(folder).env_remove("MIMUS_PLUGIN_PATH");
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
