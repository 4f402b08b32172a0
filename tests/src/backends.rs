//! The backends of the workspace, each opened from its library file as a user's is, or the reason why it cannot run here.

use std::path::PathBuf;

use mimus_core::abi::{Component, Origin, Registry, Search};
use mimus_core::plugin::{Backend, Kind, Reference};
use mimus_core::{Context, Error, Result, native};

use crate::{Artifacts, prober, repository};

/// Folders of backends that need a native library, and its name.
const NATIVE: [(&str, &str); 2] = [("torch", "torch"), ("onnx", "onnxruntime")];

/// The only backend without a library file.
static REFERENCE: Reference = Reference;

/// A backend and what became of it.
#[derive(Clone)]
pub struct Engine {
    /// Its name in the TOML.
    pub name: String,
    /// Whether it can run.
    pub state: State,
}

/// Whether a backend can run here.
#[derive(Clone)]
pub enum State {
    /// It can.
    Ready {
        /// The backend.
        backend: &'static dyn Backend,
        /// Names of its devices, the default first.
        devices: Vec<String>,
    },
    /// A library from elsewhere is not installed: the error's hint is the command that does. In CI this is [`State::Broken`].
    Missing(Error),
    /// It should run and does not.
    Broken(Error),
}

impl Engine {
    /// Names of its devices, for trials; where it cannot run, `None` alone.
    pub fn devices(&self) -> Vec<Option<&str>> {
        match &self.state {
            State::Ready { devices, .. } => devices.iter().map(|device| Some(device.as_str())).collect(),
            State::Missing(_) | State::Broken(_) => vec![None],
        }
    }
}

/// The interpreter, and every folder of `backends` in order. Relative places are looked for from the root of the checkout: call this
/// at the beginning of a program, since it changes the current directory.
///
/// # Errors
/// If a build fails.
pub fn backends() -> Result<Vec<Engine>> {
    let root = repository();
    std::env::set_current_dir(root).map_err(|error| Error::io("cannot be entered", root, &error))?;
    let place = root.join("backends");
    let unread = |error: std::io::Error| Error::io("cannot be read", &place, &error);
    let entries = std::fs::read_dir(&place).map_err(unread)?.collect::<std::io::Result<Vec<_>>>().map_err(unread)?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let mut engines = vec![engine(&REFERENCE.info().name, None)?];
    for name in names {
        engines.push(match missing(&name) {
            Ok(None) => engine(&name, Some(library(&name)?))?,
            Ok(Some(missing)) if std::env::var_os("CI").is_none() => Engine { name, state: State::Missing(missing) },
            Ok(Some(error)) | Err(error) => Engine { name, state: State::Broken(error) },
        });
    }
    Ok(engines)
}

/// The library from elsewhere that a backend needs and that is not installed, if there is one.
fn missing(backend: &str) -> Result<Option<Error>> {
    let Some((_, name)) = NATIVE.iter().find(|(known, _)| *known == backend) else { return Ok(None) };
    let known = native::known(name)?;
    Ok(native::find(name)?.is_none().then(|| known.missing()))
}

/// The library of a backend; one that is no default member, since not everyone can build it, is built here.
fn library(backend: &str) -> Result<PathBuf> {
    let package = format!("mimus-{backend}");
    let built = Artifacts::of_workspace()?;
    if let Ok(library) = built.library(&package) {
        return Ok(library.to_owned());
    }
    let built = Artifacts::build(repository(), &["--package", &package])?;
    built.library(&package).map(ToOwned::to_owned)
}

fn engine(name: &str, library: Option<PathBuf>) -> Result<Engine> {
    let places = library.into_iter().map(|library| (Origin::Explicit, library)).collect();
    let registry =
        Registry::discover(&Search { places, lock: None, prober: prober()? }, &[Component::Backend(&REFERENCE)])?;
    let state = ready(&registry, name).context("backend", name).unwrap_or_else(State::Broken);
    Ok(Engine { name: name.to_owned(), state })
}

fn ready(registry: &Registry, name: &str) -> Result<State> {
    if let Some((_, _, error)) = registry.refused.first() {
        return Err(error.clone());
    }
    registry.find(Kind::Backend, name)?;
    let backend = registry.backend(name)?;
    let devices = backend.devices()?.into_iter().map(|device| device.name).collect();
    Ok(State::Ready { backend, devices })
}
