//! The detector: describes its network, losses, taps and scores once for each phase, and may prepare training batches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::HostTensor;
use crate::train::OptimizerSpec;

/// A reconstruction- or prediction-based detector.
pub trait Model: Send + Sync {
    /// Name, summary, paper, options.
    fn info(&self) -> ComponentInfo;

    /// Describes the network for one batch size and input geometry. Cheap: called again for every batch size.
    ///
    /// # Errors
    /// If the options or the geometry do not fit the network; names the option or layer.
    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec>;

    /// Changes or completes a training batch (synthetic defects, corrupted inputs): called if the spec says
    /// [`ModelSpec::prepares`], with a seed that is unique to (run seed, epoch, step). Must be a pure function of its arguments.
    ///
    /// # Errors
    /// If an input that it needs is not there.
    fn prepare(&self, request: &ModelRequest, batch: Batch, seed: u64) -> Result<Batch> {
        let _ = (request, seed);
        Ok(batch)
    }
}

/// Tensors for one run of a program, by input name.
pub type Batch = BTreeMap<String, HostTensor>;

/// What the host asks a model for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// Resolved options.
    pub options: Options,
    /// Number of samples N.
    pub batch: usize,
    /// Frames of a clip; 1 for images.
    pub frames: usize,
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
}

/// Everything that the host must know of a detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Training phase: output `loss` (scalar, what is minimised), optionally its terms as `loss.<term>`; taps; running statistics
    /// as assignments.
    pub train: Graph,
    /// Evaluation phase: output `score_map` `[N, 1, H, W]` (task score S_o by pixel) if the model has one, output `score` `[N]`
    /// if it has no map, any other output for inspection; the same taps as in training.
    pub eval: Graph,
    /// How an image score comes from a (possibly fused) score map: input `score_map` `[N, 1, H, W]`, output `score` `[N]`.
    /// There exactly if `eval` has a `score_map`.
    pub image_score: Option<Graph>,
    /// Inputs of the graphs and how each is filled.
    pub inputs: Vec<InputSpec>,
    /// How pixels become the input.
    pub preprocessing: Preprocessing,
    /// The taps, the natural one (usually the bottleneck) first.
    pub taps: Vec<TapSpec>,
    /// The published optimiser.
    pub optimizer: OptimizerSpec,
    /// The published learning rate.
    pub learning_rate: f64,
    /// Whether [`Model::prepare`] has to see every training batch.
    pub prepares: bool,
}

/// One input and how it is filled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Name of the graph input.
    pub name: String,
    /// Where its values come from.
    pub fill: Fill,
}

/// Where the values of an input come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The preprocessed image `[N, C, H, W]` or clip `[N, C, T, H, W]`.
    Image,
    /// Standard normal noise of the input's shape from the run's stream; zeros in evaluation.
    Noise,
    /// [`Model::prepare`] makes it; training only.
    Prepared,
}

/// Colour channels in the order that the model wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// One channel; colour is reduced by the ITU-R 601 weights.
    Gray,
    /// Three channels, red first; gray is repeated.
    Rgb,
    /// Three channels, blue first; gray is repeated.
    Bgr,
}

impl Color {
    /// Number of channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

/// How 8-bit pixels become the input: `(pixel / 255 - mean) / std` for each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Channels.
    pub color: Color,
    /// Subtracted, one for each channel.
    pub mean: Vec<f64>,
    /// Divided by, one for each channel.
    pub std: Vec<f64>,
}

impl Preprocessing {
    /// The same `mean` and `std` for every channel: 0 and 1 give `[0, 1]`, 0.5 and 0.5 give `[-1, 1]`.
    pub fn uniform(color: Color, mean: f64, std: f64) -> Self {
        Self { color, mean: vec![mean; color.channels()], std: vec![std; color.channels()] }
    }
}

/// A hidden value at which a boost may attach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TapSpec {
    /// Name of the tap in both graphs.
    pub name: String,
    /// One line on what it is.
    pub help: String,
}
