//! What the tests of the whole share: the repository, the libraries built from it, and how they are opened.

mod artifacts;

use std::path::Path;

use mimus_core::Result;
use mimus_core::abi::{Origin, Prober, Registry, Search};

pub use artifacts::{Artifacts, cargo};

/// Argument of the program `chores` before the path of a library that it shall try.
pub const PROBE: &str = "__probe";

/// The root of the checkout.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The child process that tries libraries: the program `chores`.
///
/// # Errors
/// If the build fails.
pub fn prober() -> Result<Prober> {
    let program = Artifacts::of_workspace()?.program("chores")?.to_owned();
    Ok(Prober { program, arguments: vec![PROBE.into()], cache: None })
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
