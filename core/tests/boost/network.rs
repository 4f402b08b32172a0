//! A small detector with a skip connection and two taps, and the fragments that boost it.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::{loss, norm};
use mimus_core::ops::Mode;
use mimus_core::plugin::{
    Clip, Color, FeatureRequest, Fill, InputSpec, ModelSpec, Preprocessing, TapSpec, attention, head,
};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

/// Extents of the input.
pub(crate) const INPUT: [usize; 4] = [2, 2, 4, 4];

/// The tap at the bottleneck, of half the input's height and width.
pub(crate) const CODE: &str = "code";

/// The tap behind the skip connection, of the input's height and width.
pub(crate) const DEEP: &str = "deep";

/// The network. At the code it multiplies by `scale`, as an attention with a constant map would.
struct Network {
    scale: f64,
    /// Channels at the two taps.
    widths: [usize; 2],
}

/// Channels at the taps of the detector.
pub(crate) const WIDTHS: [usize; 2] = [4, 5];

/// The detector.
pub(crate) fn spec() -> ModelSpec {
    scaled(1.0)
}

/// The detector with other widths.
pub(crate) fn of_widths(widths: [usize; 2]) -> ModelSpec {
    described(&Network { scale: 1.0, widths })
}

/// The detector that multiplies its code by `scale` in plain sight.
pub(crate) fn scaled(scale: f64) -> ModelSpec {
    described(&Network { scale, widths: WIDTHS })
}

fn described(network: &Network) -> ModelSpec {
    let tap = |name: &str| TapSpec { name: name.to_owned(), help: String::new() };
    ModelSpec {
        stages: vec![Stage::single(network.train().unwrap(), OptimizerSpec::adam(), 1e-3)],
        eval: network.eval().unwrap(),
        image_score: Some(image_score().unwrap()),
        inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
        preprocessing: Preprocessing::uniform(Color::Gray, 0.0, 1.0),
        taps: vec![tap(CODE), tap(DEEP)],
        prepares: false,
        clip: Clip::image(),
        pretrained: None,
        statistics: Vec::new(),
    }
}

impl Network {
    /// Input and reconstruction.
    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<[ValueId; 2]> {
        let x = b.input("x", ValueType::f32(INPUT))?;
        let early = Conv::new(3, &[3, 3]).padding(&[1, 1]).forward(b, "early", x)?;
        let code = Conv::new(self.widths[0], &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).forward(b, "down", early)?;
        let code = norm::batch_norm(b, "norm", code, phase, 0.1, Init::ONES)?;
        let code = b.tanh(code)?;
        b.tap(CODE, code)?;
        let code = b.affine(code, self.scale, 0.0)?;
        let up = b.resize(code, &INPUT[2..], Mode::Nearest, false)?;
        let joined = b.concat(&[up, early], 1)?;
        let deep = Conv::new(self.widths[1], &[1, 1]).forward(b, "join", joined)?;
        let deep = b.tanh(deep)?;
        b.tap(DEEP, deep)?;
        let output = Conv::new(INPUT[1], &[3, 3]).padding(&[1, 1]).forward(b, "last", deep)?;
        Ok([x, output])
    }

    fn train(&self) -> Result<Graph> {
        let mut b = Builder::new("small");
        let [x, output] = self.forward(&mut b, Phase::Train)?;
        let mse = loss::mse(&mut b, output, x)?;
        b.output("loss", mse)?;
        Ok(b.finish())
    }

    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("small");
        let [x, output] = self.forward(&mut b, Phase::Eval)?;
        let square = loss::squared_difference(&mut b, output, x)?;
        let map = b.mean_keep(square, &[1])?;
        b.output("score_map", map)?;
        Ok(b.finish())
    }
}

/// The map's maximum.
fn image_score() -> Result<Graph> {
    let mut b = Builder::new("image-score");
    let map = b.input("score_map", ValueType::f32([INPUT[0], 1, INPUT[2], INPUT[3]]))?;
    let score = b.max(map, &[1, 2, 3])?;
    b.output("score", score)?;
    Ok(b.finish())
}

/// `M = 1`.
pub(crate) fn no_attention(request: FeatureRequest) -> Result<Graph> {
    let mut b = Builder::new("none");
    let student = b.input(attention::STUDENT, ValueType::f32(request.student))?;
    b.output(attention::REFINED, student)?;
    Ok(b.finish())
}

/// `M = 1/2`.
pub(crate) fn half(request: FeatureRequest) -> Result<Graph> {
    let mut b = Builder::new("half");
    let map = b.fill([request.student[0], 1, 1, 1], 0.5)?;
    b.output(attention::MAP, map)?;
    Ok(b.finish())
}

/// `M = sigmoid(W Fea_I)`, learned.
pub(crate) fn learned(request: FeatureRequest) -> Result<Graph> {
    let mut b = Builder::new("learned");
    let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher))?;
    let logits = Conv::new(request.student[1], &[1, 1]).without_bias().forward(&mut b, "mix", x)?;
    let map = b.sigmoid(logits)?;
    b.output(attention::MAP, map)?;
    Ok(b.finish())
}

/// Mean squared difference.
pub(crate) fn squares(request: FeatureRequest) -> Result<Graph> {
    let mut b = Builder::new("squares");
    let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher))?;
    let student = b.input(head::STUDENT, ValueType::f32(request.student))?;
    let square = loss::squared_difference(&mut b, teacher, student)?;
    let total = loss::mean_all(&mut b, square)?;
    b.output(head::LOSS, total)?;
    let map = b.mean_keep(square, &[1])?;
    b.output(head::SCORE_MAP, map)?;
    let score = loss::mean_by_sample(&mut b, square)?;
    b.output(head::SCORE, score)?;
    Ok(b.finish())
}
