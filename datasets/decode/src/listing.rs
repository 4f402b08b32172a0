//! Lists folders of a data set in natural order and refuses what does not belong there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::EXTENSIONS;
use mimus_core::{Error, ErrorKind, Result};

/// What file managers and archivers leave behind, beside files whose name starts with a dot.
const LITTER: [&str; 3] = ["thumbs.db", "desktop.ini", "__macosx"];

/// A file or folder in a folder.
pub struct Entry {
    /// Its name, which is also its name in samples' ids.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a folder, or a link to one.
    pub is_folder: bool,
}

/// An image in a folder.
pub struct ImageFile {
    /// Its name without extension.
    pub stem: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The folder that the user gave for a data set of files.
///
/// # Errors
/// If none was given, or it is no folder.
pub fn root(root: Option<&Path>) -> Result<&Path> {
    let root = root.ok_or_else(|| {
        Error::config("is missing").with("key", "root").hint("name the folder that holds the data set")
    })?;
    let refused = |what: &str| Error::data(what).with("folder", root.display());
    if !root.exists() {
        return Err(refused("does not exist")
            .hint("check the key `root` for a misspelling; relative paths start at the working directory"));
    }
    if !root.is_dir() {
        return Err(refused("is a file, not a folder").hint("name the folder that holds the data set"));
    }
    Ok(root)
}

/// The name of a folder, wherever a path such as `.` says that it is.
///
/// # Errors
/// If the path leads nowhere.
pub fn folder_name(folder: &Path) -> Result<String> {
    let full = folder
        .canonicalize()
        .map_err(|error| Error::io("cannot be resolved", folder, &error).into_kind(ErrorKind::Data))?;
    Ok(full.file_name().and_then(|name| name.to_str()).unwrap_or("root").to_owned())
}

/// The visible entries of a folder, in natural order (`2.png` before `10.png`).
///
/// # Errors
/// If the folder or something in it cannot be read, or has a name that is not UTF-8.
pub fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let unreadable = |path: &Path, error| {
        let hint = "check that it exists, that it is no broken link, and that you may read it";
        Error::io("cannot be read", path, &error).into_kind(ErrorKind::Data).hint(hint)
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            return Err(Error::data("has a name that is not UTF-8").with("file", path.display()).hint("rename it"));
        };
        if name.starts_with('.') || LITTER.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let is_folder = fs::metadata(&path).map_err(|error| unreadable(&path, error))?.is_dir();
        entries.push(Entry { name, path, is_folder });
    }
    entries.sort_by(|a, b| alphanumeric_sort::compare_str(&a.name, &b.name).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

/// The folders in a folder that may hold files too.
///
/// # Errors
/// As [`entries`].
pub fn folders(folder: &Path) -> Result<Vec<Entry>> {
    Ok(entries(folder)?.into_iter().filter(|entry| entry.is_folder).collect())
}

/// The images in a folder that holds nothing else.
///
/// # Errors
/// If there is none, a folder, a file with another extension, or two with the same stem.
pub fn images(folder: &Path) -> Result<Vec<ImageFile>> {
    let images = entries(folder)?.into_iter().map(image).collect::<Result<Vec<_>>>()?;
    if images.is_empty() {
        return Err(Error::data("holds no image")
            .with("folder", folder.display())
            .hint("add images to the folder or remove it"));
    }
    let mut by_stem: Vec<&ImageFile> = images.iter().collect();
    by_stem.sort_by_key(|image| &image.stem);
    match by_stem.windows(2).find(|pair| pair[0].stem == pair[1].stem) {
        None => Ok(images),
        Some(twins) => Err(Error::data(format!("two images share the name {}", twins[0].stem))
            .with("file", twins[0].path.display())
            .hint(format!("rename or remove it or {}", twins[1].path.display()))),
    }
}

fn image(entry: Entry) -> Result<ImageFile> {
    if entry.is_folder {
        return Err(Error::data("is a folder where only images belong")
            .with("folder", entry.path.display())
            .hint("move its images up, or the folder elsewhere"));
    }
    let name = Path::new(&entry.name);
    let extension = name.extension().and_then(|text| text.to_str()).unwrap_or_default().to_ascii_lowercase();
    match name.file_stem().and_then(|stem| stem.to_str()) {
        Some(stem) if EXTENSIONS.contains(&extension.as_str()) => {
            Ok(ImageFile { stem: stem.to_owned(), path: entry.path })
        }
        _ => Err(Error::data(format!("is no image: expects a name in .{}", EXTENSIONS.join(", .")))
            .with("file", entry.path.display())
            .hint("move it elsewhere, or convert it to PNG if it is an image")),
    }
}
