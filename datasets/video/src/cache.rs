//! What was made of files once, such as the frames of a video, kept for the next time: whole or not at all, and not without bound.
//!
//! ```text
//! <cache>/frames/<key>/           the files of an entry, and manifest.json, which says how long each is
//! <cache>/frames/<key>.lock       locked alone while the entry is made or removed, shared while it is in use; changed whenever it is used
//! <cache>/frames/<key>.part/      an entry that is being made
//! ```
//!
//! A key follows the content of a file and what is made of it, so an entry never goes out of date.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mimus_core::folders::cache_folder;
use mimus_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The environment variable for the most gigabytes that all entries together may have.
pub(crate) const LIMIT_VARIABLE: &str = "MIMUS_CACHE_GB";
const DEFAULT_GIGABYTES: u64 = 20;
const MANIFEST: &str = "manifest.json";
/// How often, and how long, an entry is waited for that others look at and nobody makes.
const WAIT: (usize, Duration) = (50, Duration::from_millis(200));

/// A folder of entries.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// Folder and most bytes; `None` takes the user's.
    place: Option<(PathBuf, u64)>,
}

/// An entry in use: it stays until this is dropped.
#[derive(Debug)]
pub struct Entry {
    key: String,
    folder: PathBuf,
    manifest: Manifest,
    _lock: File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    /// Length of every file.
    files: BTreeMap<String, u64>,
}

impl Entry {
    /// What it was made of, and how.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The paths of its files with an extension, in the order of their names.
    pub fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = self.manifest.files.keys().map(|name| self.folder.join(name));
        files.filter(|path| path.extension().is_some_and(|have| have == extension)).collect()
    }

    /// Has it made again the next time: for a reader who found it damaged. True if that is so.
    pub(crate) fn condemn(&self) -> bool {
        fs::remove_file(self.folder.join(MANIFEST)).is_ok()
    }
}

impl Cache {
    /// The user's: in the folder `frames` of [`cache_folder`], with as many gigabytes as `MIMUS_CACHE_GB` says, or 20.
    pub fn of_user() -> Self {
        Self::default()
    }

    /// Entries in `folder`, of at most `limit` bytes together.
    pub fn new(folder: &Path, limit: u64) -> Self {
        Self { place: Some((folder.to_owned(), limit)) }
    }

    fn place(&self) -> Result<(PathBuf, u64)> {
        if let Some(place) = &self.place {
            return Ok(place.clone());
        }
        let gigabytes = match std::env::var(LIMIT_VARIABLE) {
            Err(std::env::VarError::NotPresent) => DEFAULT_GIGABYTES,
            given => given.ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                Error::config("is no whole number of gigabytes").with("environment variable", LIMIT_VARIABLE)
            })?,
        };
        Ok((cache_folder()?.join("frames"), gigabytes.saturating_mul(1_000_000_000)))
    }

    /// The entry `key`; `make` fills its folder if there is none, or one that is damaged.
    ///
    /// # Errors
    /// If `make` fails, nothing can be written, or what is in use and the entry have no room together. Nothing half is left.
    pub fn entry(&self, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Entry> {
        let (root, limit) = self.place()?;
        let store = Store { root, limit };
        fs::create_dir_all(&store.root).map_err(|error| unwritable(&store.root, &error))?;
        let mut make = Some(make);
        for _ in 0..WAIT.0 {
            let lock = store.lock_file(key)?;
            lock.lock_shared().map_err(|error| unwritable(&store.root, &error))?;
            if let Some(manifest) = store.whole(key) {
                lock.set_modified(SystemTime::now()).map_err(|error| unwritable(&store.root, &error))?;
                return Ok(Entry { key: key.to_owned(), folder: store.root.join(key), manifest, _lock: lock });
            }
            lock.unlock().map_err(|error| unwritable(&store.root, &error))?;
            match lock.try_lock() {
                Ok(()) if store.whole(key).is_none() => {
                    if let Some(make) = make.take() {
                        store.make(key, make)?;
                    }
                }
                // Another process has made it, or looks whether it is there, as this one did.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT.1),
                Err(TryLockError::Error(error)) => return Err(unwritable(&store.root, &error)),
            }
        }
        Err(Error::new(ErrorKind::Io, "is damaged, and another process uses it")
            .with("cache entry", store.root.join(key).display())
            .hint("end the other process, then run again"))
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => "make room on the disk, or name another folder in MIMUS_CACHE",
        _ => "name a folder that can be written in the environment variable MIMUS_CACHE",
    };
    Error::io("the cache cannot be written", path, error).hint(hint)
}

/// The folder with its bound.
struct Store {
    root: PathBuf,
    limit: u64,
}

impl Store {
    fn lock_file(&self, key: &str) -> Result<File> {
        let path = self.root.join(format!("{key}.lock"));
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        opened.map_err(|error| unwritable(&path, &error))
    }

    /// The manifest of an entry whose files are all there in full length.
    fn whole(&self, key: &str) -> Option<Manifest> {
        let folder = self.root.join(key);
        let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
        let length = |name: &String| fs::metadata(folder.join(name)).ok().map(|data| data.len());
        manifest.files.iter().all(|(name, bytes)| length(name) == Some(*bytes)).then_some(manifest)
    }

    /// Makes an entry beside its place and moves it there; its lock is held alone.
    fn make(&self, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (part, folder) = (self.root.join(format!("{key}.part")), self.root.join(key));
        remove(&part)?;
        fs::create_dir(&part).map_err(|error| unwritable(&part, &error))?;
        let made = make(&part).and_then(|()| write_manifest(&part)).and_then(|bytes| self.make_room(key, bytes));
        let moved = made.and_then(|()| {
            remove(&folder)?;
            fs::rename(&part, &folder).map_err(|error| unwritable(&folder, &error))
        });
        if moved.is_err() {
            // The first error says more than that of cleaning up; the next attempt begins with the same step.
            let _ = remove(&part);
        }
        moved
    }

    /// Removes entries that nobody uses, those that were used longest ago first, until `bytes` more have room, and what killed processes left.
    fn make_room(&self, new: &str, bytes: u64) -> Result<()> {
        let listed = fs::read_dir(&self.root).map_err(|error| unwritable(&self.root, &error))?;
        let mut entries = Vec::new();
        for path in listed.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_dir()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let key = name.trim_end_matches(".part").to_owned();
            if key != new {
                let used = fs::metadata(self.root.join(format!("{key}.lock"))).and_then(|data| data.modified());
                let size = self.whole(name).map(|manifest| manifest.files.values().sum());
                entries.push((
                    size.is_some(),
                    used.unwrap_or(SystemTime::UNIX_EPOCH),
                    key,
                    path.clone(),
                    size.unwrap_or(0),
                ));
            }
        }
        // What is not whole comes first: it is of no use.
        entries.sort();
        let mut total: u64 = bytes + entries.iter().map(|entry| entry.4).sum::<u64>();
        for (whole, _, key, path, size) in &entries {
            if *whole && total <= self.limit {
                return Ok(());
            }
            let lock = self.lock_file(key)?;
            if lock.try_lock().is_ok() {
                remove(path)?;
                total -= size;
            }
        }
        if total <= self.limit {
            return Ok(());
        }
        let gigabytes = |bytes: u64| bytes.div_ceil(1_000_000_000);
        let message =
            format!("needs {} GB for all that is in use, more than {} GB", gigabytes(total), gigabytes(self.limit));
        Err(Error::new(ErrorKind::Io, message).with("cache", self.root.display()).hint(format!(
            "set the environment variable {LIMIT_VARIABLE} to {} at least, if the disk has room",
            gigabytes(total)
        )))
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(folder, &error)),
        _ => Ok(()),
    }
}

/// Says how long each file is; gives the length of all. The last file to be written: what has it is complete.
fn write_manifest(folder: &Path) -> Result<u64> {
    let failed = |error: io::Error| unwritable(folder, &error);
    let mut manifest = Manifest::default();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let length = entry.metadata().map_err(failed)?.len();
        manifest.files.insert(entry.file_name().to_string_lossy().into_owned(), length);
    }
    let text = serde_json::to_vec(&manifest).map_err(|error| failed(error.into()))?;
    let mut file = File::create(folder.join(MANIFEST)).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(manifest.files.values().sum())
}
