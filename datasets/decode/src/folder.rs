//! Which files of a folder are pictures.

use std::fs;
use std::path::{Path, PathBuf};

use mimus_core::{Error, ErrorKind, Result};

/// Extensions of the formats that are decoded, in lower case.
pub const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff"];

/// All pictures below a folder, in the order of their paths. Links to folders are not followed.
///
/// # Errors
/// If a folder cannot be listed, or there is no picture.
pub fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed =
            |error: std::io::Error| Error::io("the folder cannot be read", &folder, &error).into_kind(ErrorKind::Data);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            match entry.file_type().map_err(failed)?.is_dir() {
                true => folders.push(path),
                false if has_extension(&path) && path.is_file() => files.push(path),
                false => {}
            }
        }
    }
    if files.is_empty() {
        return Err(Error::data("the folder holds no PNG, JPEG, BMP or TIFF").with("folder", folder.display()));
    }
    files.sort();
    Ok(files)
}

fn has_extension(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_at_any_depth_and_other_files_are_not() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        assert_eq!(pictures(root).unwrap_err().message(), "the folder holds no PNG, JPEG, BMP or TIFF");
        fs::create_dir_all(root.join("a/b")).unwrap();
        for file in ["z.PNG", "a/b/1.jpeg", "a/notes.txt"] {
            fs::write(root.join(file), "").unwrap();
        }
        assert_eq!(pictures(root).unwrap(), [root.join("a/b/1.jpeg"), root.join("z.PNG")]);
    }
}
