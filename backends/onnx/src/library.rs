//! The native library: found, checked and loaded once in the life of the process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mimus_core::error::innermost;
use mimus_core::native::Found;
use mimus_core::{Error, ErrorKind, Result, native};
use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::util::preload_dylib;

/// Name of the library's folder.
const NAME: &str = "onnxruntime";

/// What makes the library appear.
const INSTALL: &str = "run `mimus backend install onnxruntime`";

/// What makes one for NVIDIA GPUs appear.
pub(crate) const INSTALL_CUDA: &str = "run `mimus backend install onnxruntime --cuda`";

/// The loaded library.
static LOADED: Mutex<Option<Engine>> = Mutex::new(None);

/// A loaded library, and the state that all its sessions share.
#[derive(Clone)]
pub(crate) struct Engine {
    path: PathBuf,
    pub(crate) environment: Environment,
    /// What its half for NVIDIA GPUs needs, in the order in which it is opened.
    gpu_libraries: Vec<PathBuf>,
}

impl Engine {
    /// The engine, loaded from `library`, or from where it was installed if that is empty.
    ///
    /// # Errors
    /// If there is no library, it is incomplete or too old, or another one is loaded already.
    pub(crate) fn of(library: &str) -> Result<Self> {
        let (path, gpu_libraries) = if library.is_empty() {
            let found = native::require(NAME)?;
            (found.library(), gpu_libraries(&found))
        } else {
            (given(Path::new(library))?, Vec::new())
        };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(engine) if engine.path == path => return Ok(engine.clone()),
            Some(engine) => {
                let error = Error::backend(format!("this process runs {} already", engine.path.display()));
                return Err(error.with("file", path.display()).hint("use one library of ONNX Runtime in a run"));
            }
            None => {}
        }
        let engine = Self { environment: load(&path)?, path, gpu_libraries };
        *loaded = Some(engine.clone());
        Ok(engine)
    }

    /// Whether the library was built for NVIDIA GPUs; what it needs for them is then open. The published one searches nowhere but in
    /// the system's folders.
    ///
    /// # Errors
    /// If a library that it needs cannot be opened.
    pub(crate) fn has_cuda(&self) -> Result<bool> {
        self.gpu_libraries.iter().try_for_each(|path| preload(path))?;
        Ok(CUDA::is_available().unwrap_or(false))
    }
}

/// Opens a library for as long as the process lives; opened again, it stays as it is.
fn preload(path: &Path) -> Result<()> {
    preload_dylib(path).map_err(|error| {
        Error::backend(format!("a library for NVIDIA GPUs cannot be opened: {}", innermost(&error)))
            .with("file", path.display())
            .hint(INSTALL_CUDA)
    })
}

/// NVIDIA's libraries of an installation.
fn gpu_libraries(found: &Found) -> Vec<PathBuf> {
    let files = if found.cuda { found.known.cuda } else { &[] };
    files.iter().filter(|file| file.starts_with("cuda/")).map(|file| found.path(file)).collect()
}

/// The file that the option names, if it is a whole library: a truncated one would kill the process when it is loaded.
fn given(library: &Path) -> Result<PathBuf> {
    let path = library.canonicalize().map_err(|error| {
        Error::io("the library cannot be read", library, &error).into_kind(ErrorKind::Backend).with("key", "library")
    })?;
    native::examine(&path)?;
    Ok(path)
}

fn load(path: &Path) -> Result<Environment> {
    let failed = |message: String| Error::backend(message).with("file", path.display()).hint(INSTALL);
    let builder = ort::init_from(path).map_err(|error| failed(refusal(&error)))?;
    builder.with_name("mimus").with_telemetry(false).build().map_err(|error| failed(error.message().to_owned()))
}

fn refusal(error: &LoadDynamicError) -> String {
    match error {
        LoadDynamicError::BadVersion { version_str, .. } => {
            format!("is ONNX Runtime {version_str}, expects 1.{} or newer", ort::MINOR_VERSION)
        }
        LoadDynamicError::MissingApi { .. } => "is no library of ONNX Runtime: it lacks OrtGetApiBase".to_owned(),
        LoadDynamicError::Dlopen { error, .. } => format!("the system cannot open it: {}", innermost(error)),
        LoadDynamicError::InvalidVersionString => "does not tell its version".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_library_is_refused_before_it_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            let path = folder.path().join("library.so");
            std::fs::write(&path, bytes).unwrap();
            given(&path).unwrap_err().message().to_owned()
        };
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(refused(&whole[..whole.len() / 2]).starts_with("is truncated"));
        assert!(refused(b"no library").starts_with("is no shared library"));
        assert_eq!(given(Path::new("missing.so")).unwrap_err().context_value("key"), Some("library"));
    }

    #[test]
    fn a_library_for_gpus_that_cannot_be_opened_is_named_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libcudart.so.13");
        std::fs::write(&path, b"no library").unwrap();
        let error = preload(&path).unwrap_err();
        assert_eq!(error.context_value("file"), Some(path.to_string_lossy().as_ref()));
        assert_eq!(error.next_step(), Some(INSTALL_CUDA));
        assert!(error.message().ends_with("libcudart.so.13: file too short"), "{error}");
    }

    #[test]
    fn only_an_installation_for_gpus_has_nvidias_libraries_the_engines_own_are_not_among_them() {
        let found = |cuda| Found {
            known: native::known(NAME).unwrap(),
            place: native::Place::Project,
            folder: PathBuf::from("f"),
            version: String::new(),
            cuda,
        };
        assert!(gpu_libraries(&found(false)).is_empty());
        let libraries = gpu_libraries(&found(true));
        assert_eq!(libraries[0], Path::new("f/lib/cuda/libcudart.so.13"));
        assert!(libraries.iter().all(|path| !path.ends_with("libonnxruntime_providers_cuda.so")));
    }

    #[test]
    fn an_older_version_is_told_with_the_oldest_that_fits() {
        let error = LoadDynamicError::BadVersion { version_str: "1.17.3".to_owned(), path: PathBuf::from("x.so") };
        assert_eq!(refusal(&error), "is ONNX Runtime 1.17.3, expects 1.24 or newer");
    }
}
