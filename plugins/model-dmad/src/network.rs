//! Encoder and decoder with the names of the official modules.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::{Bias, Style, halve};
use mimus_core::{Builder, Error, Phase, Result, ValueId};

use crate::coordinates;

/// Channels of every frame that the network sees or makes.
pub(super) const CHANNELS: usize = 3;

/// The layers around the codebook.
pub(super) struct Network {
    /// Channels of every level, the finest first; three levels at least.
    pub(super) widths: Vec<usize>,
    /// Names of what squeezes the last level but one, and the last.
    pub(super) skips: [&'static str; 2],
    pub(super) phase: Phase,
}

/// What the encoder gives.
pub(super) struct Encoded {
    /// The coarsest level, with neither norm nor ReLU.
    pub(super) code: ValueId,
    /// Squeezed features of the last level but one, and of the last.
    pub(super) skips: [ValueId; 2],
    /// From 0, background, to 1, foreground, `[N, 3, H, W]`.
    pub(super) mask: ValueId,
}

impl Network {
    /// Convolutions before a norm have no bias.
    fn style(&self) -> Style {
        Style { bias: Bias::Last, ..Style::torch(self.phase) }
    }

    /// Encodes `x [N, C, H, W]`. No gradient flows from the squeezed features to the levels.
    pub(super) fn encode(&self, b: &mut Builder, x: ValueId) -> Result<Encoded> {
        let style = self.style();
        b.scope("encoder", |b| {
            let mut features: Vec<ValueId> = Vec::new();
            let mut seen = x;
            for (i, channels) in self.widths.iter().enumerate() {
                let label = format!("moduleConv{}", i + 1);
                if i + 1 < self.widths.len() {
                    let feature = style.double(b, &label, seen, [*channels; 2])?;
                    features.push(feature);
                    seen = halve(b, feature)?;
                } else {
                    seen = b.scope(&label, |b| {
                        let x = style.layer(b, 0, seen, *channels)?;
                        Conv::new(*channels, &[3, 3]).padding(&[1, 1]).forward(b, "3", x)
                    })?;
                }
            }
            let (&[finest, next, ..], Some(&second)) = (features.as_slice(), features.last()) else {
                let message = format!("has {} levels, expects at least 3", self.widths.len());
                return Err(Error::config(message).with("key", "widths"));
            };
            let enlarged = self.enlarge(b, "mask_", next, self.widths[0])?;
            let both = b.concat(&[enlarged, finest], 1)?;
            let mask = self.picture(b, "mask", both)?;
            let mut squeeze = |label: &str, feature| {
                let feature = b.stop_gradient(feature)?;
                style.double(b, label, feature, [self.widths[0]; 2])
            };
            let skips = [squeeze(self.skips[0], second)?, squeeze(self.skips[1], seen)?];
            Ok(Encoded { code: seen, skips, mask: b.sigmoid(mask)? })
        })
    }

    /// The picture `[N, 3, H, W]` in -1 to 1 of a quantised code and the squeezed features.
    pub(super) fn decode(&self, b: &mut Builder, code: ValueId, skips: [ValueId; 2]) -> Result<ValueId> {
        let style = self.style();
        let [second, last] = skips;
        b.scope("decoder", |b| {
            let both = b.concat(&[code, last], 1)?;
            let coarsest = self.widths.len() - 1;
            let mut x = coordinates::double(b, &style, "moduleConv", both, self.widths[coarsest])?;
            for level in (0..coarsest).rev() {
                let label = format!("moduleDeconv{}", level + 1);
                x = self.enlarge(b, &format!("moduleUpsample{}", level + 2), x, self.widths[level])?;
                if level + 1 == coarsest {
                    x = b.concat(&[x, second], 1)?;
                }
                x = match level {
                    0 => self.picture(b, &label, x)?,
                    _ => coordinates::double(b, &style, &label, x, self.widths[level])?,
                };
            }
            b.tanh(x)
        })
    }

    /// Twice the extents: a transposed convolution, its norm and its ReLU.
    fn enlarge(&self, b: &mut Builder, label: &str, x: ValueId, channels: usize) -> Result<ValueId> {
        b.scope(label, |b| {
            let up = Conv::new(channels, &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).output_padding(&[1, 1]);
            let x = up.without_bias().transposed(b, "0", x)?;
            self.style().activate(b, 1, x)
        })
    }

    /// Two layers and a convolution to the channels of a picture.
    fn picture(&self, b: &mut Builder, label: &str, x: ValueId) -> Result<ValueId> {
        let x = self.style().double(b, label, x, [self.widths[0]; 2])?;
        b.scope(label, |b| Conv::new(CHANNELS, &[3, 3]).padding(&[1, 1]).forward(b, "6", x))
    }
}
