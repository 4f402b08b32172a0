//! The native libraries that backends may need, and the program that decodes video files, with the one version of each that the loader, the backends and the command mean.

use crate::error::Error;

/// A native library.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Name of its folder and in commands.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The version that backends are built for.
    pub version: &'static str,
    /// Its own libraries; each is opened after those before it. The last is the library itself.
    pub own: &'static [&'static str],
    /// Libraries of others that lie beside them, because its own need them.
    pub beside: &'static [&'static str],
    /// What is there besides if it was installed for NVIDIA GPUs; each is opened after those before it.
    pub cuda: &'static [&'static str],
}

/// All of them.
pub const KNOWN: &[Known] = &[
    // A program: what decodes video files starts it.
    Known {
        name: "ffmpeg",
        title: "FFmpeg of imageio-ffmpeg",
        version: "0.8.1",
        own: &["ffmpeg"],
        beside: &[],
        cuda: &[],
    },
    Known {
        name: "onnxruntime",
        title: "ONNX Runtime",
        // The newest that is published with CUDA too: one version for both.
        version: "1.31.1",
        own: &["libonnxruntime.so"],
        beside: &[],
        cuda: &[
            "cuda/libcudart.so.13",
            "cuda/libcublasLt.so.13",
            "cuda/libcublas.so.13",
            "cuda/libcurand.so.10",
            "cuda/libnvrtc.so.13",
            "cuda/libcudnn.so.9",
            "libonnxruntime_providers_shared.so",
            "libonnxruntime_providers_cuda.so",
        ],
    },
    Known {
        name: "torch",
        title: "libtorch",
        version: "2.11.0",
        own: &["libc10.so", "libtorch_cpu.so"],
        // The published library was built with CUDA: it does not load without these two, although the CPU alone needs nothing of them.
        beside: &["libgomp.so.1", "libcudart.so.13", "libcupti.so.13"],
        cuda: &["cuda/libc10_cuda.so", "cuda/libtorch_cuda.so"],
    },
];

impl Known {
    /// File name of the library itself.
    pub fn library(&self) -> &'static str {
        self.own.last().copied().unwrap_or_default()
    }

    /// All files that must be in `lib/` of an installation, with CUDA or without.
    pub fn files(&self, cuda: bool) -> impl Iterator<Item = &'static str> {
        let more = if cuda { self.cuda } else { &[] };
        self.beside.iter().chain(self.own).chain(more).copied()
    }

    /// Says that it is not installed.
    pub fn missing(&self) -> Error {
        let Self { name, title, version, .. } = self;
        Error::backend(format!("needs {} ({title} {version}), which is not installed", self.library()))
            .hint(format!("run `mimus backend install {name}`"))
    }
}
