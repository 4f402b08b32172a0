//! The two networks, with the names of the published state dictionaries: those of one do not occur in the other.

use mimus_core::blocks::double::{Bias, Norm, Style, Weight, halve};
use mimus_core::{Builder, Init, Phase, Result, ValueId};

/// The tap at the code of the reconstructive network.
pub(super) const CODE: &str = "encoder.block5";

/// The tap at the deepest feature of the discriminative network.
pub(super) const DEEPEST: &str = "encoder_segment.block6";

/// Widths of both networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    /// Channels of the first layers of the reconstructive network.
    pub(super) reconstructive: usize,
    /// Channels of the first layers of the discriminative network.
    pub(super) discriminative: usize,
    pub(super) phase: Phase,
}

impl Network {
    /// Convolutions begin at N(0, 0.02), batch norms at N(1, 0.02).
    fn style(&self) -> Style {
        Style {
            norm: Norm::Batch(self.phase, Init::Normal { mean: 1.0, std: 0.02 }),
            weight: Weight::Given(Init::Normal { mean: 0.0, std: 0.02 }),
            bias: Bias::Torch,
        }
    }

    /// The image `x [N, C, H, W]` without its defects, `[N, C, H, W]`: an autoencoder without skips (section 3.1).
    pub(super) fn reconstruct(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let (style, width, channels) = (self.style(), self.reconstructive, b.shape(x)[1]);
        let code = b.scope("encoder", |b| {
            let x = style.double(b, "block1", x, [width; 2])?;
            [2, 4, 8, 8].iter().enumerate().try_fold(x, |x, (i, times)| {
                let x = halve(b, x)?;
                style.double(b, &format!("block{}", i + 2), x, [times * width; 2])
            })
        })?;
        b.tap(CODE, code)?;
        b.scope("decoder", |b| {
            let stages = [(8, 4), (4, 2), (2, 1), (1, 1)];
            let x = stages.iter().enumerate().try_fold(code, |x, (i, (before, after))| {
                let x = style.up(b, &format!("up{}", i + 1), x, before * width)?;
                style.double(b, &format!("db{}", i + 1), x, [before * width, after * width])
            })?;
            b.scope("fin_out", |b| style.conv(b, x, channels, 3).padding(&[1, 1]).forward(b, "0", x))
        })
    }

    /// Logits `[N, 2, H, W]`, the second for "anomalous", from the reconstruction and the image behind one another,
    /// `x [N, 2C, H, W]`: a U-Net (section 3.2).
    pub(super) fn segment(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let (style, width) = (self.style(), self.discriminative);
        let mut features = vec![b.scope("encoder_segment", |b| style.double(b, "block1", x, [width; 2]))?];
        for (i, times) in [2, 4, 8, 8, 8].iter().enumerate() {
            let x = halve(b, features[i])?;
            let label = format!("block{}", i + 2);
            features.push(b.scope("encoder_segment", |b| style.double(b, &label, x, [times * width; 2]))?);
        }
        b.tap(DEEPEST, features[5])?;
        b.scope("decoder_segment", |b| {
            let stages = [("_b", 8), ("1", 4), ("2", 2), ("3", 1), ("4", 1)];
            let skips = features[..5].iter().rev();
            let x = stages.iter().zip(skips).try_fold(features[5], |x, ((name, times), skip)| {
                let up = style.up(b, &format!("up{name}"), x, times * width)?;
                let both = b.concat(&[up, *skip], 1)?;
                style.double(b, &format!("db{name}"), both, [times * width; 2])
            })?;
            b.scope("fin_out", |b| style.conv(b, x, 2, 3).padding(&[1, 1]).forward(b, "0", x))
        })
    }
}
