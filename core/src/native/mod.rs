//! Native libraries that backends need: which there are, in which folder each lies, and whether it is whole and of the right version.
//!
//! `mimus backend install` makes such a folder: `lib/` with the libraries, and `native.toml`, which says what they are. The folder of the
//! project wins over the user's.

pub(crate) mod elf;
mod known;
pub(crate) mod permissions;

use std::fmt;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, did_you_mean};
use crate::folders::user_folder;

pub use known::{KNOWN, Known};

/// Name of the file that says what a folder holds.
pub const MANIFEST: &str = "native.toml";

/// What stands in `native.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the native library.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it can use NVIDIA GPUs.
    pub cuda: bool,
}

/// Where native libraries may lie; in the order in which places win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `.mimus/native` in the current folder.
    Project,
    /// `mimus/native` in the user's data folder.
    User,
}

impl Place {
    /// All places.
    pub const ALL: [Self; 2] = [Self::Project, Self::User];

    /// The folder with a folder for each native library; `None` if the user has no data folder.
    pub fn folder(self) -> Option<PathBuf> {
        match self {
            Self::Project => Some(Path::new(".mimus").join("native")),
            Self::User => user_folder("XDG_DATA_HOME", ".local/share").map(|folder| folder.join("native")),
        }
    }

    /// The command that installs `name` here, with CUDA or without.
    pub fn install_command(self, name: &str, cuda: bool) -> String {
        let user = if self == Self::User { " --user" } else { "" };
        format!("mimus backend install {name}{user}{}", if cuda { " --cuda" } else { "" })
    }

    /// What lies here under the name of `known`, whatever its version; `None` if nothing does.
    ///
    /// # Errors
    /// If there is a folder that does not say what it holds.
    pub fn find(self, known: &'static Known) -> Result<Option<Found>> {
        let Some(folder) = self.folder().map(|place| place.join(known.name)) else { return Ok(None) };
        let failed = |error: Error| {
            error
                .with("native library", folder.display())
                .hint(format!("run `{}`", self.install_command(known.name, false)))
        };
        let absolute = match folder.canonicalize() {
            Ok(absolute) => absolute,
            Err(error) if error.kind() == NotFound => return Ok(None),
            Err(error) => return Err(failed(Error::backend(format!("cannot be examined: {error}")))),
        };
        let text = std::fs::read_to_string(absolute.join(MANIFEST))
            .map_err(|error| failed(Error::backend(format!("its {MANIFEST} cannot be read: {error}"))))?;
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|error| failed(Error::backend(format!("its {MANIFEST} is damaged: {}", error.message()))))?;
        if manifest.name != known.name {
            return Err(failed(Error::backend(format!("its {MANIFEST} says that it is `{}`", manifest.name))));
        }
        Ok(Some(Found { known, place: self, folder: absolute, version: manifest.version, cuda: manifest.cuda }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::User => "user",
        })
    }
}

/// A native library in a native folder. Only [`Found::check`] says whether it can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub known: &'static Known,
    /// Where it was found.
    pub place: Place,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Its version, as `native.toml` says.
    pub version: String,
    /// Whether it was installed for NVIDIA GPUs.
    pub cuda: bool,
}

impl Found {
    /// The path of the library itself: what a program opens.
    pub fn library(&self) -> PathBuf {
        self.path(self.known.library())
    }

    /// The path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join("lib").join(file)
    }

    /// Whether it has the version that is expected, all its libraries, each of them whole and none writable by everyone.
    ///
    /// # Errors
    /// A sentence for the first that does not hold, with the command that mends it.
    pub fn check(&self) -> Result<()> {
        let problem = |message: String| {
            Error::backend(message)
                .with("native library", self.folder.display())
                .hint(format!("run `{}`", self.place.install_command(self.known.name, self.cuda)))
        };
        let Known { title, version, .. } = self.known;
        if self.version != *version {
            return Err(problem(format!("is {title} {}, expects {title} {version}", self.version)));
        }
        for file in self.known.files(self.cuda) {
            let path = self.path(file);
            let opened = std::fs::File::open(&path).map_err(|error| match error.kind() {
                NotFound => problem(format!("is incomplete: lib/{file} is missing")),
                _ => problem(format!("lib/{file} cannot be opened: {error}")),
            })?;
            permissions::refuse_world_writable(&path)?;
            if cfg!(target_os = "linux") {
                let data = object::read::ReadCache::new(opened);
                elf::examine(&data).map_err(|error| problem(format!("lib/{file} {}", error.message())))?;
            }
        }
        Ok(())
    }

    /// A text that changes when any of its libraries is replaced: names, lengths in bytes and times of change.
    ///
    /// # Errors
    /// If a library is not there.
    pub fn state(&self) -> Result<String> {
        let mut state = format!("{} {}", self.folder.display(), self.version);
        for file in self.known.files(self.cuda) {
            let path = self.path(file);
            let failed = |error: std::io::Error| Error::io("cannot be examined", &path, &error);
            let metadata = path.metadata().map_err(failed)?;
            let changed = metadata.modified().map_err(failed)?.duration_since(UNIX_EPOCH).unwrap_or_default();
            state += &format!("; {file} {} {}", metadata.len(), changed.as_nanos());
        }
        Ok(state)
    }
}

/// Whether a file outside the native folders is a whole shared library for this machine, not writable by everyone.
///
/// # Errors
/// Says what it is not.
pub fn examine(path: &Path) -> Result<()> {
    let refused = |message: String| Error::backend(message).with("file", path.display());
    let opened = std::fs::File::open(path).map_err(|error| refused(format!("cannot be opened: {error}")))?;
    permissions::refuse_world_writable(path)?;
    if cfg!(target_os = "linux") {
        let data = object::read::ReadCache::new(opened);
        elf::examine(&data).map_err(|error| refused(error.message().to_owned()))?;
    }
    Ok(())
}

/// The native library called `name`.
///
/// # Errors
/// If Mimus knows of none: with a suggestion.
pub fn known(name: &str) -> Result<&'static Known> {
    KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
        let names = || KNOWN.iter().map(|known| known.name);
        let error = Error::config(format!("there is no native library `{name}`"));
        match did_you_mean(name, names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("there are: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

/// The native library called `name` in the first place that has one, whatever its version; `None` if none has.
///
/// # Errors
/// If there is no such name, or if a folder does not say what it holds.
pub fn find(name: &str) -> Result<Option<Found>> {
    let known = known(name)?;
    for place in Place::ALL {
        if let Some(found) = place.find(known)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The native library called `name`, checked.
///
/// # Errors
/// If it is not installed, or as [`find`] and [`Found::check`].
pub fn require(name: &str) -> Result<Found> {
    let found = find(name)?.ok_or_else(|| known(name).map_or_else(|error| error, |known| known.missing()))?;
    found.check()?;
    Ok(found)
}
