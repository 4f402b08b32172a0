//! Opens one file, step by step; the steps are listed in the folder's documentation.
#![allow(unsafe_code, reason = "opening a library runs its code")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::export::Component;
use super::import::Remote;
use super::manifest::{self, Manifest, ManifestInfo};
use super::types::ModuleRef;
use super::{preload, probe};
use crate::error::{Context, Error, Result, innermost};
use crate::native::{Found, elf, permissions};
use crate::plugin::ComponentInfo;

/// An opened library. Never closed again.
#[derive(Debug)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// What it says about itself.
    pub manifest: Arc<ManifestInfo>,
    /// Its components.
    pub components: Vec<(ComponentInfo, Component)>,
}

/// A file that passed the steps that need none of its code.
pub(super) struct Examined {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    /// Native libraries that must be opened before it.
    pub(super) natives: Vec<Found>,
}

impl Examined {
    /// Permissions, hash, completeness, the latter also of the native libraries that it needs.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .map_err(|error| Error::io("cannot be found", path, &error).into_kind(crate::ErrorKind::Plugin))?;
        permissions::refuse_world_writable(&path)?;
        let data = std::fs::read(&path)
            .map_err(|error| Error::io("cannot be read", &path, &error).into_kind(crate::ErrorKind::Plugin))?;
        let needed = match cfg!(target_os = "linux") {
            true => elf::examine(&data[..]).context("file", path.display())?,
            false => Vec::new(),
        };
        let natives = preload::natives(&needed).context("file", path.display())?;
        Ok(Self { path, sha256: hex(&Sha256::digest(&data)), natives })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Library {
    /// Opens `path` in this process, without a child that tries first: for that child, and for tests.
    ///
    /// # Errors
    /// A sentence for the first step that fails; `file` in its context.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_examined(Examined::new(path)?)
    }

    /// Opens `path` after a child process did so and lived.
    ///
    /// # Errors
    /// As [`Library::open`]; also if the child died or did not end.
    pub fn open_probed(path: &Path, prober: &probe::Prober) -> Result<Self> {
        let examined = Examined::new(path)?;
        prober.probe(&examined)?;
        Self::open_examined(examined)
    }

    fn open_examined(examined: Examined) -> Result<Self> {
        let Examined { path, sha256, natives } = examined;
        preload::open(&natives).context("file", path.display())?;
        let (manifest, module) = load(&path).context("file", path.display())?;
        let manifest = Arc::new(manifest);
        let remotes = Remote::all(module, &manifest).context("file", path.display())?;
        let components = remotes.into_iter().map(|remote| (remote.info().clone(), remote.leak())).collect();
        Ok(Self { path, sha256, manifest, components })
    }
}

fn load(path: &Path) -> Result<(ManifestInfo, ModuleRef)> {
    let cannot_open = |error: libloading::Error| {
        let reason = innermost(&error);
        preload::missing(&reason).unwrap_or_else(|| {
            Error::plugin(format!("cannot be opened: {reason}"))
                .hint("a library that it needs may be missing: `ldd` lists them")
        })
    };
    // SAFETY: initialisers of the library run. A user chose to trust the file; it was complete, not writable by others, and a child
    // process survived the same call.
    let library = unsafe { libloading::Library::new(path) }.map_err(cannot_open)?;
    // Leaked, so that whatever leads into the library stays valid.
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: the type is the one that `plugin!` gives to the symbol of this name, in every epoch.
    let symbol = unsafe { library.get::<extern "C" fn() -> *const Manifest>(b"mimus_plugin_manifest\0") };
    let symbol = symbol.map_err(|_| {
        Error::plugin("is a shared library without a Mimus manifest (no symbol `mimus_plugin_manifest`)")
            .hint("export components with mimus_core::plugin!, or move the file out of the plugin folder")
    })?;
    // SAFETY: the pointer comes from that symbol, and the library stays open.
    let manifest = unsafe { manifest::read(symbol()) }?;
    let header = abi_stable::library::lib_header_from_path(path).map_err(|error| refusal(&error))?;
    let module = header.init_root_module::<ModuleRef>().map_err(|error| refusal(&error))?;
    Ok((manifest, module))
}

/// `abi_stable` prints both layouts whole; behind `Error:` it says what differs.
fn refusal(error: &abi_stable::library::LibraryError) -> Error {
    let text = error.to_string().replace("Expected:", ", expected").replace("Found:", ", found");
    let one_line = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",");
    let differences: Vec<String> = text.split("Error:").skip(1).map(one_line).collect();
    let reason = if differences.is_empty() { one_line(&text) } else { differences.join("; ") };
    Error::plugin(format!("the layout of its module is not the one that this Mimus expects: {reason}"))
        .hint("rebuild the plugin with the mimus-core of this Mimus")
}
