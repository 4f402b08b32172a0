//! The detector: describes its network, losses, taps and scores once for each phase, and may prepare training batches.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
pub use crate::blocks::score::{EMPTY_SCORE, STATISTICS};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Variable};
use crate::tensor::{Dtype, HostTensor};
use crate::train::{LOSS, Stage, Turn};

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
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
}

/// Everything that the host must know of a detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The stages of training, in order; most detectors have one ([`Stage::single`]). The optimiser's state begins anew at each.
    pub stages: Vec<Stage>,
    /// Evaluation phase: output `score_map` `[N, 1, H, W]` (task score S_o by pixel) if the model has one, output `score` `[N]`
    /// if it has no map, any other output for inspection; the taps. Assignments are state that evaluation itself changes (a memory
    /// that is updated at test time): then samples are scored one by one in their order, from the trained state on.
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
    /// Whether [`Model::prepare`] has to see every training batch.
    pub prepares: bool,
    /// Which frames make a sample.
    pub clip: Clip,
    /// Variables that training does not begin from nothing with.
    pub pretrained: Option<Pretrained>,
    /// Scores that are measured over the training samples after training: for each name `s` the evaluation graph has the output
    /// `statistics.<s>` `[N]` and reads the scalar buffers `statistics.<s>.mean` and `statistics.<s>.std` (population).
    pub statistics: Vec<String>,
}

impl ModelSpec {
    /// The turn that trains the detector itself last: the last of the last stage.
    ///
    /// # Errors
    /// If there is none.
    pub fn main(&self) -> Result<&Turn> {
        self.stages.last().ok_or_else(|| Error::plugin("its spec has no stage of training"))?.main()
    }

    /// The graphs of all turns, in their order, each with what it is called in messages.
    pub fn training(&self) -> impl Iterator<Item = (String, &Graph)> {
        let turn = |stage: &Stage, turn: &Turn| {
            if stage.turns.len() == 1 { stage.name.clone() } else { format!("{}, {}", stage.name, turn.name) }
        };
        self.stages.iter().flat_map(move |stage| stage.turns.iter().map(move |t| (turn(stage, t), &t.graph)))
    }

    /// Whether a sample is a region of the frames of a clip: see [`EMPTY_SCORE`].
    pub fn takes_regions(&self) -> bool {
        self.eval.output(EMPTY_SCORE).is_some()
    }

    /// The variables of all graphs, each once, in order of declaration.
    pub fn variables(&self) -> Vec<&Variable> {
        let mut seen = BTreeSet::new();
        let graphs = self.training().map(|(_, graph)| graph).chain([&self.eval]);
        graphs.flat_map(|graph| &graph.variables).filter(|variable| seen.insert(variable.name.as_str())).collect()
    }

    /// Succeeds if the spec holds what the host relies on. The graphs themselves are verified by [`Graph::verify`].
    ///
    /// # Errors
    /// Names the graph and the output, input, tap or number that is missing or does not fit.
    pub fn verify(&self) -> Result<()> {
        self.check_stages()?;
        let is_score = |shape: &[usize]| shape.len() == 1;
        match &self.image_score {
            None => expect_shape("evaluation", &self.eval, "score", "[N]", is_score)?,
            Some(graph) => {
                let is_map = |shape: &[usize]| shape.len() == 4 && shape[1] == 1;
                expect_shape("evaluation", &self.eval, "score_map", "[N, 1, H, W]", is_map)?;
                expect_shape("image score", graph, "score", "[N]", is_score)?;
            }
        }
        if self.takes_regions() {
            expect_shape("evaluation", &self.eval, EMPTY_SCORE, "[]", <[usize]>::is_empty)?;
            if self.image_score.is_some() {
                return Err(Error::plugin("a model of regions gives a `score` for each, and no `score_map`"));
            }
        }
        for name in &self.statistics {
            expect_shape("evaluation", &self.eval, &format!("{STATISTICS}.{name}"), "[N]", is_score)?;
        }
        self.check_names()?;
        self.clip.verify()?;
        self.preprocessing.verify()
    }

    fn check_stages(&self) -> Result<()> {
        self.main()?;
        let total: f64 = self.stages.iter().map(|stage| stage.share).sum();
        if !(self.stages.iter().all(|stage| stage.share > 0.0) && (total - 1.0).abs() <= 1e-9) {
            let shares: Vec<f64> = self.stages.iter().map(|stage| stage.share).collect();
            return Err(Error::plugin(format!(
                "its stages have the shares {shares:?}, expects numbers above 0 that add up to 1"
            )));
        }
        for stage in &self.stages {
            stage.main()?;
            for turn in &stage.turns {
                let check = || {
                    expect_shape("training", &turn.graph, LOSS, "[]", |shape| shape.is_empty())?;
                    turn.check_rates()
                };
                check().map_err(|error: Error| error.with("turn", &turn.name).with("stage", &stage.name))?;
            }
        }
        Ok(())
    }

    /// That the spec lists every input, and that the taps are where a boost needs them.
    fn check_names(&self) -> Result<()> {
        let listed = |name: &str| self.inputs.iter().any(|input| input.name == name);
        for (phase, graph) in self.training().chain([("evaluation".to_owned(), &self.eval)]) {
            if let Some((name, _)) = graph.inputs().find(|(name, _)| !listed(name)) {
                let message = format!("the graph has the input `{name}`, which the spec does not list");
                return Err(Error::plugin(message).with("phase", phase));
            }
        }
        for (graph, phase) in [(&self.main()?.graph, "training"), (&self.eval, "evaluation")] {
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
    /// The preprocessed image `[N, C, H, W]`; a clip as `[N, C, T, H, W]`, or as `[N, T * C, H, W]`, frame by frame.
    Image,
    /// Optical flow `[N, T * 2, H, W]` of the clip's last T frames, each from the frame before it, in pixels: x, y of the first, ...
    Flow,
    /// The same, but of each frame to the frame after it; the last frame of a video has the flow from the one before it, the first none.
    FlowAhead,
    /// Pictures of the textures that the user names, `[N, C, H, W]`, preprocessed as images are, for [`Model::prepare`]; not there if
    /// the user names none. Training only.
    Texture,
    /// Standard normal noise of the input's shape from the run's stream; zeros in evaluation.
    Noise,
    /// [`Model::prepare`] makes it; training only.
    Prepared,
}

/// Which frames of a video make one sample. For pictures: [`Clip::image`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clip {
    /// Number of frames T, 1 at least.
    pub frames: usize,
    /// Frames from one of them to the next, 1 for consecutive ones.
    pub stride: usize,
    /// Which of them the score belongs to, from 0.
    pub score_frame: usize,
    /// What happens where a video has no such frame.
    pub edge: Edge,
}

/// What becomes of clips that would reach beyond the ends of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// There is no such clip: frames near the ends have no score.
    Drop,
    /// The first frame stands for those before it, the last for those behind it: every frame has a score.
    Repeat,
}

impl Clip {
    /// A single picture.
    pub fn image() -> Self {
        Self { frames: 1, stride: 1, score_frame: 0, edge: Edge::Drop }
    }

    fn verify(&self) -> Result<()> {
        if self.frames > 0 && self.stride > 0 && self.score_frame < self.frames {
            return Ok(());
        }
        Err(Error::plugin(format!(
            "its clip has {} frames of stride {}, scored at {}",
            self.frames, self.stride, self.score_frame
        )))
    }
}

/// Variables that come from a file of others, such as a backbone trained on ImageNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pretrained {
    /// The variables `<prefix>.*`; the file has their names without the prefix.
    pub prefix: String,
    /// What the file holds, for messages: `resnet18 of torchvision, trained on ImageNet`.
    pub what: String,
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

    /// Red, green, blue with mean and deviation of the pictures of ImageNet, on which published backbones were trained.
    pub fn imagenet() -> Self {
        Self { color: Color::Rgb, mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
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
    use crate::train::{OptimizerSpec, Rate};

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
            stages: vec![Stage::single(graph("x", "loss", &[]), OptimizerSpec::adam(), 1e-3)],
            eval: graph("x", "score_map", &[2, 1, 4, 4]),
            image_score: Some(graph("score_map", "score", &[2])),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(Color::Rgb, 0.5, 0.5),
            taps: vec![TapSpec { name: "code".to_owned(), help: String::new() }],
            prepares: false,
            clip: Clip::image(),
            pretrained: None,
            statistics: Vec::new(),
        }
    }

    #[test]
    fn a_spec_that_the_host_cannot_rely_on_is_refused_with_what_does_not_fit() {
        good().verify().unwrap();
        type Change = fn(&mut ModelSpec);
        let cases: [(Change, &str); 14] = [
            (|s| s.stages[0].turns[0].graph = graph("x", "loss", &[2]), "output `loss` is f32[2], expects f32[]"),
            (|s| s.eval.outputs.clear(), "there is no output `score_map`; there are: "),
            (|s| s.eval = graph("x", "score_map", &[2, 4]), "output `score_map` is f32[2, 4], expects f32[N, 1, H, W]"),
            (|s| s.image_score = None, "there is no output `score`; there are: score_map"),
            (|s| s.inputs.clear(), "the graph has the input `x`, which the spec does not list"),
            (|s| s.eval.taps.clear(), "there is no tap `code`; there are: "),
            (
                |s| s.preprocessing.std = vec![0.0; 3],
                "its preprocessing has std = [0.0, 0.0, 0.0], expects 3 finite numbers above 0",
            ),
            (|s| s.stages.clear(), "its spec has no stage of training"),
            (|s| s.stages[0].turns.clear(), "has no turn"),
            (|s| s.stages[0].share = 0.5, "its stages have the shares [0.5], expects numbers above 0 that add up to 1"),
            (|s| s.clip.score_frame = 1, "its clip has 1 frames of stride 1, scored at 1"),
            (|s| s.stages[0].turns[0].learning_rate = f64::NAN, "its learning rate is NaN, expects more than 0"),
            (
                |s| s.stages[0].turns[0].rates = vec![Rate { scope: "net".to_owned(), factor: 0.0 }],
                "the factor of the learning rate for `net` is 0, expects more than 0",
            ),
            (
                |s| s.stages[0].turns[0].rates = vec![Rate { scope: "net".to_owned(), factor: 2.0 }],
                "`net` has a factor of the learning rate and no parameter",
            ),
        ];
        for (change, sentence) in cases {
            let mut spec = good();
            change(&mut spec);
            let error = spec.verify().unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Plugin, sentence));
        }
    }
}
