//! The small autoencoder that the golden data boosts, as its index describes it in words.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::loss;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::ops::Mode;
use mimus_core::plugin::{Clip, Color, Fill, InputSpec, ModelSpec, Preprocessing, TapSpec};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Builder, Error, Graph, Init, Phase, Result, ValueId, ValueType};

use crate::set::{Case, Tensors};

/// The tap: the encoder's output.
pub(crate) const TAP: &str = "bottleneck";

/// A tap at the reconstruction, for inspection.
pub(crate) const OUTPUT: &str = "reconstruction";

/// Widths and input, read from the index.
struct Autoencoder {
    input: ValueType,
    /// Channels after the first and the second convolution.
    widths: [usize; 2],
}

/// The detector; its losses in `phase`, since the data holds them for evaluation too. It has a score and no map, so that the sum
/// of scores is that of the data.
pub(crate) fn spec(case: &Case, inputs: &Tensors, phase: Phase) -> Result<ModelSpec> {
    let input = inputs.get("x").ok_or_else(|| Error::data("there is no input `x`"))?.ty();
    let width = |name: &str| Ok(case.shape_of(name)?[0]);
    let widths = [width("teacher.enc.0.weight")?, width("teacher.enc.3.weight")?];
    let network = Autoencoder { input, widths };
    Ok(ModelSpec {
        stages: vec![Stage::single(network.train(phase)?, OptimizerSpec::adam(), 1e-4)],
        eval: network.eval()?,
        image_score: None,
        inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
        preprocessing: Preprocessing::uniform(Color::Rgb, 0.0, 1.0),
        taps: vec![TapSpec { name: TAP.to_owned(), help: "the code".to_owned() }],
        prepares: false,
        clip: Clip::image(),
        pretrained: None,
        statistics: Vec::new(),
    })
}

impl Autoencoder {
    /// Input and reconstruction.
    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<[ValueId; 2]> {
        let x = b.input("x", self.input.clone())?;
        let code = b.scope("enc", |b| self.encode(b, x, phase))?;
        b.tap(TAP, code)?;
        let output = b.scope("dec", |b| self.decode(b, code, phase))?;
        b.tap(OUTPUT, output)?;
        Ok([x, output])
    }

    fn encode(&self, b: &mut Builder, x: ValueId, phase: Phase) -> Result<ValueId> {
        let down = |channels| Conv::new(channels, &[3, 3]).stride(&[2, 2]).padding(&[1, 1]);
        let x = down(self.widths[0]).forward(b, "0", x)?;
        let x = batch_norm(b, "1", x, phase, 0.1, Init::ONES)?;
        let x = b.leaky_relu(x, 0.2)?;
        let x = down(self.widths[1]).forward(b, "3", x)?;
        let x = batch_norm(b, "4", x, phase, 0.1, Init::ONES)?;
        b.relu(x)
    }

    fn decode(&self, b: &mut Builder, x: ValueId, phase: Phase) -> Result<ValueId> {
        let up = Conv::new(self.widths[0], &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).output_padding(&[1, 1]);
        let x = up.transposed(b, "0", x)?;
        let x = batch_norm(b, "1", x, phase, 0.1, Init::ONES)?;
        let x = b.relu(x)?;
        let x = b.resize(x, &self.input.shape[2..], Mode::Linear, true)?;
        let x = Conv::new(self.input.shape[1], &[3, 3]).padding(&[1, 1]).forward(b, "4", x)?;
        b.sigmoid(x)
    }

    fn train(&self, phase: Phase) -> Result<Graph> {
        let mut b = Builder::new("autoencoder");
        let [x, output] = self.forward(&mut b, phase)?;
        let mse = loss::mse(&mut b, output, x)?;
        b.output("loss", mse)?;
        Ok(b.finish())
    }

    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("autoencoder");
        let [x, output] = self.forward(&mut b, Phase::Eval)?;
        let square = loss::squared_difference(&mut b, output, x)?;
        let score = loss::mean_by_sample(&mut b, square)?;
        b.output("score", score)?;
        Ok(b.finish())
    }
}
