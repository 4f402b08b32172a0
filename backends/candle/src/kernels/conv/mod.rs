//! Convolution, transposed convolution and weight gradient in 1 to 3 dimensions as blocked products over image patches.
//!
//! A convolution multiplies the weight with the patches of its input. A transposed convolution with stride `s` is one
//! convolution of stride 1 for each of the `s` residues of the output position along every axis, over the taps that reach it:
//! no product with the zeros between the strides. The weight gradient multiplies the gradient with the patches, summed over
//! positions.

mod correlation;
mod patches;
mod weight_gradient;

use mimus_core::{Error, Op, Result};

use super::{Kernel, Types};
use correlation::Correlation;
use weight_gradient::WeightGradient;

type Axes = [usize; 3];

fn three(list: &[usize], fill: usize) -> Axes {
    let mut result = [fill; 3];
    result[3 - list.len()..].copy_from_slice(list);
    result
}

fn volume(extents: Axes) -> usize {
    extents.iter().product()
}

/// What the three operators share: `x [N, C, ..]`, `w [O, C/groups, k..]`, `y [N, O, ..]` of the plain convolution.
struct Geometry {
    images: usize,
    groups: usize,
    /// Channels of `x` and of `y` in a group.
    inner: usize,
    outer: usize,
    x: Axes,
    y: Axes,
    kernel: Axes,
    stride: Axes,
    padding: Axes,
    dilation: Axes,
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (a, b, c) = (types.input(0)?, types.input(1)?, types.output(0)?);
    let (x, w, y) = match op {
        Op::Conv { .. } => (a, b, c),
        Op::ConvTranspose { .. } => (c, b, a),
        _ => (a, c, b),
    };
    let (Op::Conv { stride, padding, dilation, groups }
    | Op::ConvTranspose { stride, padding, dilation, groups, .. }
    | Op::ConvWeightGrad { stride, padding, dilation, groups, .. }) = op
    else {
        return Err(Error::backend("is no convolution"));
    };
    let geometry = Geometry {
        images: x[0],
        groups: *groups,
        inner: x[1] / groups,
        outer: y[1] / groups,
        x: three(&x[2..], 1),
        y: three(&y[2..], 1),
        kernel: three(&w[2..], 1),
        stride: three(stride, 1),
        padding: three(padding, 0),
        dilation: three(dilation, 1),
    };
    Ok(match op {
        Op::Conv { .. } => Box::new(Correlation::plain(&geometry)),
        Op::ConvTranspose { .. } => Box::new(Correlation::transposed(&geometry)),
        _ => Box::new(WeightGradient::new(geometry)),
    })
}

/// All positions of a box in row-major order.
fn positions(extents: Axes) -> impl Iterator<Item = Axes> {
    (0..volume(extents)).map(move |i| [i / (extents[1] * extents[2]), i / extents[2] % extents[1], i % extents[2]])
}

impl Geometry {
    /// Where the elements of a patch stand from the position times the stride.
    fn taps(&self) -> Vec<[isize; 3]> {
        let tap = |k: Axes| [0, 1, 2].map(|a| (k[a] * self.dilation[a]) as isize - self.padding[a] as isize);
        positions(self.kernel).map(tap).collect()
    }
}
