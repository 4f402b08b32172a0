//! The network that says how frames are deformed.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::Style;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::ops::Mode;
use mimus_core::{Builder, HostTensor, Init, Phase, Result, ValueId};

use crate::coordinates;
use crate::recipe::Recipe;

/// Strides of the convolutions that estimate the fine offsets.
const FINE: [usize; 2] = [1, 1];

/// Coarse and fine offsets of what the frames `x [N, C, H, W]` show, each `[N, 2, H, W]`: how far to the right and down a pixel is
/// fetched from, where a picture is 2 wide and high. They reach as far as the recipe says; `width` is the number of hidden channels.
pub(super) fn forward(
    b: &mut Builder,
    recipe: &Recipe,
    phase: Phase,
    x: ValueId,
    width: usize,
) -> Result<[ValueId; 2]> {
    let style = Style::torch(phase);
    b.scope("offset_net", |b| {
        let stem = coordinates::double(b, &style, "conv_offset1", x, width)?;
        let side = b.scope("conv_offset2", |b| {
            let residual = b.scope("0.convs", |b| {
                // The block begins with a ReLU, as the stem ends with one.
                let x = style.layer(b, 1, stem, width)?;
                Conv::new(width, &[1, 1]).forward(b, "4", x)
            })?;
            let sum = b.add(stem, residual)?;
            batch_norm(b, "1", sum, phase, 0.1, Init::ONES)
        })?;
        let both = b.concat(&[side, stem], 1)?;
        let coarse = head(b, &style, "conv_offset4", both, width, &recipe.strides)?;
        let fine = head(b, &style, "conv_offset3", both, width, &FINE)?;
        let extents = [b.shape(x)[2], b.shape(x)[3]];
        Ok([full(b, coarse, extents, recipe.reach[0])?, full(b, fine, extents, recipe.reach[1])?])
    })
}

/// 3x3 convolutions with these strides, `[N, C, H, W]` to `[N, 2, h, w]` from -1 to 1.
fn head(b: &mut Builder, style: &Style, label: &str, x: ValueId, width: usize, strides: &[usize]) -> Result<ValueId> {
    b.scope(label, |b| {
        let mut x = x;
        for (i, stride) in strides.iter().enumerate() {
            let is_last = i + 1 == strides.len();
            let conv = Conv::new(if is_last { 2 } else { width }, &[3, 3]).stride(&[*stride; 2]).padding(&[1, 1]);
            x = conv.forward(b, &(3 * i).to_string(), x)?;
            if !is_last {
                x = style.activate(b, 3 * i + 1, x)?;
            }
        }
        b.tanh(x)
    })
}

/// `offsets [N, 2, h, w]` from -1 to 1 as those of every pixel, `reach` pixels at most.
fn full(b: &mut Builder, offsets: ValueId, [height, width]: [usize; 2], reach: f64) -> Result<ValueId> {
    let farthest = [width, height].map(|extent| (2.0 * reach / extent as f64) as f32);
    let farthest = b.constant(HostTensor::f32([1, 2, 1, 1], farthest.to_vec())?)?;
    let scaled = b.mul(offsets, farthest)?;
    b.resize(scaled, &[height, width], Mode::Linear, true)
}
