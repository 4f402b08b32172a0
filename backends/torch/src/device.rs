//! Devices, what a session is asked for, and the way between the host's tensors and the engine's.

use std::path::PathBuf;

use mimus_core::error::innermost;
use mimus_core::native;
use mimus_core::plugin::{BackendRequest, DeviceInfo, OptionSpec};
use mimus_core::{Dtype, Error, HostData, HostTensor, Result, ValueType};
use tch::{Device, Kind, TchError, Tensor};

use crate::error::engine;
use crate::ffi;

/// The device that is always there.
const CPU: &str = "cpu";

/// The engine's name among the native libraries.
const LIBRARY: &str = "torch";

/// Where its CUDA half lies, below its folder of libraries.
const CUDA_LIBRARY: &str = "cuda/libtorch_cuda.so";

/// How exactly convolutions and matrix products are computed; everything else is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    /// Factors rounded to bfloat16, sums in f32.
    Bf16,
    /// Factors rounded to TF32 by the GPU, sums in f32.
    Tf32,
}

impl Precision {
    /// A factor in the precision of the product.
    pub(crate) fn reduce(self, x: &Tensor) -> std::result::Result<Tensor, TchError> {
        if self == Self::Bf16 { x.f_to_kind(Kind::BFloat16) } else { Ok(x.shallow_clone()) }
    }

    /// A product in f32.
    pub(crate) fn restore(self, y: &Tensor) -> std::result::Result<Tensor, TchError> {
        if self == Self::Bf16 { y.f_to_kind(Kind::Float) } else { Ok(y.shallow_clone()) }
    }
}

/// What a session computes on, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    /// Images are held with the channels of a place side by side.
    pub(crate) channels_last: bool,
    pub(crate) threads: usize,
}

/// The options that the backend understands.
pub(crate) fn options() -> [OptionSpec; 2] {
    [
        OptionSpec::bool(
            "channels_last",
            true,
            "hold images with the channels of a pixel side by side, which is mostly faster",
        ),
        OptionSpec::choice(
            "precision",
            "f32",
            &["f32", "bf16", "tf32"],
            "of the factors of convolutions and matrix products; sums are f32 always; tf32 on GPUs only",
        ),
    ]
}

impl Settings {
    /// What is asked for.
    ///
    /// # Errors
    /// If the device is not there, no threads are given, or the precision does not exist on the device.
    pub(crate) fn new(request: &BackendRequest) -> Result<Self> {
        if request.threads == 0 || i32::try_from(request.threads).is_err() {
            return Err(Error::config(format!("threads is {}, expects 1 or more", request.threads)));
        }
        let device = find(&request.device)?;
        let precision = match request.options.text("precision")? {
            "bf16" => Precision::Bf16,
            "tf32" => Precision::Tf32,
            _ => Precision::F32,
        };
        if precision == Precision::Tf32 && !device.is_cuda() {
            return Err(Error::config("precision is \"tf32\", which the CPU does not have")
                .with("key", "precision")
                .hint("use \"f32\" or \"bf16\", or a GPU"));
        }
        Ok(Self { device, precision, channels_last: request.options.bool("channels_last")?, threads: request.threads })
    }

    /// Whether the engine has convolutions that end with a function of their output, and gains by them.
    pub(crate) fn fuses_activations(&self) -> bool {
        self.device == Device::Cpu && self.precision == Precision::F32 && self.channels_last
    }

    /// Makes the switches of the process, which all its sessions share, those of this session.
    pub(crate) fn apply(&self) {
        tch::set_num_threads(self.threads as i32);
        ffi::configure(self.precision == Precision::Tf32);
    }
}

/// The file of libtorch's CUDA half, if it is installed.
fn cuda_library() -> Result<Option<PathBuf>> {
    Ok(native::find(LIBRARY)?.filter(|found| found.cuda).map(|found| found.path(CUDA_LIBRARY)))
}

/// The number of GPUs, after opening libtorch's CUDA half if it is installed.
fn gpus() -> Result<i64> {
    let Some(library) = cuda_library()? else { return Ok(0) };
    ffi::open_cuda(&library).map_err(|error| {
        Error::backend(format!("libtorch's CUDA library cannot be opened: {}", innermost(&error)))
            .with("file", library.display())
            .hint("run `mimus backend install torch --cuda`")
    })?;
    Ok(tch::Cuda::device_count())
}

/// The devices that are there, GPUs first.
///
/// # Errors
/// If libtorch's CUDA half is there and cannot be opened.
pub(crate) fn devices() -> Result<Vec<DeviceInfo>> {
    let gpu = |i| DeviceInfo { name: format!("cuda:{i}"), description: format!("CUDA device {i}, by libtorch") };
    let cpu = DeviceInfo { name: CPU.to_owned(), description: "the CPU, by libtorch".to_owned() };
    Ok((0..gpus()?).map(gpu).chain([cpu]).collect())
}

/// The device called `name`.
fn find(name: &str) -> Result<Device> {
    if name == CPU {
        return Ok(Device::Cpu);
    }
    let known: Vec<String> = devices()?.into_iter().map(|device| device.name).collect();
    let name = if name == "auto" { &known[0] } else { name };
    if !known.iter().any(|known| known == name) {
        let error = Error::backend(format!("there is no device `{name}`; there are: {}", known.join(", ")));
        return Err(error.hint(match cuda_library()? {
            Some(_) => "a GPU needs NVIDIA's driver; its libraries are installed",
            None => "a GPU needs libtorch's CUDA libraries: run `mimus backend install torch --cuda`",
        }));
    }
    let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
    Ok(number.map_or(Device::Cpu, Device::Cuda))
}

/// The engine's word for an element type.
pub(crate) fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::I64 => Kind::Int64,
    }
}

/// The same elements in memory of their own, row-major.
pub(crate) fn copy(x: &Tensor) -> std::result::Result<Tensor, TchError> {
    let mut copy = Tensor::f_empty(x.size(), (x.f_kind()?, x.device()))?;
    copy.f_copy_(x)?;
    Ok(copy)
}

/// A host's tensor on the device.
pub(crate) fn to_device(tensor: &HostTensor, device: Device) -> std::result::Result<Tensor, TchError> {
    let flat = match tensor.data() {
        HostData::F32(v) => Tensor::f_from_slice(v)?,
        HostData::I64(v) => Tensor::f_from_slice(v)?,
    };
    flat.f_reshape(crate::lower::extents(tensor.shape()))?.f_to_device(device)
}

/// A device's tensor on the host.
///
/// # Errors
/// If the engine fails.
pub(crate) fn to_host(tensor: &Tensor, ty: &ValueType) -> Result<HostTensor> {
    let fetch = || tensor.f_to_device(Device::Cpu)?.f_contiguous();
    let tensor = fetch().map_err(|error| engine(&error))?;
    let n = ty.elements();
    match ty.dtype {
        Dtype::F32 => {
            let mut values = vec![0.0_f32; n];
            tensor.f_copy_data(&mut values, n).map_err(|error| engine(&error))?;
            HostTensor::f32(ty.shape.clone(), values)
        }
        Dtype::I64 => {
            let mut values = vec![0_i64; n];
            tensor.f_copy_data(&mut values, n).map_err(|error| engine(&error))?;
            HostTensor::i64(ty.shape.clone(), values)
        }
    }
}

/// Images and their filters with the channels of a place side by side; anything else unchanged.
pub(crate) fn channels_last(x: &Tensor) -> std::result::Result<Tensor, TchError> {
    match x.dim() {
        4 => x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2]),
        5 => x.f_permute([0, 2, 3, 4, 1])?.f_contiguous()?.f_permute([0, 4, 1, 2, 3]),
        _ => Ok(x.shallow_clone()),
    }
}
