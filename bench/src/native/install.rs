//! Makes and removes the folder of a native library: complete or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use mimus_core::native::{Found, Known, MANIFEST, Manifest, Place};
use mimus_core::{Error, Result};

use super::wheels::Recipe;
use super::{failed, pip, unpack, write};
use crate::files;

/// What is to be installed, and where.
pub(crate) struct Order {
    pub(crate) known: &'static Known,
    pub(crate) recipe: &'static Recipe,
    pub(crate) place: Place,
    /// With what NVIDIA GPUs need.
    pub(crate) cuda: bool,
}

pub(crate) enum Installed {
    /// It was there, whole and of the right version.
    Before(Found),
    Now(Found),
}

impl Order {
    /// Downloads, unpacks beside, and renames. `tell` is told what is about to happen.
    pub(crate) fn run(&self, tell: &mut dyn FnMut(&str) -> Result<()>) -> Result<Installed> {
        let Self { known, recipe, place, cuda } = self;
        if (std::env::consts::OS, std::env::consts::ARCH) != ("linux", "x86_64") {
            return Err(Error::backend("native libraries are installed on Linux for x86-64 only"));
        }
        if *cuda && !recipe.has_cuda() {
            let message = format!("no build of {} {} for NVIDIA GPUs is known", known.title, known.version);
            return Err(Error::config(message).hint("install it without --cuda"));
        }
        match place.find(known).and_then(|found| found.map(|found| found.check().map(|()| found)).transpose()) {
            Ok(Some(found)) if found.cuda || !cuda => return Ok(Installed::Before(found)),
            Ok(Some(_)) => tell("replaces an installation without CUDA")?,
            Ok(None) => {}
            Err(error) => tell(&format!("replaces what is there: {}", error.message()))?,
        }
        let root = root(*place)?;
        let _lock = lock(&root)?;
        let work = tempfile::Builder::new().prefix(files::UNFINISHED).tempdir_in(&root);
        let work = work.map_err(|error| failed("cannot be written", &root, &error))?;
        let made = self.make(work.path(), tell)?;
        made.check()?;
        Ok(Installed::Now(Found { folder: self.replace(&root, work.path())?, ..made }))
    }

    /// The whole folder below `work`.
    fn make(&self, work: &Path, tell: &mut dyn FnMut(&str) -> Result<()>) -> Result<Found> {
        let Self { known, recipe, place, cuda } = *self;
        let wheels = recipe.needed(cuda);
        let megabytes = wheels.iter().map(|wheel| wheel.bytes).sum::<u64>().div_ceil(1_000_000);
        let names: Vec<String> = wheels.iter().map(|wheel| format!("{} {}", wheel.package, wheel.version)).collect();
        tell(&format!("downloads {megabytes} MB with pip, unless pip has them: {}", names.join(", ")))?;
        let (folder, downloads) = (work.join(known.name), work.join("wheels"));
        std::fs::create_dir(&downloads).map_err(|error| failed("cannot be written", &downloads, &error))?;
        pip::download(&wheels, &downloads)?;
        tell("unpacks what is needed of them")?;
        for wheel in wheels {
            let file = pip::file(wheel, &downloads)?;
            unpack::unpack(&file, &wheel.taken(cuda).collect::<Vec<_>>(), &folder)?;
            std::fs::remove_file(&file).map_err(|error| failed("cannot be removed", &file, &error))?;
        }
        for (path, text) in recipe.texts {
            write(&folder.join(path), text.as_bytes())?;
        }
        let manifest = Manifest { name: known.name.to_owned(), version: known.version.to_owned(), cuda };
        let text = toml::to_string(&manifest).map_err(|error| Error::config(error.to_string()))?;
        write(&folder.join(MANIFEST), text.as_bytes())?;
        Ok(Found { known, place, folder, version: manifest.version, cuda })
    }

    /// Moves the finished folder to its place; an old one is moved into `work`, which goes away.
    fn replace(&self, root: &Path, work: &Path) -> Result<PathBuf> {
        let (new, target) = (work.join(self.known.name), root.join(self.known.name));
        let moved = |error| failed("cannot be replaced", &target, &error);
        if target.exists() {
            std::fs::rename(&target, work.join("old")).map_err(moved)?;
        }
        std::fs::rename(&new, &target).and_then(|()| target.canonicalize()).map_err(moved)
    }
}

/// Removes the folder of a native library.
pub(crate) fn remove(known: &Known, place: Place) -> Result<PathBuf> {
    let root = root(place)?;
    let folder = root.join(known.name);
    if !folder.exists() {
        return Err(Error::config(format!("{} is not installed here", known.title))
            .with("folder", folder.display())
            .hint("`mimus backend list` shows where it is; --user means your data folder"));
    }
    let _lock = lock(&root)?;
    let work = tempfile::Builder::new().prefix(files::UNFINISHED).tempdir_in(&root);
    let removed = work.and_then(|work| std::fs::rename(&folder, work.path().join("old")).and_then(|()| work.close()));
    removed.map_err(|error| failed("cannot be removed", &folder, &error))?;
    Ok(folder)
}

/// The folder with a folder for each native library.
fn root(place: Place) -> Result<PathBuf> {
    place.folder().ok_or_else(|| {
        Error::config("there is no data folder of a user: neither XDG_DATA_HOME nor HOME is set")
            .hint("install into the project, without --user")
    })
}

/// One process at a time; what a killed one left unfinished is removed.
fn lock(root: &Path) -> Result<File> {
    let failed = |error: std::io::Error| failed("cannot be written", root, &error);
    std::fs::create_dir_all(root).map_err(failed)?;
    let lock = files::lock(&root.join(".lock")).map_err(failed)?.ok_or_else(|| {
        Error::config("another process works in this folder")
            .with("folder", root.display())
            .hint("wait for it, then run again")
    })?;
    for entry in std::fs::read_dir(root).map_err(failed)?.filter_map(std::result::Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(files::UNFINISHED) {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(lock)
}
