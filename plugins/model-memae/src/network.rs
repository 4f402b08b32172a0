//! The network in any number of spatial axes: encoder, memory, decoder, losses and scores.

use mimus_core::blocks::coder::{self, Style, decode, encode};
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::blocks::{loss, memory};
use mimus_core::plugin::{Clip, Color, Fill, InputSpec, ModelSpec, Preprocessing, TapSpec};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

pub(super) struct Network {
    pub(super) name: &'static str,
    pub(super) stages: Vec<coder::Stage>,
    /// Of the leaky ReLU.
    pub(super) slope: f64,
    pub(super) addressing: memory::Addressing,
    pub(super) entropy_weight: f64,
    /// `[N, C, H, W]` or `[N, C, T, H, W]`.
    pub(super) input: Vec<usize>,
}

struct Forward {
    x: ValueId,
    output: ValueId,
    read: memory::Read,
}

impl Network {
    /// `image_score`: `None` for a model without score map, else how its image score comes from it.
    pub(super) fn spec(&self, color: Color, image_score: Option<Pooling>, clip: Clip) -> Result<ModelSpec> {
        Ok(ModelSpec {
            stages: vec![Stage::single(self.train()?, OptimizerSpec::adam(), 1e-4)],
            eval: self.eval(image_score.is_some())?,
            image_score: image_score
                .map(|rule| score::image_score([self.input[0], self.input[2], self.input[3]], rule))
                .transpose()?,
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(color, 0.5, 0.5),
            taps: vec![
                TapSpec { name: "encoder".to_owned(), help: "the code before the memory".to_owned() },
                TapSpec { name: "memory".to_owned(), help: "the code as read from the memory".to_owned() },
            ],
            prepares: false,
            clip,
            pretrained: None,
            statistics: Vec::new(),
        })
    }

    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<Forward> {
        let x = b.input("x", ValueType::f32(self.input.clone()))?;
        let style = Style {
            slope: self.slope,
            weight: Some(Init::Normal { mean: 0.0, std: 0.02 }),
            norm: Init::Normal { mean: 1.0, std: 0.02 },
            phase,
        };
        let code = encode(b, &self.stages, &style, x)?;
        b.tap("encoder", code)?;
        let read = memory::read(b, "mem_rep.memory", code, self.addressing)?;
        b.tap("memory", read.output)?;
        let output = decode(b, &self.stages, &style, read.output, &self.input)?;
        Ok(Forward { x, output, read })
    }

    /// Reconstruction error and addressing entropy (equation 10).
    fn train(&self) -> Result<Graph> {
        let mut b = Builder::new(self.name);
        let forward = self.forward(&mut b, Phase::Train)?;
        let reconstruction = loss::mse(&mut b, forward.output, forward.x)?;
        let entropy = loss::entropy(&mut b, forward.read.weights)?;
        let weighted = b.affine(entropy, self.entropy_weight, 0.0)?;
        let total = b.add(reconstruction, weighted)?;
        b.output("loss", total)?;
        b.output("loss.recon", reconstruction)?;
        b.output("loss.entropy", entropy)?;
        b.output("output", forward.output)?;
        b.output("att", forward.read.weights)?;
        Ok(b.finish())
    }

    fn eval(&self, has_map: bool) -> Result<Graph> {
        let mut b = Builder::new(self.name);
        let forward = self.forward(&mut b, Phase::Eval)?;
        // The official score: square root of the squared error summed over channels, averaged over positions.
        let square = loss::squared_difference(&mut b, forward.output, forward.x)?;
        let sum = b.sum_keep(square, &[1])?;
        let map = b.sqrt(sum)?;
        if has_map {
            b.output("score_map", map)?;
        } else {
            let score = loss::mean_by_sample(&mut b, map)?;
            b.output("score", score)?;
        }
        let mse = loss::mean_all(&mut b, square)?;
        let entropy = loss::entropy(&mut b, forward.read.weights)?;
        let inspected = [("output", forward.output), ("att", forward.read.weights), ("mse", mse), ("entropy", entropy)];
        inspected.into_iter().try_for_each(|(name, value)| b.output(name, value))?;
        Ok(b.finish())
    }
}
