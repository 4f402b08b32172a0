//! The embedded backend: runs every program, training included, in f32.
//!
//! On the CPU it computes with kernels of its own: buffers are planned from the static graph, elementwise operators run fused,
//! convolutions are blocked products over image patches. Results are the same bits on any number of threads.
#![forbid(unsafe_code)]

mod buffer;
mod fuse;
mod kernels;
mod plan;
mod session;
mod slots;
#[cfg(feature = "tensors")]
mod tensor;

use mimus_core::plugin::{Backend, BackendRequest, ComponentInfo, DeviceInfo, Kind, Session};
use mimus_core::{Error, Result};

use session::CpuSession;

/// The backend `candle`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candle;

/// The device that is always there.
const CPU: &str = "cpu";

impl Backend for Candle {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Backend, "candle", "embedded: needs nothing, computes on the CPU")
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        // The name of the instruction set stands in front of the list of what it consists of.
        let arch = format!("{:?}", kernels::product::arch());
        let description = format!("the CPU, with kernels for {}", arch.split(['(', ' ']).next().unwrap_or(&arch));
        let cpu = DeviceInfo { name: CPU.to_owned(), description };
        #[cfg(feature = "tensors")]
        let others = tensor::devices();
        #[cfg(not(feature = "tensors"))]
        let others = Vec::new();
        Ok(std::iter::once(cpu).chain(others).collect())
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        if request.threads == 0 {
            return Err(Error::config("threads is 0, expects 1 or more"));
        }
        #[cfg(feature = "tensors")]
        if let Some(session) = tensor::open(&request.device) {
            return Ok(Box::new(session?));
        }
        match request.device.as_str() {
            "auto" | CPU => Ok(Box::new(CpuSession::new(request.threads)?)),
            other => {
                let names: Vec<String> = self.devices()?.into_iter().map(|device| device.name).collect();
                let error = Error::backend(format!("there is no device `{other}`; there are: {}", names.join(", ")));
                Err(error.hint("a GPU needs a build for it: `cargo build --release -p mimus --features cuda`"))
            }
        }
    }
}

mimus_core::plugin! { Backend(Candle) }
