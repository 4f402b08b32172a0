//! MNAD: an autoencoder that reads every position of its code from a handful of memory items, which follow the queries without
//! a gradient (Park et al., "Learning Memory-guided Normality for Anomaly Detection", CVPR 2020). It predicts the last frame of
//! a clip from those before it, or reconstructs a single picture.
//!
//! Follows the official code where it differs from the paper; `rules = "paper"` measures compactness by distances and updates an
//! item relative to its own queries. The image score is the mean squared error, which ranks frames as the official PSNR does;
//! the outputs `psnr` and `compactness` are the two cues that the official evaluation brings to 0 to 1 within each video and
//! adds up.
#![forbid(unsafe_code)]

mod detector;
mod network;

use mimus_core::Result;
use mimus_core::plugin::{ComponentInfo, Kind, Model, ModelRequest, ModelSpec, OptionSpec};

use detector::{Detector, Task};

/// Predicts the last frame of a clip.
#[derive(Debug)]
pub struct Mnad;

/// Reconstructs a picture.
#[derive(Debug)]
pub struct MnadReconstruction;

fn info(name: &str, summary: &str, weight: f64, threshold: f64) -> ComponentInfo {
    let weight = |name: &str, what: &str| OptionSpec::float(name, weight, [0.0, 1e6], what);
    ComponentInfo::new(Kind::Model, name, summary)
        .with_paper("Park et al., Learning Memory-guided Normality for Anomaly Detection, CVPR 2020")
        .with_weights(
            "cvlab-yonsei/MNAD publishes none at present, and no licence; its code keeps the items in a file of their own, keys.pt: \
             they are the variable m_items here",
        )
        .with_option(OptionSpec::ints("widths", &[64, 128, 256, 512], [1, 4096], "channels of every level"))
        .with_option(OptionSpec::int("items", 10, [2, 100_000], "number of memory items"))
        .with_option(weight("compactness_weight", "weight of the distance to the nearest item in the loss"))
        .with_option(weight("separateness_weight", "weight of the triplet of nearest and next item in the loss"))
        .with_option(OptionSpec::bool(
            "test_update",
            true,
            "whether the items follow normal frames while frames are scored",
        ))
        .with_option(OptionSpec::float(
            "test_threshold",
            threshold,
            [0.0, 1.0],
            "items follow a frame whose weighted squared error (pixels from 0 to 1) is below this",
        ))
        .with_option(OptionSpec::choice(
            "rules",
            "code",
            &["code", "paper"],
            "compactness and update: official code, or paper",
        ))
}

impl Model for Mnad {
    fn info(&self) -> ComponentInfo {
        info("mnad", "memory-guided prediction of the next frame", 0.1, 0.01).with_option(OptionSpec::int(
            "frames",
            5,
            [2, 64],
            "frames of a clip; the last is predicted from the others",
        ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let frames = request.options.usize("frames")?;
        Detector::new(request, "mnad", Task::Prediction { frames })?.spec()
    }
}

impl Model for MnadReconstruction {
    fn info(&self) -> ComponentInfo {
        info("mnad-reconstruction", "memory-guided reconstruction of pictures and frames", 0.01, 0.015)
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        Detector::new(request, "mnad-reconstruction", Task::Reconstruction)?.spec()
    }
}

mimus_core::plugin! { Model(Mnad), Model(MnadReconstruction) }
