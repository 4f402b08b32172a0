//! The backend on libtorch: runs every program, training included, on the CPU or a GPU.
//!
//! Programs carry their own gradients, so that nothing is recorded for backpropagation: each operator is one call of the engine, values are
//! given back at their last use and overwritten where they may be, and memory that was freed stays with the process. Results are the same
//! bits from run to run on the CPU for the same number of threads; the engine's sums and products depend on that number.

mod device;
mod error;
mod ffi;
mod fuse;
mod lifetime;
mod lower;
mod program;
mod session;

use mimus_core::Result;
use mimus_core::plugin::{Backend, BackendRequest, ComponentInfo, DeviceInfo, Kind, Session};

use device::Settings;
use session::TorchSession;

/// The backend `torch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Torch;

impl Backend for Torch {
    fn info(&self) -> ComponentInfo {
        let info = ComponentInfo::new(Kind::Backend, "torch", "libtorch, on the CPU or a GPU");
        device::options().into_iter().fold(info, ComponentInfo::with_option)
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        device::devices()
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        let settings = Settings::new(request)?;
        ffi::keep_freed_memory()?;
        Ok(Box::new(TorchSession::new(settings)))
    }
}

mimus_core::plugin! { Backend(Torch) }
