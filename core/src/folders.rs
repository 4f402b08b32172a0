//! The user's folders for what belongs to no project.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The folder `mimus` below the folder in `variable`, or below `fallback` in the user's home.
pub fn user_folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let base = std::env::var_os(variable).map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(fallback)));
    base.map(|base| base.join("mimus"))
}

/// The folder for what can be made again: the one that `MIMUS_CACHE` names, else `mimus` in the user's cache folder.
///
/// # Errors
/// If the environment names neither.
pub fn cache_folder() -> Result<PathBuf> {
    let named = std::env::var_os("MIMUS_CACHE").map(PathBuf::from);
    named.or_else(|| user_folder("XDG_CACHE_HOME", ".cache")).ok_or_else(|| {
        Error::config("there is no folder for what is kept between runs: neither MIMUS_CACHE nor HOME is set")
            .hint("name one in the environment variable MIMUS_CACHE")
    })
}
