//! Devices: which are there, how a session is opened on one, and how tensors get there and back. Never a fallback.

use mimus_core::plugin::DeviceInfo;
use mimus_core::tensor::HostData;
use mimus_core::{Dtype, Error, HostTensor, Result, ValueType};
use ort::environment::Environment;
use ort::ep::{CPU, CUDA};
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynTensor, DynValue, Shape, TensorElementType};

use crate::error::engine;
use crate::file;
use crate::library::{Engine, INSTALL_CUDA};

const CPU_NAME: &str = "cpu";
const MOST_GPUS: i32 = 16;

/// Where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Cpu,
    Cuda(i32),
}

/// A device, ready for sessions.
pub(crate) struct Device {
    environment: Environment,
    place: Place,
    threads: usize,
    /// Gives memory on the device; on the CPU none is needed for that.
    allocator: Allocator,
    /// Keeps what the allocator belongs to alive.
    _anchor: Option<Session>,
}

/// The devices that are there.
///
/// # Errors
/// If the library is for NVIDIA GPUs and what it needs for them cannot be opened.
pub(crate) fn devices(engine: &Engine) -> Result<Vec<DeviceInfo>> {
    let cpu = DeviceInfo { name: CPU_NAME.to_owned(), description: "the CPU, by ONNX Runtime".to_owned() };
    let gpu = |i| DeviceInfo { name: format!("cuda:{i}"), description: format!("CUDA device {i}, by ONNX Runtime") };
    let there = |i: &i32| Device::new(&engine.environment, Place::Cuda(*i), 1).is_ok();
    let count = if engine.has_cuda()? { MOST_GPUS } else { 0 };
    Ok(std::iter::once(cpu).chain((0..count).take_while(there).map(gpu)).collect())
}

impl Device {
    /// The device called `name`.
    ///
    /// # Errors
    /// If it is not there, or `threads` is 0.
    pub(crate) fn open(engine: &Engine, name: &str, threads: usize) -> Result<Self> {
        if threads == 0 {
            return Err(Error::config("threads is 0, expects 1 or more"));
        }
        if ["auto", CPU_NAME].contains(&name) {
            return Self::new(&engine.environment, Place::Cpu, threads);
        }
        let missing = || match devices(engine) {
            Ok(devices) => {
                let names: Vec<String> = devices.into_iter().map(|device| device.name).collect();
                Error::backend(format!("there is no device `{name}`; there are: {}", names.join(", ")))
            }
            Err(error) => error,
        };
        let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        let number = number.filter(|number| (0..MOST_GPUS).contains(number)).ok_or_else(missing)?;
        if !engine.has_cuda()? {
            let hint = "or name one with CUDA in backend.onnx.library";
            return Err(missing().hint(format!("this library is for the CPU alone: {INSTALL_CUDA}, {hint}")));
        }
        Self::new(&engine.environment, Place::Cuda(number), threads)
            .map_err(|error| missing().hint(format!("a GPU needs NVIDIA's driver; {}", error.message())))
    }

    fn new(environment: &Environment, place: Place, threads: usize) -> Result<Self> {
        let mut device =
            Self { environment: environment.clone(), place, threads, allocator: Allocator::default(), _anchor: None };
        if let Place::Cuda(number) = place {
            let anchor = device.compile(&file::anchor())?;
            let memory = MemoryInfo::new(AllocationDevice::CUDA, number, AllocatorType::Device, MemoryType::Default);
            device.allocator = Allocator::new(&anchor, memory.map_err(engine)?).map_err(engine)?;
            device._anchor = Some(anchor);
        }
        Ok(device)
    }

    /// A session that runs `model`.
    pub(crate) fn compile(&self, model: &[u8]) -> Result<Session> {
        let provider = match self.place {
            Place::Cpu => CPU::default().with_arena_allocator(true).build(),
            Place::Cuda(number) => CUDA::default().with_device_id(number).with_tf32(false).build(),
        };
        let built = Session::builder(&self.environment)
            .and_then(|b| Ok(b.with_optimization_level(GraphOptimizationLevel::All)?))
            .and_then(|b| Ok(b.with_intra_threads(self.threads)?))
            .and_then(|b| Ok(b.with_memory_pattern(true)?))
            .and_then(|b| Ok(b.with_deterministic_compute(true)?))
            .and_then(|b| Ok(b.with_log_level(LogLevel::Fatal)?))
            .and_then(|b| Ok(b.with_execution_providers([provider.error_on_failure()])?));
        built.and_then(|mut builder| builder.commit_from_memory(model)).map_err(engine)
    }

    /// Memory for a value on the device.
    pub(crate) fn allocate(&self, ty: &ValueType) -> Result<DynTensor> {
        tensor(&self.allocator, ty)
    }

    /// Memory for a value that the host writes or reads.
    pub(crate) fn host(&self, ty: &ValueType) -> Result<DynTensor> {
        tensor(&Allocator::default(), ty)
    }

    /// Copies the host's elements into a tensor on the device.
    pub(crate) fn write(&self, target: &mut DynTensor, value: &HostTensor) -> Result<()> {
        if self.place == Place::Cpu {
            return write_host(target, value);
        }
        let mut staged = self.host(&value.ty())?;
        write_host(&mut staged, value)?;
        staged.copy_into(target).map_err(engine)
    }

    /// Copies a tensor on the device to the host.
    pub(crate) fn read(&self, tensor: &DynTensor, ty: &ValueType) -> Result<HostTensor> {
        if self.place == Place::Cpu {
            return read_host(tensor, ty);
        }
        read_host(&tensor.to(AllocationDevice::CPU, 0).map_err(engine)?, ty)
    }
}

fn tensor(allocator: &Allocator, ty: &ValueType) -> Result<DynTensor> {
    let element = match ty.dtype {
        Dtype::F32 => TensorElementType::Float32,
        Dtype::I64 => TensorElementType::Int64,
    };
    DynTensor::new(allocator, element, ty.shape.clone()).map_err(engine)
}

/// Copies elements into a tensor in the host's memory.
pub(crate) fn write_host(target: &mut DynTensor, value: &HostTensor) -> Result<()> {
    match value.data() {
        HostData::F32(v) => target.try_extract_tensor_mut::<f32>().map_err(engine)?.1.copy_from_slice(v),
        HostData::I64(v) => target.try_extract_tensor_mut::<i64>().map_err(engine)?.1.copy_from_slice(v),
    }
    Ok(())
}

/// Copies elements from a tensor in the host's memory.
pub(crate) fn read_host(tensor: &DynTensor, ty: &ValueType) -> Result<HostTensor> {
    match ty.dtype {
        Dtype::F32 => HostTensor::f32(ty.shape.clone(), tensor.try_extract_tensor::<f32>().map_err(engine)?.1.to_vec()),
        Dtype::I64 => HostTensor::i64(ty.shape.clone(), tensor.try_extract_tensor::<i64>().map_err(engine)?.1.to_vec()),
    }
}

/// Copies elements and extents from a value in the host's memory.
pub(crate) fn read_open(value: &DynValue, dtype: Dtype) -> Result<HostTensor> {
    let extents = |shape: &Shape| {
        let extents: Option<Vec<usize>> = shape.iter().map(|extent| usize::try_from(*extent).ok()).collect();
        extents.ok_or_else(|| Error::backend(format!("the engine gave a value of the extents {shape}")))
    };
    match dtype {
        Dtype::F32 => {
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(engine)?;
            HostTensor::f32(extents(shape)?, values.to_vec())
        }
        Dtype::I64 => {
            let (shape, values) = value.try_extract_tensor::<i64>().map_err(engine)?;
            HostTensor::i64(extents(shape)?, values.to_vec())
        }
    }
}
