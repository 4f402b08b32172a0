//! A compute backend: opens sessions on a device; a session loads programs and keeps their variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::{Dtype, HostTensor, ValueType};

/// One way to execute programs.
pub trait Backend: Send + Sync {
    /// Name, summary, options.
    fn info(&self) -> ComponentInfo;

    /// The devices that are there, the default first.
    ///
    /// # Errors
    /// If the native library is missing or broken; says how to mend it.
    fn devices(&self) -> Result<Vec<DeviceInfo>>;

    /// Opens a session on the device called for.
    ///
    /// # Errors
    /// If the device is not there: never a silent fallback.
    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>>;

    /// A program as the engine's own file, for use without Mimus. Needs no device and no native library.
    ///
    /// # Errors
    /// If the engine has no format of its own, or a variable that the program reads has no value.
    fn export(&self, request: &ExportRequest) -> Result<Vec<u8>> {
        let message = format!("`{}` cannot export `{}`: it has no file format", self.info().name, request.program.name);
        Err(Error::backend(message).hint("the backend `onnx` can"))
    }
}

/// What [`Backend::export`] puts into a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// The program; it assigns nothing.
    pub program: Graph,
    /// Values of its variables, which become constants under their names.
    pub variables: BTreeMap<String, HostTensor>,
    /// Texts by key that the file carries.
    pub metadata: BTreeMap<String, String>,
}

/// A program that came from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadedFile {
    /// The loaded program.
    pub program: ProgramId,
    /// Its inputs, in the file's order.
    pub inputs: Vec<(String, ValueType)>,
    /// Its outputs, in the order in which a run returns them.
    pub outputs: Vec<FileOutput>,
    /// Texts by key that the file carries.
    pub metadata: BTreeMap<String, String>,
}

/// An output of a program that came from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOutput {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its extents; `None` where one depends on what the program is given, as the number of things that a detector finds.
    pub shape: Vec<Option<usize>>,
}

/// What the host asks a backend for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendRequest {
    /// `auto`, or the name of one of the devices.
    pub device: String,
    /// Number of threads on the CPU. Results must not depend on it.
    pub threads: usize,
    /// Resolved options.
    pub options: Options,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its name in the TOML: `cpu`, `cuda:0`.
    pub name: String,
    /// What it is, for people.
    pub description: String,
}

/// A loaded program of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProgramId(pub u64);

/// Programs that share variables by name on one device.
///
/// Loading a program declares its variables; the same name must always have the same type. A variable must be written
/// (or assigned by a program) before a program reads it.
pub trait Session: Send {
    /// Prepares a well-formed program to be run many times.
    ///
    /// # Errors
    /// If the backend lacks an operator, or a variable contradicts another program's; names layer and operator.
    fn load(&mut self, program: &Graph) -> Result<ProgramId>;

    /// Sets a variable.
    ///
    /// # Errors
    /// If no loaded program has the variable, or the type differs.
    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()>;

    /// The value of a variable.
    ///
    /// # Errors
    /// If there is no such variable or it has no value yet.
    fn read(&mut self, variable: &str) -> Result<HostTensor>;

    /// Runs a program: returns its outputs in order; its assignments take effect together at the end.
    ///
    /// # Errors
    /// If an input is missing, unknown or of another type, a variable has no value, or the engine fails. Variables keep their
    /// values then.
    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>>;

    /// Loads a file of the engine's own format, as [`Backend::export`] makes it.
    ///
    /// # Errors
    /// If the engine has no such format, or the file is damaged or uses what a [`HostTensor`] cannot hold.
    fn load_file(&mut self, bytes: &[u8]) -> Result<LoadedFile> {
        let message = format!("this backend cannot load a file ({} bytes): it has no file format", bytes.len());
        Err(Error::backend(message).hint("the backend `onnx` can"))
    }
}
