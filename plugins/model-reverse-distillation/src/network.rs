//! Teacher (`encoder`), one-class embedding (`bn`) and decoder, with the names of the official modules.

use mimus_core::blocks::norm::batch_norm;
use mimus_core::blocks::resnet::{Block, Layer, Resnet, Shape, Step};
use mimus_core::blocks::{loss, smooth};
use mimus_core::ops::Mode;
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

/// Stages of the teacher that are restored: `layer1` to `layer3`.
const LEVELS: usize = 3;

/// Name and help, the natural one first.
pub(super) const TAPS: [(&str, &str); 4] = [
    ("bn", "the one-class embedding"),
    ("decoder.layer1", "what the decoder restores of the teacher's third stage"),
    ("decoder.layer2", "what the decoder restores of the teacher's second stage"),
    ("decoder.layer3", "what the decoder restores of the teacher's first stage"),
];

pub(super) struct Network {
    pub(super) backbone: Resnet,
    /// N, 3, H, W.
    pub(super) input: [usize; 4],
    /// Whether the embedding's bottleneck blocks are half as wide inside.
    pub(super) narrow: bool,
    /// Whether the loss compares position by position.
    pub(super) by_position: bool,
    /// Of the map, in pixels.
    pub(super) smoothing: f64,
}

/// The same stage of teacher and decoder.
struct Pair {
    teacher: ValueId,
    decoder: ValueId,
}

impl Network {
    /// Sum over the levels of the mean cosine distance.
    pub(super) fn train(&self) -> Result<Graph> {
        let mut b = Builder::new("reverse-distillation");
        let mut total = b.scalar(0.0)?;
        for (level, pair) in (1..).zip(self.pairs(&mut b, Phase::Train)?) {
            let [teacher, decoder] = if self.by_position {
                [pair.teacher, pair.decoder]
            } else {
                [flattened(&mut b, pair.teacher)?, flattened(&mut b, pair.decoder)?]
            };
            let distances = loss::cosine_distance(&mut b, teacher, decoder)?;
            let mean = loss::mean_all(&mut b, distances)?;
            b.output(&format!("loss.layer{level}"), mean)?;
            total = b.add(total, mean)?;
        }
        b.output("loss", total)?;
        Ok(b.finish())
    }

    /// Sum of the levels' distance maps, enlarged and smoothed.
    pub(super) fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("reverse-distillation");
        let [_, _, height, width] = self.input;
        let mut total = b.scalar(0.0)?;
        for pair in self.pairs(&mut b, Phase::Eval)? {
            let map = loss::cosine_distance(&mut b, pair.teacher, pair.decoder)?;
            let map = b.resize(map, &[height, width], Mode::Linear, true)?;
            total = b.add(total, map)?;
        }
        let map = smooth::gaussian(&mut b, total, self.smoothing)?;
        b.output("score_map", map)?;
        Ok(b.finish())
    }

    /// The first stage first. The teacher is frozen: in evaluation mode, and no gradient reaches it.
    fn pairs(&self, b: &mut Builder, phase: Phase) -> Result<Vec<Pair>> {
        let x = b.input("x", ValueType::f32(self.input))?;
        let features = b.scope("encoder", |b| self.backbone.features(b, x, LEVELS, Phase::Eval))?;
        let features = features.into_iter().map(|feature| b.stop_gradient(feature)).collect::<Result<Vec<_>>>()?;
        let embedding = b.scope("bn", |b| self.embedding(b, &features, phase))?;
        b.tap("bn", embedding)?;
        let restored = b.scope("decoder", |b| self.decoder(b, embedding, phase))?;
        for (i, value) in (1..).zip(&restored) {
            b.tap(&format!("decoder.layer{i}"), *value)?;
        }
        let pairs = features.into_iter().zip(restored.into_iter().rev());
        Ok(pairs.map(|(teacher, decoder)| Pair { teacher, decoder }).collect())
    }

    /// The teacher's stages at the resolution of the last, joined, then as many blocks as its fourth stage has.
    fn embedding(&self, b: &mut Builder, features: &[ValueId], phase: Phase) -> Result<ValueId> {
        let mut joined = Vec::new();
        let mut number = 0;
        for (level, feature) in (1..).zip(features) {
            let mut x = *feature;
            for stage in level + 1..=LEVELS {
                number += 1;
                let channels = self.backbone.block(stage, phase).channels;
                let layer = Layer { channels, kernel: 3, step: Step::Down };
                x = layer.normalised(b, [&format!("conv{number}"), &format!("bn{number}")], x, phase)?;
                x = b.relu(x)?;
            }
            joined.push(x);
        }
        let joined = b.concat(&joined, 1)?;
        let block = self.embedding_block(phase);
        declare_unused(b, block.channels)?;
        block.stage(b, "bn_layer", joined, Step::Down, self.backbone.blocks(LEVELS + 1))
    }

    fn embedding_block(&self, phase: Phase) -> Block {
        let block = self.backbone.block(LEVELS + 1, phase);
        let shape = match block.shape {
            Shape::Bottleneck { inner } if self.narrow => Shape::Bottleneck { inner: inner.div_ceil(2) },
            shape => shape,
        };
        Block { shape, ..block }
    }

    /// The third stage first.
    fn decoder(&self, b: &mut Builder, embedding: ValueId, phase: Phase) -> Result<Vec<ValueId>> {
        let mut x = embedding;
        let mut restored = Vec::new();
        for number in 1..=LEVELS {
            let block = self.backbone.block(LEVELS + 1 - number, phase);
            x = block.stage(b, &format!("layer{number}"), x, Step::Up, self.backbone.blocks(number))?;
            restored.push(x);
        }
        Ok(restored)
    }
}

/// A layer that the official embedding declares and saves, and never uses.
fn declare_unused(b: &mut Builder, channels: usize) -> Result<()> {
    let std = (2.0 / channels as f64).sqrt();
    b.scope("conv4", |b| b.parameter("weight", [channels, 2 * channels, 1, 1], Init::Normal { mean: 0.0, std }))?;
    let nothing = b.fill([1, channels], 0.0)?;
    batch_norm(b, "bn4", nothing, Phase::Eval, 0.1, Init::ONES)?;
    Ok(())
}

/// `[N, C, H, W]` as vectors `[N, C H W]`.
fn flattened(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    b.reshape(x, [shape[0], shape[1..].iter().product()])
}
