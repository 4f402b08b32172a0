//! Native libraries that backends need: how they are installed and removed, and how they and the backends are.

pub(crate) mod health;
mod install;
mod pip;
mod unpack;
mod wheels;

use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::path::Path;

use mimus_core::native::{Known, known};
use mimus_core::{Error, Result};

pub(crate) use install::{Installed, Order, remove};
pub(crate) use wheels::Recipe;

const DISK_FULL: &str = "the disk is full: free space, or install into your data folder with --user, then run again";

/// The native library called `name`, and how its folder is made.
pub(crate) fn recipe(name: &str) -> Result<(&'static Known, &'static Recipe)> {
    let known = known(name)?;
    let recipe = wheels::RECIPES.iter().find(|recipe| recipe.name == name);
    Ok((known, recipe.ok_or_else(|| Error::config(format!("`{name}` cannot be installed by this command")))?))
}

/// An error of the file system below a native folder.
fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let full = matches!(error.kind(), StorageFull | QuotaExceeded);
    Error::io(what, path, error).hint(if full {
        DISK_FULL
    } else {
        "mend the permissions of this folder, then run again"
    })
}

/// Writes a file, and the folders above it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error| failed("cannot be written", path, &error);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, bytes)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use mimus_core::native::KNOWN;

    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let hint = |kind: std::io::ErrorKind| {
            failed("cannot be written", Path::new("a"), &kind.into()).next_step().map(str::to_owned)
        };
        assert_eq!(hint(StorageFull).as_deref(), Some(DISK_FULL));
        assert_ne!(hint(std::io::ErrorKind::PermissionDenied).as_deref(), Some(DISK_FULL));
    }

    #[test]
    fn every_native_library_has_a_recipe_of_its_version_that_makes_all_its_files() {
        for known in KNOWN {
            let (_, recipe) = recipe(known.name).unwrap();
            for cuda in [false, true] {
                let taken: Vec<&str> =
                    recipe.wheels.iter().flat_map(|wheel| wheel.taken(cuda)).map(|(_, to)| to).collect();
                // A folder that is taken whole is known by its name alone.
                let gives =
                    |file: &str| taken.iter().any(|to| *to == file || to.ends_with('/') && file.starts_with(to));
                let missing: Vec<&str> = known.files(cuda).filter(|file| !gives(&format!("lib/{file}"))).collect();
                assert!(missing.is_empty(), "{}: no wheel gives {missing:?}", known.name);
            }
            assert_eq!(recipe.has_cuda(), !known.cuda.is_empty(), "{}", known.name);
            assert!(recipe.wheels.iter().any(|wheel| wheel.version == known.version), "{}", known.name);
            let sound = |(from, to): (&str, &str)| from.ends_with('/') == to.ends_with('/') && !to.contains("..");
            assert!(recipe.wheels.iter().all(|wheel| wheel.taken(true).all(sound) && wheel.sha256.len() == 64));
        }
    }
}
