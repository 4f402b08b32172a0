//! What is computed once for all runs: files in the user's cache folder, named by what they were made of.

use std::path::{Path, PathBuf};

use mimus_core::{Error, ErrorKind, Result};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::files::{UNFINISHED, digest};

/// The file of a kind that holds what is made of `content`.
///
/// # Errors
/// If there is no cache folder.
pub(crate) fn place(kind: &str, content: &impl Serialize) -> Result<PathBuf> {
    let text = serde_json::to_string(content).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    Ok(mimus_core::folders::cache_folder()?.join(kind).join(digest(text.as_bytes())))
}

/// A file beside `path` that becomes it with [`finish`]; removed if that is not reached.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn unfinished(path: &Path) -> Result<NamedTempFile> {
    let failed = |error: std::io::Error| {
        Error::io("cannot be written", path, &error).hint("name a folder that can be in MIMUS_CACHE")
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).map_err(failed)
}

/// Puts a finished file at its place.
///
/// # Errors
/// If the disk is full.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("cannot be written", path, &error).hint("free space there");
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
