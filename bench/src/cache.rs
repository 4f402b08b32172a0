//! What is computed once for all runs: files in the user's cache folder, named by what they were made of.

use std::path::PathBuf;

use mimus_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::files::digest;

/// The file of a kind that holds what is made of `content`.
///
/// # Errors
/// If there is no cache folder.
pub(crate) fn place(kind: &str, content: &impl Serialize) -> Result<PathBuf> {
    let text = serde_json::to_string(content).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    Ok(mimus_core::folders::cache_folder()?.join(kind).join(digest(text.as_bytes())))
}
