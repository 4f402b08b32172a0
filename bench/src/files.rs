//! Writing files so that a reader sees the old content or the new one, never half of it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use mimus_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// What the names of unfinished files begin with.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// Writes to a temporary name in the same folder, flushes, and renames.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = unfinished(path)?;
    file.write_all(bytes).map_err(|error| unwritten(path, &error))?;
    finish(file, path)
}

/// A file beside `path` that becomes it with [`finish`]; it goes away where that is not reached. For what is written piece by piece.
pub(crate) fn unfinished(path: &Path) -> Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| unwritten(path, &error))?;
    let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder);
    file.map_err(|error| unwritten(path, &error))
}

/// Puts a file that is written to its end at its place.
pub(crate) fn finish(file: NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(|error| unwritten(path, &error))?;
    file.persist(path).map_err(|error| unwritten(path, &error.error))?;
    Ok(())
}

/// The error of a file that cannot be written.
pub(crate) fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::io("cannot be written", path, error).hint("free space or permissions in this folder, then run again")
}

/// Writes a picture as PNG.
pub(crate) fn write_png(path: &Path, image: &image::RgbImage) -> Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| Error::new(ErrorKind::Io, error.to_string()).with("file", path.display()))?;
    write(path, &bytes.into_inner())
}

/// A lock that is held as long as the result lives; `None` if another process holds it.
pub(crate) fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads a whole file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("cannot be read", path, &error)),
    }
}

/// The file of the running program.
pub(crate) fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::plugin(format!("the program's own path is unknown: {error}")))
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("cannot be read", path, &error))?;
    Ok(digest(&bytes))
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
