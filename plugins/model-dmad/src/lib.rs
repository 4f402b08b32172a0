//! DMAD: a prediction network that may draw the next frame only from a codebook of normal features, and a network that deforms what
//! it drew: how far it must is a measure of the abnormality that errors of the picture are not (Liu et al., "Diversity-Measurable
//! Anomaly Detection", CVPR 2023). This is the version for surveillance video (PDM); that for photographs of products (PPDM) is not here.
//!
//! Pixels that do not move are taken from a background that is learned too. It begins as an even gray and is moved towards the frames
//! `background_rate` times as fast as everything else learns; the official code begins with pictures that were made beforehand, which
//! an imported checkpoint holds.
//!
//! `variant` is one of two trainings of the official code, which differ from each other and, in constants, from the paper: offsets are
//! compared with their neighbours along each axis (`ped2`) or in a square (`avenue`), and so on; see `recipe.rs`. The official code
//! adds a third, for ShanghaiTech, with a background for every scene: there is no input here that says which scene a frame is of.
//!
//! The score is `offset_weight * z1 + error_weight * z2 + gradient_weight * z3`, the official cues and weights: the largest vertical
//! offset, the error of the frame, and the largest difference of its gradients, each standardised by the training frames.
//! The official evaluation instead brings each cue to 0 to 1 within its test video and smooths the scores over 11 frames; for `avenue`
//! it also removes what stands still. The raw cues are the outputs `statistics.offset`, `statistics.error`, `statistics.gradient`.
//!
//! Of the official training this is left out: from the seventh epoch on the background's rate is a constant 20 times the first rate of
//! the others; here it follows the cosine as theirs does. The official code keeps the epoch with the best result on the *test* data.
#![forbid(unsafe_code)]

mod coordinates;
mod detector;
mod network;
mod offsets;
mod recipe;
#[cfg(test)]
mod tests;

use mimus_core::Result;
use mimus_core::plugin::{ComponentInfo, Kind, Model, ModelRequest, ModelSpec, OptionSpec};

/// The detector.
#[derive(Debug)]
pub struct Dmad;

impl Model for Dmad {
    fn info(&self) -> ComponentInfo {
        let weight = |name: &str, default, what: &str| OptionSpec::float(name, default, [0.0, 1e6], what);
        ComponentInfo::new(
            Kind::Model,
            "dmad",
            "prediction of the next frame with deformations, whose size is measured",
        )
        .with_paper("Liu et al., Diversity-Measurable Anomaly Detection, CVPR 2023")
        .with_weights("FlappyPeggy/DMAD links whole models as pickles, without a licence; import their state_dict")
        .with_option(OptionSpec::choice(
            "variant",
            "ped2",
            &["ped2", "avenue"],
            "the official training; avenue also has widths = [64, 128, 256, 512] and items = 420",
        ))
        .with_option(OptionSpec::ints("widths", &[32, 64, 128, 256], [1, 4096], "channels of every level, 3 or more"))
        .with_option(OptionSpec::int("items", 200, [1, 100_000], "number of codes"))
        .with_option(OptionSpec::int("offset_width", 64, [1, 4096], "hidden channels of what estimates offsets"))
        .with_option(OptionSpec::int("frames", 5, [2, 64], "frames of a clip; the last is predicted from the others"))
        .with_option(OptionSpec::float(
            "background_rate",
            50.0,
            [1e-6, 1e6],
            "what the background's learning rate is that of everything else times",
        ))
        .with_option(weight("offset_weight", 0.2, "weight of the largest vertical offset in the score"))
        .with_option(weight("error_weight", 0.4, "weight of the frame's error in the score"))
        .with_option(weight(
            "gradient_weight",
            0.6,
            "weight of the largest difference of gradients in the score",
        ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        detector::Detector::new(request)?.spec()
    }
}

mimus_core::plugin! { Model(Dmad) }
