//! Encoder and decoder with the names of the official modules.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::{Style, halve};
use mimus_core::blocks::norm::batch_norm;
use mimus_core::{Builder, Init, Phase, Result, ValueId};

/// The layers around the memory.
pub(super) struct Network {
    /// Channels of every level, the finest first.
    pub(super) widths: Vec<usize>,
    /// Whether the decoder sees the encoder's finer levels: in prediction it does.
    pub(super) skips: bool,
    /// Channels of a picture.
    pub(super) channels: usize,
}

impl Network {
    /// Features of every level of `x [N, C, H, W]`, the finest first; the last has neither norm nor ReLU.
    pub(super) fn encode(&self, b: &mut Builder, style: &Style, x: ValueId) -> Result<Vec<ValueId>> {
        b.scope("encoder", |b| {
            let mut features: Vec<ValueId> = Vec::new();
            for (i, channels) in self.widths.iter().enumerate() {
                let label = format!("moduleConv{}", i + 1);
                let x = match features.last() {
                    None => x,
                    Some(finer) => halve(b, *finer)?,
                };
                features.push(if i + 1 < self.widths.len() {
                    style.double(b, &label, x, [*channels; 2])?
                } else {
                    b.scope(&label, |b| {
                        let x = style.layer(b, 0, x, *channels)?;
                        Conv::new(*channels, &[3, 3]).padding(&[1, 1]).forward(b, "3", x)
                    })?
                });
            }
            if let Some(code) = features.last() {
                // The official encoder has this layer and never calls it: its variables are part of every checkpoint.
                batch_norm(b, "moduleBatchNorm", *code, Phase::Eval, 0.1, Init::ONES)?;
            }
            Ok(features)
        })
    }

    /// The picture `[N, channels, H, W]` in -1 to 1 from what the memory gave; `finer` are the encoder's other levels.
    pub(super) fn decode(&self, b: &mut Builder, style: &Style, read: ValueId, finer: &[ValueId]) -> Result<ValueId> {
        b.scope("decoder", |b| {
            let mut x = style.double(b, "moduleConv", read, [self.widths[finer.len()]; 2])?;
            for (i, skip) in finer.iter().enumerate().rev() {
                let channels = self.widths[if self.skips { i } else { i + 1 }];
                x = b.scope(&format!("moduleUpsample{}", i + 2), |b| {
                    let up = Conv::new(channels, &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).output_padding(&[1, 1]);
                    let x = up.transposed(b, "0", x)?;
                    style.activate(b, 1, x)
                })?;
                if self.skips {
                    x = b.concat(&[*skip, x], 1)?;
                }
                let label = format!("moduleDeconv{}", i + 1);
                x = style.double(b, &label, x, [self.widths[i]; 2])?;
            }
            let last = Conv::new(self.channels, &[3, 3]).padding(&[1, 1]);
            let output = last.forward(b, "moduleDeconv1.6", x)?;
            b.tanh(output)
        })
    }
}
