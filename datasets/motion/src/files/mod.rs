//! Flow and boxes that others computed, read from files.

mod boxes;
mod flows;
mod json;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use mimus_core::{Error, ErrorKind, Result};

pub use boxes::{BoxFile, FoundBox};
pub use flows::FlowFolder;

/// What a folder holds but for hidden files, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::io("cannot be listed", folder, &error).into_kind(ErrorKind::Data);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !name(&path, Path::file_name)?.starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A part of a path's name as text.
fn name(path: &Path, part: fn(&Path) -> Option<&std::ffi::OsStr>) -> Result<&str> {
    part(path)
        .and_then(std::ffi::OsStr::to_str)
        .ok_or_else(|| Error::data("has a name that is no text").with("file", path.display()).hint("rename it"))
}

/// How the name of a file ends, in small letters.
fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}
