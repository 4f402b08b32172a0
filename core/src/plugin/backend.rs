//! A compute backend: opens sessions on a device; a session loads programs and keeps their variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::HostTensor;

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
}
