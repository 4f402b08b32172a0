//! Whether others could replace a library.

use std::path::Path;

use crate::error::{Error, Result};

/// Refuses a file that everyone may write, or that lies in such a folder.
#[cfg(unix)]
pub(crate) fn refuse_world_writable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (what, place) in [("file", Some(path)), ("folder", path.parent())] {
        let Some(place) = place else { continue };
        let metadata = std::fs::metadata(place).map_err(|error| Error::io("cannot be examined", place, &error))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o002 != 0 {
            return Err(Error::plugin(format!(
                "its {what} is writable by everyone (mode {mode:o}), so that anyone could replace it"
            ))
            .with("file", path.display())
            .hint(format!("chmod o-w {}", place.display())));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_world_writable(_: &Path) -> Result<()> {
    Ok(())
}
