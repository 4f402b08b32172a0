//! Where libraries are looked for, which component wins a name, and what it shadows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::export::Component;
use super::library::{Examined, Library};
use super::probe::Prober;
use crate::error::{Error, Result, did_you_mean};
use crate::plugin::{AttentionModule, Backend, ComponentInfo, Dataset, Kind, MimickingHead, Model};

/// Why a place is searched; in the order in which places win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A file named on the command line or in the TOML.
    Explicit,
    /// `--plugin-dir`.
    CommandLine,
    /// `MIMUS_PLUGIN_PATH`.
    Environment,
    /// `plugins/` beside the configuration.
    Project,
    /// The user's data directory.
    User,
    /// Linked into the program.
    BuiltIn,
    /// The folder of the program.
    Executable,
}

impl Origin {
    /// The place, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit path",
            Self::CommandLine => "--plugin-dir",
            Self::Environment => "MIMUS_PLUGIN_PATH",
            Self::Project => "project",
            Self::User => "user",
            Self::BuiltIn => "built in",
            Self::Executable => "program's folder",
        }
    }
}

/// What is searched.
#[derive(Clone, Debug)]
pub struct Search {
    /// Files and folders; a place that does not exist is an error only where the user named it ([`Origin::Explicit`],
    /// [`Origin::CommandLine`], [`Origin::Environment`]).
    pub places: Vec<(Origin, PathBuf)>,
    /// SHA-256 by file name: anything else is refused. `None` to trust what is found.
    pub lock: Option<BTreeMap<String, String>>,
    /// Starts the child process.
    pub prober: Prober,
}

/// A component that can be used.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says about itself.
    pub info: ComponentInfo,
    /// The component.
    pub component: Component,
    /// Where it was found.
    pub origin: Origin,
    /// Its library; `None` if it is linked in.
    pub library: Option<Arc<Library>>,
}

impl Entry {
    /// The file, or `built in`.
    pub fn place(&self) -> String {
        self.library.as_ref().map_or_else(|| "built in".to_owned(), |library| library.path.display().to_string())
    }
}

/// A line of `mimus plugin list`.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    /// The component that the name means.
    pub winner: &'a Entry,
    /// Components of the same kind and name in places that are searched later.
    pub shadowed: Vec<&'a Entry>,
}

/// All components that were found, and all files that were refused.
#[derive(Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
    /// Files that were refused, each with the reason.
    pub refused: Vec<(Origin, PathBuf, Error)>,
}

impl Registry {
    /// Opens whatever the places hold. A file that is refused costs itself alone.
    ///
    /// # Errors
    /// If a place that the user named is not there.
    pub fn discover(search: &Search, linked: &[Component]) -> Result<Self> {
        let mut registry = Self::default();
        for component in linked {
            let entry = Entry { info: component.info(), component: *component, origin: Origin::BuiltIn, library: None };
            registry.entries.push(entry);
        }
        let mut seen: Vec<PathBuf> = Vec::new();
        for (origin, place) in &search.places {
            for file in files(*origin, place)? {
                let canonical = file.canonicalize().unwrap_or_else(|_| file.clone());
                if !seen.contains(&canonical) {
                    registry.open(search, *origin, &file);
                    seen.push(canonical);
                }
            }
        }
        registry.entries.sort_by_key(|entry| entry.origin);
        Ok(registry)
    }

    fn open(&mut self, search: &Search, origin: Origin, file: &Path) {
        match locked(search, file).and_then(|()| Library::open_probed(file, &search.prober)) {
            Ok(library) => {
                let library = Arc::new(library);
                let entry = |(info, component): &(ComponentInfo, Component)| Entry {
                    info: info.clone(),
                    component: *component,
                    origin,
                    library: Some(Arc::clone(&library)),
                };
                self.entries.extend(library.components.iter().map(entry));
            }
            Err(error) => self.refused.push((origin, file.to_owned(), error)),
        }
    }

    /// Every name with its winner and what it shadows, by kind and name.
    pub fn list(&self) -> Vec<Listed<'_>> {
        let mut names: BTreeMap<(Kind, &str), Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            names.entry((entry.info.kind, &entry.info.name)).or_default().push(entry);
        }
        names.into_values().map(|mut entries| Listed { winner: entries.remove(0), shadowed: entries }).collect()
    }

    /// The component of a kind called `name`, or that a file given by its path holds alone of that kind.
    ///
    /// # Errors
    /// If there is none: why the file that is called like it was refused; else with a suggestion, the names that there are, and the files
    /// that were refused.
    pub fn find(&self, kind: Kind, name: &str) -> Result<&Entry> {
        let known = || self.entries.iter().filter(move |entry| entry.info.kind == kind);
        if let Some(entry) = known().find(|entry| entry.info.name == name) {
            return Ok(entry);
        }
        // A refused file that is called like the plugin is the plugin: what mends the file is the next step.
        let ending = format!("_{}", name.replace('-', "_"));
        let called = |path: &Path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(&ending));
        if let Some((_, _, reason)) = self.refused.iter().find(|(_, path, _)| called(path)) {
            return Err(reason.clone().with(kind.name(), name));
        }
        let mut error = Error::plugin(format!("there is no {kind} plugin `{name}`"));
        for (_, path, reason) in &self.refused {
            error = error.with(&format!("refused {}", path.display()), reason.message());
        }
        let names: std::collections::BTreeSet<&str> = known().map(|entry| entry.info.name.as_str()).collect();
        Err(match did_you_mean(name, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if names.is_empty() => {
                error.hint("no such plugin was found: `mimus plugin list` shows where Mimus looks")
            }
            None => error.hint(format!("there are: {}", Vec::from_iter(names).join(", "))),
        })
    }

    /// The detector called `name`.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn model(&self, name: &str) -> Result<&'static dyn Model> {
        match self.find(Kind::Model, name)?.component {
            Component::Model(model) => Ok(model),
            _ => Err(contradiction(name)),
        }
    }

    /// The attention module called `name`.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn attention(&self, name: &str) -> Result<&'static dyn AttentionModule> {
        match self.find(Kind::Attention, name)?.component {
            Component::Attention(module) => Ok(module),
            _ => Err(contradiction(name)),
        }
    }

    /// The mimicking head called `name`.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn head(&self, name: &str) -> Result<&'static dyn MimickingHead> {
        match self.find(Kind::Head, name)?.component {
            Component::Head(head) => Ok(head),
            _ => Err(contradiction(name)),
        }
    }

    /// The data set called `name`.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn dataset(&self, name: &str) -> Result<&'static dyn Dataset> {
        match self.find(Kind::Dataset, name)?.component {
            Component::Dataset(dataset) => Ok(dataset),
            _ => Err(contradiction(name)),
        }
    }

    /// The backend called `name`.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn backend(&self, name: &str) -> Result<&'static dyn Backend> {
        match self.find(Kind::Backend, name)?.component {
            Component::Backend(backend) => Ok(backend),
            _ => Err(contradiction(name)),
        }
    }
}

/// Only a component whose `info` names another kind than its export can lead here.
fn contradiction(name: &str) -> Error {
    Error::plugin(format!("the component `{name}` is of another kind than it says"))
}

/// The libraries at a place, sorted. In the program's own folder only those called `libmimus_*`: other programs live there too.
fn files(origin: Origin, place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let named_by_user = origin <= Origin::Environment;
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if named_by_user || error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("the plugin folder cannot be read", place, &error)
                .into_kind(crate::ErrorKind::Plugin)
                .with("searched as", origin.name()));
        }
        Err(_) => return Ok(Vec::new()),
    };
    let prefix =
        if origin == Origin::Executable { format!("{}mimus_", std::env::consts::DLL_PREFIX) } else { String::new() };
    let is_library = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(&prefix) && name.ends_with(std::env::consts::DLL_SUFFIX)
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(is_library).collect();
    files.sort();
    Ok(files)
}

fn locked(search: &Search, file: &Path) -> Result<()> {
    let Some(lock) = &search.lock else { return Ok(()) };
    let found = Examined::new(file)?.sha256;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let problem = match lock.get(&name) {
        Some(expected) if *expected == found => return Ok(()),
        Some(expected) => format!("its SHA-256 is {found}, mimus.lock says {expected}"),
        None => format!("it is not in mimus.lock (SHA-256 {found})"),
    };
    Err(Error::plugin(problem)
        .with("file", file.display())
        .hint("run without --locked to accept the file and write the lock anew"))
}
