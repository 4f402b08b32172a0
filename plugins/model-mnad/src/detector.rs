//! Losses, scores and the memory's own updates around the network.

use mimus_core::blocks::double::Style;
use mimus_core::blocks::items::{self, Addressed, Rules};
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::blocks::{loss, memory};
use mimus_core::plugin::{Clip, Color, Edge, Fill, InputSpec, ModelRequest, ModelSpec, Preprocessing, TapSpec};
use mimus_core::train::{OptimizerSpec, Schedule, Stage};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

use crate::network::Network;

/// Frames are read by OpenCV, blue first.
const COLOR: Color = Color::Bgr;

/// The items' variable.
const ITEMS: &str = "m_items";

/// What the decoder's picture is compared with.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Task {
    /// The last frame of a clip.
    Prediction {
        /// Frames of the clip.
        frames: usize,
    },
    /// The input itself.
    Reconstruction,
}

pub(super) struct Detector {
    name: &'static str,
    task: Task,
    network: Network,
    items: usize,
    weights: [f64; 2],
    test_threshold: Option<f64>,
    rules: Rules,
    /// `[N, C, H, W]`, a clip's frames one after another along the channels.
    input: [usize; 4],
}

struct Forward {
    target: ValueId,
    output: ValueId,
    read: ValueId,
    met: Addressed,
    stored: ValueId,
}

impl Detector {
    pub(super) fn new(request: &ModelRequest, name: &'static str, task: Task) -> Result<Self> {
        let options = &request.options;
        let channels = COLOR.channels();
        let frames = if let Task::Prediction { frames } = task { frames } else { 1 };
        let network =
            Network { widths: options.levels("widths")?, skips: matches!(task, Task::Prediction { .. }), channels };
        let test_threshold = options.float("test_threshold")?;
        Ok(Self {
            name,
            task,
            network,
            items: options.usize("items")?,
            weights: [options.float("compactness_weight")?, options.float("separateness_weight")?],
            test_threshold: options.bool("test_update")?.then_some(test_threshold),
            rules: if options.text("rules")? == "paper" { Rules::Paper } else { Rules::Code },
            input: [request.batch, frames * channels, request.height, request.width],
        })
    }

    pub(super) fn spec(&self) -> Result<ModelSpec> {
        Ok(ModelSpec {
            stages: vec![Stage {
                schedule: Schedule::Cosine,
                ..Stage::single(self.train()?, OptimizerSpec::adam(), 2e-4)
            }],
            eval: self.eval()?,
            image_score: Some(score::image_score([self.input[0], self.input[2], self.input[3]], Pooling::Mean)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(COLOR, 0.5, 0.5),
            taps: vec![
                TapSpec {
                    name: "encoder".to_owned(),
                    help: "the code before its channels are brought to norm 1".to_owned(),
                },
                TapSpec { name: "query".to_owned(), help: "the code of norm 1 that meets the memory".to_owned() },
            ],
            prepares: false,
            clip: self.clip(),
            pretrained: None,
            statistics: Vec::new(),
        })
    }

    fn clip(&self) -> Clip {
        match self.task {
            Task::Prediction { frames } => Clip { frames, stride: 1, score_frame: frames - 1, edge: Edge::Drop },
            Task::Reconstruction => Clip::image(),
        }
    }

    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<Forward> {
        let x = b.input("x", ValueType::f32(self.input))?;
        let (seen, target) = self.split(b, x)?;
        let style = Style::torch(phase);
        let mut features = self.network.encode(b, &style, seen)?;
        let code = features.pop().unwrap_or(seen);
        b.tap("encoder", code)?;
        let query = memory::unit(b, code)?;
        b.tap("query", query)?;
        let shape = [self.items, b.shape(query)[1]];
        let stored = b.buffer(ITEMS, shape, Init::Uniform { lo: 0.0, hi: 1.0 })?;
        let met = items::address(b, stored, query)?;
        let read = met.read(b)?;
        let output = self.network.decode(b, &style, read, &features)?;
        Ok(Forward { target, output, read, met, stored })
    }

    /// What the encoder sees, and what the decoder has to say.
    fn split(&self, b: &mut Builder, x: ValueId) -> Result<(ValueId, ValueId)> {
        if self.task == Task::Reconstruction {
            return Ok((x, x));
        }
        let [n, channels, height, width] = self.input;
        let last = channels - self.network.channels;
        let seen = b.slice(x, &[0; 4], &[n, last, height, width])?;
        Ok((seen, b.slice(x, &[0, last, 0, 0], &[n, channels, height, width])?))
    }

    /// Squared error, compactness, separateness (equation 8); the items take their update (equation 5) at every step.
    fn train(&self) -> Result<Graph> {
        let mut b = Builder::new(self.name);
        let forward = self.forward(&mut b, Phase::Train)?;
        let pixel = loss::mse(&mut b, forward.output, forward.target)?;
        let by_sample = forward.met.compactness(&mut b, self.rules)?;
        let compactness = loss::mean_all(&mut b, by_sample)?;
        let separateness = forward.met.separateness(&mut b)?;
        let mut total = pixel;
        for (term, weight) in [compactness, separateness].into_iter().zip(self.weights) {
            let weighted = b.affine(term, weight, 0.0)?;
            total = b.add(total, weighted)?;
        }
        let outputs = [
            ("loss", total),
            ("loss.pixel", pixel),
            ("loss.compactness", compactness),
            ("loss.separateness", separateness),
            ("output", forward.output),
            ("by_item", forward.met.by_item),
        ];
        outputs.into_iter().try_for_each(|(name, value)| b.output(name, value))?;
        let items = forward.met.update(&mut b, self.rules)?;
        b.assign(ITEMS, items)?;
        Ok(b.finish())
    }

    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new(self.name);
        let forward = self.forward(&mut b, Phase::Eval)?;
        let errors = loss::pixel_errors(&mut b, forward.output, forward.target)?;
        let compactness = forward.met.compactness(&mut b, self.rules)?;
        let point = point_score(&mut b, errors.square)?;
        let outputs = [
            ("score_map", errors.map),
            ("mse", errors.mse),
            ("psnr", errors.psnr),
            ("compactness", compactness),
            ("point_score", point.by_sample),
            ("output", forward.output),
            ("items", forward.met.items),
            ("read", forward.read),
            ("by_query", forward.met.by_query),
            ("by_item", forward.met.by_item),
            ("nearest", forward.met.nearest),
        ];
        outputs.into_iter().try_for_each(|(name, value)| b.output(name, value))?;
        if let Some(threshold) = self.test_threshold {
            let items = forward.met.update(&mut b, self.rules)?;
            let threshold = b.scalar(threshold)?;
            let is_normal = b.less(point.of_batch, threshold)?;
            let items = b.select(is_normal, items, forward.stored)?;
            b.assign(ITEMS, items)?;
        }
        Ok(b.finish())
    }
}

struct PointScore {
    /// `[N]`.
    by_sample: ValueId,
    /// A scalar.
    of_batch: ValueId,
}

/// The regular score that decides whether the items follow a frame (equation 12): squared errors weighted by
/// `1 - exp(-error)`. The official code scores one frame at a time; several decide together.
fn point_score(b: &mut Builder, square: ValueId) -> Result<PointScore> {
    let negative = b.neg(square)?;
    let faded = b.exp(negative)?;
    let weight = b.affine(faded, -1.0, 1.0)?;
    let product = b.mul(weight, square)?;
    let [product, weight] = [b.sum(product, &[1, 2, 3])?, b.sum(weight, &[1, 2, 3])?];
    let by_sample = b.div(product, weight)?;
    let [product, weight] = [b.sum(product, &[0])?, b.sum(weight, &[0])?];
    Ok(PointScore { by_sample, of_batch: b.div(product, weight)? })
}
