//! The U-Nets, one for each erased patch or flow, their losses and scores.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::Style;
use mimus_core::blocks::unet::Unet;
use mimus_core::blocks::{loss, score};
use mimus_core::plugin::{
    Clip, Color, EMPTY_SCORE, Edge, Fill, InputSpec, ModelRequest, ModelSpec, Preprocessing, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Builder, Graph, Phase, Result, ValueId, ValueType};

/// Patches are read by OpenCV, blue first.
const COLOR: Color = Color::Bgr;

/// Components of a flow.
const FLOW: usize = 2;

/// The two kinds of what is completed: name of the terms, of the tap, and part of the layers' names.
const RAW: (&str, &str, &str) = ("raw", "encoder", "");
const OF: (&str, &str, &str) = ("flow", "encoder_of", "_of");

/// Which positions are erased, one after another.
#[derive(Clone, Copy, PartialEq)]
enum Erased {
    All,
    /// The last, by networks with numbers (patches) or without.
    Last,
}

pub(super) struct Detector {
    raw: Erased,
    flow: Erased,
    widths: Vec<usize>,
    frames: usize,
    /// In the score.
    weights: [f64; 2],
    /// `[N, T * 3, H, W]`.
    input: [usize; 4],
}

/// One kind's completed pictures beside the true ones, positions along the channels.
struct Completed {
    output: ValueId,
    target: ValueId,
}

impl Detector {
    pub(super) fn new(request: &ModelRequest) -> Result<Self> {
        let options = &request.options;
        let (raw, flow) = match options.text("method")? {
            "1raw1of" => (Erased::Last, Erased::Last),
            "5raw1of" => (Erased::All, Erased::Last),
            _ => (Erased::All, Erased::All),
        };
        let frames = options.usize("frames")?;
        Ok(Self {
            raw,
            flow,
            widths: options.levels("widths")?,
            frames,
            weights: [options.float("raw_weight")?, options.float("flow_weight")?],
            input: [request.batch, frames * COLOR.channels(), request.height, request.width],
        })
    }

    pub(super) fn spec(&self) -> Result<ModelSpec> {
        let tap = |(_, name, _): (&str, &str, &str), what: &str| TapSpec {
            name: name.to_owned(),
            help: format!("the coarsest levels of the networks that complete {what}"),
        };
        let input = |name: &str, fill| InputSpec { name: name.to_owned(), fill };
        let optimizer = OptimizerSpec::Adam { betas: [0.9, 0.999], eps: 1e-7, weight_decay: 0.0 };
        Ok(ModelSpec {
            stages: vec![Stage::single(self.train()?, optimizer, 1e-3)],
            eval: self.eval()?,
            image_score: None,
            inputs: vec![input("x", Fill::Image), input("flow", Fill::FlowAhead)],
            preprocessing: Preprocessing::uniform(COLOR, 0.0, 1.0),
            taps: vec![tap(RAW, "patches"), tap(OF, "flows")],
            prepares: false,
            clip: Clip { frames: self.frames, stride: 1, score_frame: self.frames - 1, edge: Edge::Repeat },
            pretrained: None,
            statistics: vec![RAW.0.to_owned(), OF.0.to_owned()],
        })
    }

    /// Completed patches and completed flows.
    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<[Completed; 2]> {
        let [n, _, height, width] = self.input;
        let x = b.input("x", ValueType::f32(self.input))?;
        let flows = if self.flow == Erased::All { self.frames } else { 1 };
        let flow = b.input("flow", ValueType::f32([n, flows * FLOW, height, width]))?;
        let raw = self.complete(b, phase, RAW, x, (x, COLOR.channels()), self.raw)?;
        let flow = self.complete(b, phase, OF, x, (flow, FLOW), self.flow)?;
        Ok([raw, flow])
    }

    /// Completes every erased position of `of` (its channels by position) from the patches `x` at all other positions. The codes of
    /// all networks stand side by side at the tap.
    fn complete(
        &self,
        b: &mut Builder,
        phase: Phase,
        (_, tap, infix): (&str, &str, &str),
        x: ValueId,
        (of, channels): (ValueId, usize),
        erased: Erased,
    ) -> Result<Completed> {
        let positions: Vec<(usize, String)> = match erased {
            Erased::All => (0..self.frames).map(|i| (i, format!("{infix}{i}"))).collect(),
            Erased::Last => vec![(self.frames - 1, infix.to_owned())],
        };
        let mut encoded = Vec::new();
        for (position, suffix) in positions {
            let unet = Unet {
                widths: self.widths.clone(),
                up_kernel: 3,
                activated_up: false,
                suffix,
                style: Style::torch(phase),
            };
            let others = self.others(b, x, position)?;
            let mut features = unet.encode(b, others)?;
            let code = features.pop().unwrap_or(others);
            encoded.push((unet, code, features));
        }
        let codes: Vec<ValueId> = encoded.iter().map(|(_, code, _)| *code).collect();
        let codes = b.concat(&codes, 1)?;
        b.tap(tap, codes)?;
        let mut outputs = Vec::new();
        for (i, (unet, code, features)) in encoded.iter().enumerate() {
            let width = b.shape(*code)[1];
            let code = channels_at(b, codes, i * width, width)?;
            let decoded = unet.decode(b, code, features)?;
            outputs.push(Conv::new(channels, &[1, 1]).forward(b, &format!("outc{}.conv", unet.suffix), decoded)?);
        }
        let output = b.concat(&outputs, 1)?;
        let length = b.shape(output)[1];
        let first = b.shape(of)[1] - length;
        Ok(Completed { output, target: channels_at(b, of, first, length)? })
    }

    /// The patches `x` at all positions but one.
    fn others(&self, b: &mut Builder, x: ValueId, position: usize) -> Result<ValueId> {
        let channels = COLOR.channels();
        let before = (0, position * channels);
        let after = ((position + 1) * channels, (self.frames - position - 1) * channels);
        let parts = [before, after].into_iter().filter(|(_, length)| *length > 0);
        let parts = parts.map(|(first, length)| channels_at(b, x, first, length)).collect::<Result<Vec<_>>>()?;
        b.concat(&parts, 1)
    }

    fn train(&self) -> Result<Graph> {
        let mut b = Builder::new("vec");
        let completed = self.forward(&mut b, Phase::Train)?;
        let mut total = b.scalar(0.0)?;
        for (Completed { output, target }, (name, ..)) in completed.iter().zip([RAW, OF]) {
            let mse = loss::mse(&mut b, *output, *target)?;
            total = b.add(total, mse)?;
            b.output(&format!("loss.{name}"), mse)?;
        }
        b.output("loss", total)?;
        Ok(b.finish())
    }

    /// Sums of squares of each kind, standardised, weighted and added up.
    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("vec");
        let completed = self.forward(&mut b, Phase::Eval)?;
        let mut errors = Vec::new();
        for ((Completed { output, target }, (name, ..)), weight) in completed.iter().zip([RAW, OF]).zip(self.weights) {
            let square = loss::squared_difference(&mut b, *output, *target)?;
            let sum = b.sum(square, &[1, 2, 3])?;
            b.output(&format!("output.{name}"), *output)?;
            errors.push((name, sum, weight));
        }
        let [score, empty] = score::standardised_sum(&mut b, &errors)?;
        b.output("score", score)?;
        b.output(EMPTY_SCORE, empty)?;
        Ok(b.finish())
    }
}

/// The channels `first .. first + length` of `x [N, C, H, W]`.
fn channels_at(b: &mut Builder, x: ValueId, first: usize, length: usize) -> Result<ValueId> {
    let [n, _, height, width] = b.shape(x)[..] else { return Ok(x) };
    b.slice(x, &[0, first, 0, 0], &[n, first + length, height, width])
}
