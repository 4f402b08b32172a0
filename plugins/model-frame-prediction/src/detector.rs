//! The generator, both turns' losses, and the score.

use mimus_core::blocks::double::{Bias, Norm, Style, Weight};
use mimus_core::blocks::loss;
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::blocks::unet::Unet;
use mimus_core::plugin::{
    Clip, Color, Edge, Fill, InputSpec, ModelRequest, ModelSpec, Options, Preprocessing, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Schedule, Stage, Turn};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

use crate::discriminator::{Discriminator, SCOPE};

/// Frames are read by OpenCV, blue first.
const COLOR: Color = Color::Bgr;

pub(super) struct Detector {
    options: Options,
    official: bool,
    widths: Vec<usize>,
    discriminator: Discriminator,
    frames: usize,
    /// `[N, T * C, H, W]`, the clip's frames one after another along the channels.
    input: [usize; 4],
}

/// What the two see of a clip.
struct Forward {
    target: ValueId,
    output: ValueId,
}

impl Detector {
    pub(super) fn new(request: &ModelRequest) -> Result<Self> {
        let options = request.options.clone();
        let official = options.text("variant")? == "official";
        let frames = options.usize("frames")?;
        Ok(Self {
            official,
            widths: options.levels("widths")?,
            discriminator: Discriminator { widths: options.levels("discriminator_widths")?, reflects: official },
            frames,
            input: [request.batch, frames * COLOR.channels(), request.height, request.width],
            options,
        })
    }

    pub(super) fn spec(&self) -> Result<ModelSpec> {
        let turn = |name: &str, graph, trains: Vec<String>, learning_rate| {
            let optimizer = OptimizerSpec::adam();
            Turn { name: name.to_owned(), trains, ..Turn::new(graph, optimizer, learning_rate) }
        };
        let turns = vec![
            turn("discriminator", self.discriminator_turn()?, vec![SCOPE.to_owned()], 2e-5),
            turn("generator", self.generator_turn()?, self.generator_scopes(), 2e-4),
        ];
        Ok(ModelSpec {
            stages: vec![Stage { name: "train".to_owned(), share: 1.0, schedule: Schedule::Constant, turns }],
            eval: self.eval()?,
            image_score: Some(score::image_score([self.input[0], self.input[2], self.input[3]], Pooling::Mean)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(COLOR, 0.5, 0.5),
            taps: vec![TapSpec { name: "encoder".to_owned(), help: "the generator's coarsest level".to_owned() }],
            prepares: false,
            clip: Clip { frames: self.frames, stride: 1, score_frame: self.frames - 1, edge: Edge::Drop },
            pretrained: None,
            statistics: Vec::new(),
        })
    }

    /// The first layer's name, and those of all levels.
    fn generator_scopes(&self) -> Vec<String> {
        let levels = 1..self.widths.len();
        let levels = levels.flat_map(|level| [format!("down{level}"), format!("up{level}")]);
        ["inc".to_owned(), "outc".to_owned()].into_iter().chain(levels).collect()
    }

    fn style(&self, phase: Phase) -> Style {
        let normal = |mean| Init::Normal { mean, std: 0.02 };
        match self.official {
            true => Style { norm: Norm::None, weight: Weight::Xavier, bias: Bias::Zero },
            false => {
                Style { norm: Norm::Batch(phase, normal(1.0)), weight: Weight::Given(normal(0.0)), bias: Bias::Last }
            }
        }
    }

    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<Forward> {
        let x = b.input("x", ValueType::f32(self.input))?;
        let [n, channels, height, width] = self.input;
        let last = channels - COLOR.channels();
        let seen = b.slice(x, &[0; 4], &[n, last, height, width])?;
        let target = b.slice(x, &[0, last, 0, 0], &[n, channels, height, width])?;
        let style = self.style(phase);
        let unet = Unet {
            widths: self.widths.clone(),
            up_kernel: 2,
            activated_up: self.official,
            suffix: String::new(),
            style: style.clone(),
        };
        let mut features = unet.encode(b, seen)?;
        let code = features.pop().unwrap_or(seen);
        b.tap("encoder", code)?;
        let decoded = unet.decode(b, code, &features)?;
        let last = style.conv(b, decoded, COLOR.channels(), 3).padding(&[1, 1]);
        let output = last.forward(b, "outc", decoded)?;
        Ok(Forward { target, output: b.tanh(output)? })
    }

    /// `mean((D(x) - 1)^2 / 2) + mean(D(G)^2 / 2)`. The generator's running statistics move in its own turn alone.
    fn discriminator_turn(&self) -> Result<Graph> {
        let mut b = Builder::new("frame-prediction-discriminator");
        let forward = self.forward(&mut b, Phase::Train)?;
        let output = b.stop_gradient(forward.output)?;
        let real = self.adversarial(&mut b, forward.target, 1.0)?;
        let fake = self.adversarial(&mut b, output, 0.0)?;
        let total = b.add(real, fake)?;
        let outputs = [("loss", total), ("loss.real", real), ("loss.fake", fake)];
        outputs.into_iter().try_for_each(|(name, value)| b.output(name, value))?;
        let mut graph = b.finish();
        graph.assignments.clear();
        Ok(graph)
    }

    /// Intensity, gradient and adversarial loss (equation 6 without its flow).
    fn generator_turn(&self) -> Result<Graph> {
        let mut b = Builder::new("frame-prediction");
        let Forward { target, output } = self.forward(&mut b, Phase::Train)?;
        let terms = [
            ("intensity", loss::mse(&mut b, output, target)?),
            ("gradient", loss::gradient_of_magnitudes(&mut b, output, target)?),
            ("adversarial", self.adversarial(&mut b, output, 1.0)?),
        ];
        let mut total = b.scalar(0.0)?;
        for (name, term) in terms {
            let weighted = b.affine(term, self.options.float(&format!("{name}_weight"))?, 0.0)?;
            total = b.add(total, weighted)?;
            b.output(&format!("loss.{name}"), term)?;
        }
        b.output("loss", total)?;
        b.output("output", output)?;
        Ok(b.finish())
    }

    /// `mean((D(x) - label)^2 / 2)`.
    fn adversarial(&self, b: &mut Builder, x: ValueId, label: f64) -> Result<ValueId> {
        let verdict = self.discriminator.forward(b, &self.style(Phase::Train), x)?;
        let label = b.scalar(label)?;
        let mean = loss::mse(b, verdict, label)?;
        b.affine(mean, 0.5, 0.0)
    }

    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("frame-prediction");
        let Forward { target, output } = self.forward(&mut b, Phase::Eval)?;
        let errors = loss::pixel_errors(&mut b, output, target)?;
        let outputs = [("score_map", errors.map), ("psnr", errors.psnr), ("output", output)];
        outputs.into_iter().try_for_each(|(name, value)| b.output(name, value))?;
        Ok(b.finish())
    }
}
