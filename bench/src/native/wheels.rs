//! Which published wheels the native libraries are taken from: pinned versions, their hashes, and the files that are kept.

/// How the folder of a native library is made.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Name of the native library, as in `mimus_core::native`.
    pub(crate) name: &'static str,
    pub(crate) wheels: &'static [Wheel],
    /// Files that are written: path and content.
    pub(crate) texts: &'static [(&'static str, &'static str)],
    /// Package of the backend that is built against the folder, and its folder in the sources.
    pub(crate) builds: Option<(&'static str, &'static str)>,
}

/// A wheel for Linux on x86-64.
#[derive(Debug)]
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// What is kept: in which installations, path in the wheel and path in the folder. Both paths end with a slash if it is a folder.
    pub(crate) take: &'static [(For, &'static str, &'static str)],
}

/// The installations that something is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Any.
    Any,
    /// One without CUDA.
    Cpu,
    /// One with CUDA.
    Cuda,
}

use For::{Any, Cpu, Cuda};

/// A wheel that holds libraries for NVIDIA GPUs alone, below `nvidia/`: libtorch's CUDA libraries search there.
const fn gpu(package: &'static str, version: &'static str, sha256: &'static str, bytes: u64) -> Wheel {
    Wheel { package, version, sha256, bytes, take: &[(Cuda, "nvidia/", "nvidia/")] }
}

/// Where ONNX Runtime's backend looks for NVIDIA's libraries, which it opens before.
const BESIDE: &[(For, &str, &str)] = &[(Cuda, "nvidia/cu13/lib/", "lib/cuda/")];

const CUBLAS: Wheel =
    gpu("nvidia-cublas", "13.1.0.3", "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171", 423_133_236);

const NVRTC: Wheel =
    gpu("nvidia-cuda-nvrtc", "13.0.88", "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575", 90_215_200);

const CUDNN: Wheel = gpu(
    "nvidia-cudnn-cu13",
    "9.19.0.56",
    "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
    366_066_321,
);

const CURAND: Wheel =
    gpu("nvidia-curand", "10.4.0.35", "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc", 59_544_258);

const CUDART: Wheel = Wheel {
    package: "nvidia-cuda-runtime",
    version: "13.0.96",
    sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    bytes: 2_243_632,
    take: &[
        (Any, "nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13"),
        (Any, "nvidia_cuda_runtime-13.0.96.dist-info/licenses/License.txt", "licenses/nvidia-cuda-runtime/LICENSE"),
    ],
};

/// All of them.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "ffmpeg",
        wheels: &[Wheel {
            package: "imageio-ffmpeg",
            version: "0.8.1",
            sha256: "050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda",
            bytes: 67_998_402,
            take: &[
                (Any, "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2", "lib/ffmpeg"),
                (Any, "imageio_ffmpeg-0.8.1.dist-info/licenses/LICENSE", "licenses/imageio-ffmpeg/LICENSE"),
            ],
        }],
        texts: &[],
        builds: None,
    },
    Recipe {
        name: "onnxruntime",
        wheels: &[
            Wheel {
                package: "onnxruntime",
                version: "1.31.1",
                sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
                bytes: 23_753_652,
                take: &[
                    (Cpu, "onnxruntime/capi/libonnxruntime.so.1.31.1", "lib/libonnxruntime.so"),
                    (Cpu, "onnxruntime/LICENSE", "licenses/onnxruntime/LICENSE"),
                    (Cpu, "onnxruntime/ThirdPartyNotices.txt", "licenses/onnxruntime/ThirdPartyNotices.txt"),
                ],
            },
            Wheel {
                package: "onnxruntime-gpu",
                version: "1.31.1",
                sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
                bytes: 255_560_985,
                take: &[
                    (Cuda, "onnxruntime/capi/libonnxruntime.so.1.31.1", "lib/libonnxruntime.so"),
                    (Cuda, "onnxruntime/capi/libonnxruntime_providers_cuda.so", "lib/libonnxruntime_providers_cuda.so"),
                    (
                        Cuda,
                        "onnxruntime/capi/libonnxruntime_providers_shared.so",
                        "lib/libonnxruntime_providers_shared.so",
                    ),
                    (Cuda, "onnxruntime/LICENSE", "licenses/onnxruntime/LICENSE"),
                    (Cuda, "onnxruntime/ThirdPartyNotices.txt", "licenses/onnxruntime/ThirdPartyNotices.txt"),
                ],
            },
            Wheel { take: &[(Cuda, "nvidia/cu13/lib/libcudart.so.13", "lib/cuda/libcudart.so.13")], ..CUDART },
            Wheel { take: BESIDE, ..CUBLAS },
            Wheel { take: BESIDE, ..CURAND },
            Wheel { take: BESIDE, ..NVRTC },
            Wheel { take: &[(Cuda, "nvidia/cudnn/lib/", "lib/cuda/")], ..CUDNN },
        ],
        texts: &[],
        builds: None,
    },
    Recipe {
        name: "torch",
        wheels: &[
            Wheel {
                package: "torch",
                version: "2.11.0",
                sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
                bytes: 530_604_548,
                take: &[
                    (Any, "torch/include/", "include/"),
                    (Any, "torch/lib/libc10.so", "lib/libc10.so"),
                    (Any, "torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
                    (Any, "torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
                    (Any, "torch-2.11.0.dist-info/licenses/LICENSE", "licenses/torch/LICENSE"),
                    (Any, "torch-2.11.0.dist-info/licenses/NOTICE", "licenses/torch/NOTICE"),
                    // Not in `lib/`: what is built against the folder would be linked to them.
                    (Cuda, "torch/lib/libc10_cuda.so", "lib/cuda/libc10_cuda.so"),
                    (Cuda, "torch/lib/libcaffe2_nvrtc.so", "lib/cuda/libcaffe2_nvrtc.so"),
                    (Cuda, "torch/lib/libtorch_cuda.so", "lib/cuda/libtorch_cuda.so"),
                    (Cuda, "torch/lib/libtorch_cuda_linalg.so", "lib/cuda/libtorch_cuda_linalg.so"),
                    (Cuda, "torch/lib/libtorch_nvshmem.so", "lib/cuda/libtorch_nvshmem.so"),
                ],
            },
            CUDART,
            Wheel {
                package: "nvidia-cuda-cupti",
                version: "13.0.85",
                sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
                bytes: 10_715_597,
                take: &[
                    (Any, "nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13"),
                    (
                        Any,
                        "nvidia_cuda_cupti-13.0.85.dist-info/licenses/License.txt",
                        "licenses/nvidia-cuda-cupti/LICENSE",
                    ),
                ],
            },
            CUBLAS,
            NVRTC,
            CUDNN,
            gpu(
                "nvidia-cufft",
                "12.0.0.61",
                "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
                214_085_489,
            ),
            gpu(
                "nvidia-cufile",
                "1.15.1.6",
                "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
                1_223_672,
            ),
            CURAND,
            gpu(
                "nvidia-cusolver",
                "12.0.4.66",
                "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
                200_941_980,
            ),
            gpu(
                "nvidia-cusparse",
                "12.6.3.3",
                "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
                145_942_937,
            ),
            gpu(
                "nvidia-cusparselt-cu13",
                "0.8.0",
                "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
                169_884_119,
            ),
            gpu(
                "nvidia-nccl-cu13",
                "2.28.9",
                "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
                196_493_177,
            ),
            gpu(
                "nvidia-nvjitlink",
                "13.0.88",
                "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
                40_713_933,
            ),
            gpu(
                "nvidia-nvshmem-cu13",
                "3.4.5",
                "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
                60_412_546,
            ),
            gpu("nvidia-nvtx", "13.0.85", "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4", 148_047),
        ],
        texts: &[
            // What is built against libtorch names this library to the linker: a script for it, which names the real ones.
            ("lib/libtorch.so", "GROUP ( libtorch_cpu.so libc10.so )\n"),
            ("build-version", "2.11.0\n"),
        ],
        builds: Some(("mimus-torch", "backends/torch")),
    },
];

impl Wheel {
    /// What is kept of it in an installation, with CUDA or without.
    pub(crate) fn taken(&self, cuda: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
        let other = if cuda { Cpu } else { Cuda };
        self.take.iter().filter(move |(kept, ..)| *kept != other).map(|(_, from, to)| (*from, *to))
    }
}

impl Recipe {
    /// The wheels of which something is kept.
    pub(crate) fn needed(&self, cuda: bool) -> Vec<&'static Wheel> {
        self.wheels.iter().filter(|wheel| wheel.taken(cuda).next().is_some()).collect()
    }

    /// Whether there are libraries for NVIDIA GPUs.
    pub(crate) fn has_cuda(&self) -> bool {
        self.wheels.iter().any(|wheel| wheel.take.iter().any(|(kept, ..)| *kept == Cuda))
    }
}
