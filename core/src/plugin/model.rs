//! The detector: describes its network, losses, taps and scores once for each phase, and may prepare training batches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Graph;
use crate::tensor::{Dtype, HostTensor};
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

impl ModelSpec {
    /// Succeeds if the spec holds what the host relies on. The graphs themselves are verified by [`Graph::verify`].
    ///
    /// # Errors
    /// Names the graph and the output, input, tap or number that is missing or does not fit.
    pub fn verify(&self) -> Result<()> {
        expect_shape("training", &self.train, "loss", "[]", |shape| shape.is_empty())?;
        let is_score = |shape: &[usize]| shape.len() == 1;
        match &self.image_score {
            None => expect_shape("evaluation", &self.eval, "score", "[N]", is_score)?,
            Some(graph) => {
                let is_map = |shape: &[usize]| shape.len() == 4 && shape[1] == 1;
                expect_shape("evaluation", &self.eval, "score_map", "[N, 1, H, W]", is_map)?;
                expect_shape("image score", graph, "score", "[N]", is_score)?;
            }
        }
        self.check_names()?;
        self.preprocessing.verify()?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::plugin(format!("its learning rate is {}, expects more than 0", self.learning_rate)));
        }
        Ok(())
    }

    /// That the spec lists every input, and both graphs have every tap that it lists.
    fn check_names(&self) -> Result<()> {
        for (graph, phase) in [(&self.train, "training"), (&self.eval, "evaluation")] {
            let listed = |name: &str| self.inputs.iter().any(|input| input.name == name);
            if let Some((name, _)) = graph.inputs().find(|(name, _)| !listed(name)) {
                let message = format!("the {phase} graph has the input `{name}`, which the spec does not list");
                return Err(Error::plugin(message));
            }
            for tap in &self.taps {
                graph.expect_tap(&tap.name).map_err(|error| error.into_kind(ErrorKind::Plugin).with("phase", phase))?;
            }
        }
        Ok(())
    }
}

fn expect_shape(
    phase: &str,
    graph: &Graph,
    output: &str,
    expected: &str,
    fits: impl Fn(&[usize]) -> bool,
) -> Result<()> {
    let value = graph.expect_output(output).map_err(|error| error.into_kind(ErrorKind::Plugin).with("phase", phase))?;
    let ty = graph.ty(value);
    if ty.dtype == Dtype::F32 && fits(&ty.shape) {
        return Ok(());
    }
    Err(Error::plugin(format!("output `{output}` is {ty}, expects f32{expected}")).with("phase", phase))
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

    fn verify(&self) -> Result<()> {
        let channels = self.color.channels();
        for (what, numbers) in [("mean", &self.mean), ("std", &self.std)] {
            if numbers.len() != channels || !numbers.iter().all(|x| x.is_finite() && (what == "mean" || *x > 0.0)) {
                let message = format!("its preprocessing has {what} = {numbers:?}, expects {channels} finite numbers");
                return Err(Error::plugin(message + if what == "std" { " above 0" } else { "" }));
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Builder;
    use crate::tensor::ValueType;

    /// A graph whose only input is its output too.
    fn graph(input: &str, output: &str, shape: &[usize]) -> Graph {
        let mut b = Builder::new("identity");
        let x = b.input(input, ValueType::f32(shape)).unwrap();
        b.output(output, x).unwrap();
        b.tap("code", x).unwrap();
        b.finish()
    }

    fn good() -> ModelSpec {
        ModelSpec {
            train: graph("x", "loss", &[]),
            eval: graph("x", "score_map", &[2, 1, 4, 4]),
            image_score: Some(graph("score_map", "score", &[2])),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(Color::Rgb, 0.5, 0.5),
            taps: vec![TapSpec { name: "code".to_owned(), help: String::new() }],
            optimizer: OptimizerSpec::adam(),
            learning_rate: 1e-3,
            prepares: false,
        }
    }

    #[test]
    fn a_spec_that_the_host_cannot_rely_on_is_refused_with_what_does_not_fit() {
        good().verify().unwrap();
        type Change = fn(&mut ModelSpec);
        let cases: [(Change, &str); 8] = [
            (|s| s.train = graph("x", "loss", &[2]), "output `loss` is f32[2], expects f32[]"),
            (|s| s.eval.outputs.clear(), "there is no output `score_map`; there are: "),
            (|s| s.eval = graph("x", "score_map", &[2, 4]), "output `score_map` is f32[2, 4], expects f32[N, 1, H, W]"),
            (|s| s.image_score = None, "there is no output `score`; there are: score_map"),
            (|s| s.inputs.clear(), "the training graph has the input `x`, which the spec does not list"),
            (|s| s.eval.taps.clear(), "there is no tap `code`; there are: "),
            (
                |s| s.preprocessing.std = vec![0.0; 3],
                "its preprocessing has std = [0.0, 0.0, 0.0], expects 3 finite numbers above 0",
            ),
            (|s| s.learning_rate = f64::NAN, "its learning rate is NaN, expects more than 0"),
        ];
        for (change, sentence) in cases {
            let mut spec = good();
            change(&mut spec);
            let error = spec.verify().unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Plugin, sentence));
        }
    }
}
