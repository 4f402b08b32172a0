//! U-Nets of double convolutions, with the parameter names of the PyTorch ports that video detectors grew from.

use super::double::{Style, halve};
use crate::error::Result;
use crate::graph::{Builder, ValueId};

/// A U-Net with layers `inc`, `down1` .. `down{n-1}`, `up1` .. `up{n-1}`; the caller adds the last layer.
#[derive(Clone, Debug)]
pub struct Unet {
    /// Channels of every level, the finest first; at least one.
    pub widths: Vec<usize>,
    /// Kernel of the transposed convolutions of stride 2: 2, or 3 with padding and output padding 1.
    pub up_kernel: usize,
    /// Whether a ReLU follows the transposed convolutions.
    pub activated_up: bool,
    /// Put between a layer's name and its number, and behind `inc`.
    pub suffix: String,
    /// The layers' style.
    pub style: Style,
}

impl Unet {
    /// Features of every level of `x [N, C, H, W]`, the finest first: each level halves the extents by max pooling.
    ///
    /// # Errors
    /// If the extents are too small.
    pub fn encode(&self, b: &mut Builder, x: ValueId) -> Result<Vec<ValueId>> {
        let mut features: Vec<ValueId> = Vec::new();
        for (level, channels) in self.widths.iter().enumerate() {
            let feature = match features.last() {
                None => self.style.double(b, &format!("inc{}.conv.conv", self.suffix), x, [*channels; 2])?,
                Some(finer) => b.scope(&format!("down{}{level}.mpconv", self.suffix), |b| {
                    let pooled = halve(b, *finer)?;
                    self.style.double(b, "1.conv", pooled, [*channels; 2])
                })?,
            };
            features.push(feature);
        }
        Ok(features)
    }

    /// Back from the coarsest level `code` to the finest, `[N, widths[0], H, W]`; `skips` are the finer levels.
    ///
    /// # Errors
    /// If the extents are not divisible by 2 as often as there are levels to climb.
    pub fn decode(&self, b: &mut Builder, code: ValueId, skips: &[ValueId]) -> Result<ValueId> {
        skips.iter().rev().enumerate().try_fold(code, |x, (i, skip)| {
            b.scope(&format!("up{}{}", self.suffix, i + 1), |b| {
                let channels = b.shape(*skip)[1];
                let up = self.style.conv(b, x, channels, self.up_kernel).stride(&[2, 2]);
                let up = if self.up_kernel == 3 { up.padding(&[1, 1]).output_padding(&[1, 1]) } else { up };
                let up = up.transposed(b, "up", x)?;
                let up = if self.activated_up { b.relu(up)? } else { up };
                let both = b.concat(&[*skip, up], 1)?;
                self.style.double(b, "conv.conv", both, [channels; 2])
            })
        })
    }
}
