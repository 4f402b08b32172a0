//! Which plugins this command can use: the search order, the lock, and the child that tries a library first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimus_core::abi::{Component, Origin, Prober, Registry, Search};
use mimus_core::folders::{cache_folder, user_folder};
use mimus_core::plugin::Reference;
use mimus_core::{Error, Result};

/// Hidden subcommand of the child process.
pub(crate) const PROBE: &str = "__probe";

/// Name of the file that pins hashes, beside the configuration.
pub(crate) const LOCK: &str = "mimus.lock";

/// What is linked in: the embedded backend, and the oracle of all backends.
static LINKED: [Component; 2] = [Component::Backend(&mimus_candle::Candle), Component::Backend(&Reference)];

/// Where the command line says that plugins are.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Places {
    /// A plugin library to use before all others
    #[arg(long = "plugin", global = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A folder with plugin libraries
    #[arg(long = "plugin-dir", global = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Refuse every library that is not in `mimus.lock`
    #[arg(long, global = true)]
    locked: bool,
}

impl Places {
    /// All places in the order in which they win.
    pub(crate) fn all(&self) -> Result<Vec<(Origin, PathBuf)>> {
        let executable = crate::files::program()?;
        let mut places: Vec<(Origin, PathBuf)> =
            self.files.iter().map(|file| (Origin::Explicit, file.clone())).collect();
        places.extend(self.folders.iter().map(|folder| (Origin::CommandLine, folder.clone())));
        if let Some(path) = std::env::var_os("MIMUS_PLUGIN_PATH") {
            places.extend(std::env::split_paths(&path).map(|folder| (Origin::Environment, folder)));
        }
        places.push((Origin::Project, PathBuf::from("plugins")));
        places
            .extend(user_folder("XDG_DATA_HOME", ".local/share").map(|folder| (Origin::User, folder.join("plugins"))));
        places.extend(executable.parent().map(|folder| (Origin::Executable, folder.to_owned())));
        Ok(places)
    }
}

/// Opens everything that the search finds.
pub(crate) fn discover(places: &Places) -> Result<Registry> {
    let cache = cache_folder().ok().map(|folder| folder.join("probed"));
    let prober = Prober { program: crate::files::program()?, arguments: vec![PROBE.into()], cache };
    let lock = if places.locked { Some(read_lock(Path::new(LOCK))?) } else { None };
    Registry::discover(&Search { places: places.all()?, lock, prober }, &LINKED)
}

/// SHA-256 by file name, as a TOML table.
fn read_lock(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io("the lock cannot be read", path, &error).hint("`mimus plugin lock` writes it"))?;
    toml::from_str(&text).map_err(|error| Error::config(error.to_string()).with("file", path.display()))
}

/// Pins what was found.
pub(crate) fn write_lock(registry: &Registry) -> Result<usize> {
    let mut lock = BTreeMap::new();
    for library in registry.list().iter().filter_map(|listed| listed.winner.library.as_ref()) {
        let name = library.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        lock.insert(name, library.sha256.clone());
    }
    let text = toml::to_string(&lock).map_err(|error| Error::config(error.to_string()))?;
    crate::files::write(Path::new(LOCK), text.as_bytes())?;
    Ok(lock.len())
}
