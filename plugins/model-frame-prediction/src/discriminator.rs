//! The adversary: judges overlapping patches of a frame.

use mimus_core::blocks::double::Style;
use mimus_core::blocks::pad::reflect;
use mimus_core::{Builder, Result, ValueId};

/// Scope of its parameters.
pub(super) const SCOPE: &str = "net";

pub(super) struct Discriminator {
    /// Channels of the layers before the last.
    pub(super) widths: Vec<usize>,
    /// Whether pixels are mirrored at the borders; else zeros surround them.
    pub(super) reflects: bool,
}

impl Discriminator {
    /// How real every patch of `x [N, C, H, W]` looks, 0 to 1, `[N, 1, h, w]`.
    pub(super) fn forward(&self, b: &mut Builder, style: &Style, x: ValueId) -> Result<ValueId> {
        b.scope(SCOPE, |b| {
            let layers = self.widths.iter().copied().chain([1]).enumerate();
            let last = self.widths.len();
            let x = layers.into_iter().try_fold(x, |x, (i, channels)| {
                let stride = if i + 1 < last { 2 } else { 1 };
                let conv = style.conv(b, x, channels, 4).stride(&[stride; 2]);
                let (x, conv) = match self.reflects {
                    true => (reflect(b, x, 2)?, conv),
                    false => (x, conv.padding(&[2, 2])),
                };
                let x = conv.forward(b, &(2 * i).to_string(), x)?;
                if i == last { Ok(x) } else { b.leaky_relu(x, 0.2) }
            })?;
            b.sigmoid(x)
        })
    }
}
