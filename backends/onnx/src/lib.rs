//! Runs programs on ONNX Runtime, training included: forward, gradients and optimiser are one model of standard operators.
//!
//! The native library is opened when a session or the devices are asked for: without it everything else builds and runs. Variables stay
//! on the device; a program writes their next values into a second set of memory, and a run that succeeds exchanges the two. Variables
//! that a program reads and never assigns are constants of its model: the engine prepares them for its fastest kernels, and a write of
//! one makes it compile again at the next run.
#![forbid(unsafe_code)]

mod device;
mod error;
mod file;
mod library;
mod lower;
mod model;
mod session;

use mimus_core::plugin::names::no_value;
use mimus_core::plugin::{
    Backend, BackendRequest, ComponentInfo, DeviceInfo, ExportRequest, Kind, OptionSpec, OptionValue, Options, Session,
};
use mimus_core::{Error, Result};

use device::Device;
use library::Engine;
use session::OnnxSession;

/// The backend `onnx`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Onnx;

impl Backend for Onnx {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Backend, "onnx", "ONNX Runtime: computes on the CPU or, with its CUDA build, on a GPU")
            .with_option(OptionSpec::text("library", "", "path of libonnxruntime.so; empty: the installed one"))
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        device::devices(&Engine::of("")?)
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        let engine = Engine::of(library(&request.options))?;
        Ok(Box::new(OnnxSession::new(Device::open(&engine, &request.device, request.threads)?)))
    }

    fn export(&self, request: &ExportRequest) -> Result<Vec<u8>> {
        let lowered = lower::lower(&request.program, &request.variables)?;
        if let Some((name, _)) = lowered.variables.first() {
            return Err(no_value(name).with("graph", &request.program.name));
        }
        if let Some((name, _)) = lowered.assignments.first() {
            let error = Error::backend(format!("the program assigns `{name}`: a file keeps no variables"));
            return Err(error.with("graph", &request.program.name));
        }
        file::encode(lowered.graph, &request.metadata)
    }
}

/// The option `library`; a request without resolved options has none.
fn library(options: &Options) -> &str {
    options
        .iter()
        .find_map(|(name, value)| match value {
            OptionValue::Text(path) if name == "library" => Some(path.as_str()),
            _ => None,
        })
        .unwrap_or_default()
}

mimus_core::plugin! { Backend(Onnx) }
