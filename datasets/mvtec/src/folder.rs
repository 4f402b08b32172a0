//! What the layout allows in a folder.

use std::path::Path;

use mimus_core::{Error, Result};
use mimus_decode::{Entry, entries};

/// The folders in a folder that holds nothing else.
///
/// # Errors
/// If there is a file.
pub(crate) fn only_folders(folder: &Path) -> Result<Vec<Entry>> {
    let entries = entries(folder)?;
    match entries.iter().find(|entry| !entry.is_folder) {
        None => Ok(entries),
        Some(file) => Err(Error::data("is a file where only folders belong").with("file", file.path.display()).hint(
            format!("put images one folder deeper, for example {}/good, and other files elsewhere", folder.display()),
        )),
    }
}
