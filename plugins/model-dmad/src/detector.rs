//! Deformation, losses and the score around the networks.

use mimus_core::blocks::codebook::{Codebook, Quantized};
use mimus_core::blocks::{loss, score, warp};
use mimus_core::plugin::{Clip, Edge, Fill, InputSpec, ModelRequest, ModelSpec, Preprocessing, TapSpec};
use mimus_core::train::{OptimizerSpec, Rate, Schedule, Stage, Turn};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

use crate::network::{CHANNELS, Network};
use crate::offsets;
use crate::recipe::{AVENUE, OFFSETS, PED2, Recipe};

/// The background's variable.
const BACKGROUND: &str = "bkg";

/// Weight of the distance that the code is held to in the loss (beta of van den Oord et al.).
const COMMITMENT: f64 = 0.25;

/// Height and width of the window over whose mean the largest difference of gradients is found.
const GRADIENT_WINDOW: [usize; 2] = [16, 14];

/// What the score joins: the largest vertical offset, the error of the frame, the largest difference of its gradients.
const CUES: [&str; 3] = ["offset", "error", "gradient"];

pub(super) struct Detector {
    recipe: &'static Recipe,
    widths: Vec<usize>,
    offset_width: usize,
    items: usize,
    background_rate: f64,
    /// Of the cues in the score.
    weights: Vec<f64>,
    frames: usize,
    /// `[N, T * C, H, W]`, a clip's frames one after another along the channels.
    input: [usize; 4],
}

struct Forward {
    /// The last frame, `[N, 3, H, W]`.
    target: ValueId,
    /// What it is predicted to be, deformed once and twice.
    outputs: [ValueId; 2],
    /// Coarse and fine, `[N, 2, H, W]`.
    offsets: [ValueId; 2],
    quantized: Quantized,
    mask: ValueId,
    /// `[1, 3, H, W]`.
    background: ValueId,
}

impl Detector {
    pub(super) fn new(request: &ModelRequest) -> Result<Self> {
        let options = &request.options;
        let recipe = if options.text("variant")? == "ped2" { &PED2 } else { &AVENUE };
        let frames = options.usize("frames")?;
        Ok(Self {
            recipe,
            widths: options.levels("widths")?,
            offset_width: options.usize("offset_width")?,
            items: options.usize("items")?,
            background_rate: options.float("background_rate")?,
            weights: CUES.iter().map(|cue| options.float(&format!("{cue}_weight"))).collect::<Result<_>>()?,
            frames,
            input: [request.batch, frames * recipe.color.channels(), request.height, request.width],
        })
    }

    pub(super) fn spec(&self) -> Result<ModelSpec> {
        let rate = Rate { scope: BACKGROUND.to_owned(), factor: self.background_rate };
        let tap = |name: &str, help: &str| TapSpec { name: name.to_owned(), help: help.to_owned() };
        let mut stage = Stage::single(graph(|b| self.train(b))?, OptimizerSpec::adam_w(), 2e-4);
        stage.schedule = Schedule::Cosine;
        stage.turns = stage.turns.into_iter().map(|turn| Turn { rates: vec![rate.clone()], ..turn }).collect();
        Ok(ModelSpec {
            stages: vec![stage],
            eval: graph(|b| self.eval(b))?,
            image_score: None,
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(self.recipe.color, 0.5, 0.5),
            taps: vec![
                tap("encoder", "the code before it is quantised"),
                tap("quantised", "the nearest items of the codebook"),
            ],
            prepares: false,
            clip: Clip { frames: self.frames, stride: 1, score_frame: self.frames - 1, edge: Edge::Drop },
            pretrained: None,
            statistics: CUES.map(str::to_owned).to_vec(),
        })
    }

    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<Forward> {
        let [seen, target] = self.frames(b)?;
        let [height, width] = [self.input[2], self.input[3]];
        let offsets = offsets::forward(b, self.recipe, phase, seen, self.offset_width)?;
        let network = Network { widths: self.widths.clone(), skips: self.recipe.skips, phase };
        let encoded = network.encode(b, seen)?;
        b.tap("encoder", encoded.code)?;
        let channels = b.shape(encoded.code)[1];
        let book = Codebook::new(b, "vq_layer.embedding", [self.items, channels])?;
        let quantized = book.quantize(b, encoded.code)?;
        let code = quantized.straight_through(b)?;
        b.tap("quantised", code)?;
        let drawn = network.decode(b, code, encoded.skips)?;
        let background = b.parameter(BACKGROUND, [CHANNELS, height, width], Init::ZEROS)?;
        let background = b.reshape(background, [1, CHANNELS, height, width])?;
        let once = deform(b, [drawn, encoded.mask], offsets[0])?;
        let twice = deform(b, once, offsets[1])?;
        let outputs = [compose(b, once, background)?, compose(b, twice, background)?];
        Ok(Forward { target, outputs, offsets, quantized, mask: once[1], background })
    }

    /// The frames that the networks see and the one that they predict, three channels each.
    fn frames(&self, b: &mut Builder) -> Result<[ValueId; 2]> {
        let mut x = b.input("x", ValueType::f32(self.input))?;
        let [n, channels, height, width] = self.input;
        let all = self.frames * CHANNELS;
        if channels < all {
            let gray = b.reshape(x, [n, self.frames, 1, height, width])?;
            let repeated = b.broadcast(gray, [n, self.frames, CHANNELS, height, width])?;
            x = b.reshape(repeated, [n, all, height, width])?;
        }
        let last = all - CHANNELS;
        let seen = b.slice(x, &[0; 4], &[n, last, height, width])?;
        Ok([seen, b.slice(x, &[0, last, 0, 0], &[n, all, height, width])?])
    }

    fn train(&self, b: &mut Builder) -> Result<()> {
        let Forward { target, outputs: [once, twice], offsets, quantized, background, .. } =
            self.forward(b, Phase::Train)?;
        let [features, codes] = [b.stop_gradient(quantized.features)?, b.stop_gradient(quantized.codes)?];
        let terms = [
            ("frame", loss::mse(b, twice, target)?, 1.0),
            ("coarse_frame", loss::mse(b, once, target)?, 1.0),
            ("gradient", loss::gradient_of_channel_sum(b, target, twice)?, 1.0),
            ("coarse_gradient", loss::gradient_of_channel_sum(b, target, once)?, self.recipe.coarse_gradient),
            ("commitment", loss::mse(b, codes, quantized.features)?, COMMITMENT),
            ("codes", loss::mse(b, quantized.codes, features)?, 1.0),
            ("offset", length(b, offsets)?, self.recipe.length),
            ("smoothness", roughness(b, offsets, self.recipe.kernels)?, OFFSETS),
            ("background", loss::mse(b, background, target)?, 1.0),
        ];
        loss::output_sum(b, &terms)?;
        b.output("output", twice)
    }

    fn eval(&self, b: &mut Builder) -> Result<()> {
        let Forward { target, outputs: [_, output], offsets, mask, .. } = self.forward(b, Phase::Eval)?;
        let [n, _, height, width] = self.input;
        let vertical = b.slice(offsets[0], &[0, 1, 0, 0], &[n, 2, height, width])?;
        let vertical = b.abs(vertical)?;
        let error = match self.recipe.squares {
            true => loss::squared_difference(b, output, target)?,
            false => loss::absolute_difference(b, output, target)?,
        };
        let gradient = loss::gradient_error(b, target, output)?;
        let cues = [
            largest_mean(b, vertical, self.recipe.window)?,
            loss::mean_by_sample(b, error)?,
            largest_mean(b, gradient, GRADIENT_WINDOW)?,
        ];
        let cues = CUES.into_iter().zip(cues).zip(&self.weights);
        let cues: Vec<_> = cues.map(|((name, cue), weight)| (name, cue, *weight)).collect();
        let [score, _] = score::standardised_sum(b, &cues)?;
        let outputs =
            [("score", score), ("output", output), ("mask", mask), ("coarse", offsets[0]), ("fine", offsets[1])];
        outputs.into_iter().try_for_each(|(name, value)| b.output(name, value))
    }
}

fn graph(build: impl FnOnce(&mut Builder) -> Result<()>) -> Result<Graph> {
    let mut b = Builder::new("dmad");
    build(&mut b)?;
    Ok(b.finish())
}

/// Sum over both fields `[N, 2, H, W]` of the mean length of an offset, a scalar.
fn length(b: &mut Builder, offsets: [ValueId; 2]) -> Result<ValueId> {
    offsets.into_iter().try_fold(b.scalar(0.0)?, |sum, field| {
        let length = loss::channel_length(b, field)?;
        let mean = loss::mean_all(b, length)?;
        b.add(sum, mean)
    })
}

/// Sum over both fields `[N, 2, H, W]` and the kernels of each of the mean of `|s - mean of the others in the kernel|`, a scalar, where
/// `s` is the sum of a pixel's two offsets and there are zeros outside.
pub(super) fn roughness(b: &mut Builder, offsets: [ValueId; 2], kernels: [&[[usize; 2]]; 2]) -> Result<ValueId> {
    let mut total = b.scalar(0.0)?;
    for (field, kernels) in offsets.into_iter().zip(kernels) {
        let sum = b.sum_keep(field, &[1])?;
        for kernel in kernels {
            // s - (n m - s) / (n - 1) = (s - m) n / (n - 1) with the mean m over all n pixels of the kernel.
            let n = (kernel[0] * kernel[1]) as f64;
            let mean = b.avg_pool(sum, kernel, &[1, 1], &kernel.map(|extent| extent / 2))?;
            let difference = loss::absolute_difference(b, sum, mean)?;
            let mean = loss::mean_all(b, difference)?;
            let scaled = b.affine(mean, n / (n - 1.0), 0.0)?;
            total = b.add(total, scaled)?;
        }
    }
    Ok(total)
}

/// A picture and its mask, `[N, 3, H, W]` each, fetched from where `offset [N, 2, H, W]` says; nothing is fetched from outside.
pub(super) fn deform(b: &mut Builder, layers: [ValueId; 2], offset: ValueId) -> Result<[ValueId; 2]> {
    let [n, c, height, width] = b.shape(layers[0])[..] else { return Ok(layers) };
    let here = warp::identity(b, [height, width])?;
    let there = b.add(here, offset)?;
    let there = b.clamp(there, -1.0, 1.0)?;
    let both = b.concat(&layers, 1)?;
    let fetched = warp::sample(b, both, there)?;
    let mut layer = |i: usize| b.slice(fetched, &[0, i * c, 0, 0], &[n, (i + 1) * c, height, width]);
    Ok([layer(0)?, layer(1)?])
}

/// `mask * picture + (1 - mask) * background`; the background does not learn from it.
fn compose(b: &mut Builder, [picture, mask]: [ValueId; 2], background: ValueId) -> Result<ValueId> {
    let background = b.stop_gradient(background)?;
    let difference = b.sub(picture, background)?;
    let masked = b.mul(mask, difference)?;
    b.add(background, masked)
}

/// The largest mean of a window of `x [N, 1, H, W]`, numbers not below 0: `[N]`. The official code also has windows that reach beyond
/// the border, where it puts zeros; none of them has a larger mean than one within.
pub(super) fn largest_mean(b: &mut Builder, x: ValueId, window: [usize; 2]) -> Result<ValueId> {
    let means = b.avg_pool(x, &window, &[1, 1], &[0, 0])?;
    b.max(means, &[1, 2, 3])
}
