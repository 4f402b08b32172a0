//! Resampling of the spatial axes and its gradient, plane by plane, one axis after another.

use mimus_core::ops::resize::taps;
use mimus_core::{Error, Op, Result};
use rayon::prelude::*;

use super::{CHUNK, Kernel, Operands, Types, scratch};

/// One axis of a plane seen as `[outer, from, inner]`, resampled to `[outer, to, inner]`.
struct Axis {
    from: usize,
    to: usize,
    inner: usize,
    /// For every element of the larger side of the definition (the resized one): two sources and their weights.
    taps: Vec<(usize, usize, f32, f32)>,
    adjoint: bool,
}

struct Resize {
    axes: Vec<Axis>,
    from: usize,
    to: usize,
    /// The largest plane on the way.
    largest: usize,
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (Op::Resize { size, mode, align_corners } | Op::ResizeGrad { size, mode, align_corners }) = op else {
        return Err(Error::backend("is no resampling"));
    };
    let adjoint = matches!(op, Op::ResizeGrad { .. });
    let mut extents = types.input(0)?[2..].to_vec();
    let from: usize = extents.iter().product();
    let (mut axes, mut largest) = (Vec::new(), from);
    for a in 0..extents.len() {
        let inner = extents[a + 1..].iter().product();
        let (n, m) = if adjoint { (size[a], extents[a]) } else { (extents[a], size[a]) };
        let taps = taps(n, m, *mode, *align_corners);
        let taps = taps.into_iter().map(|(i, j, w)| (i, j, (1.0 - w) as f32, w as f32)).collect();
        axes.push(Axis { from: extents[a], to: size[a], inner, taps, adjoint });
        extents[a] = size[a];
        largest = largest.max(extents.iter().product());
    }
    Ok(Box::new(Resize { axes, from, to: extents.iter().product(), largest }))
}

impl Axis {
    fn apply(&self, x: &[f32], y: &mut [f32]) {
        let inner = self.inner;
        let planes = x.chunks_exact(self.from * inner).zip(y.chunks_exact_mut(self.to * inner));
        for (x, y) in planes {
            if self.adjoint {
                y.fill(0.0);
                for (x, (i, j, v, w)) in x.chunks_exact(inner).zip(&self.taps) {
                    y[i * inner..][..inner].iter_mut().zip(x).for_each(|(y, x)| *y += v * x);
                    y[j * inner..][..inner].iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
                }
            } else {
                for (y, (i, j, v, w)) in y.chunks_exact_mut(inner).zip(&self.taps) {
                    let (first, second) = (&x[i * inner..][..inner], &x[j * inner..][..inner]);
                    y.iter_mut().zip(first).zip(second).for_each(|((y, a), b)| *y = v * a + w * b);
                }
            }
        }
    }
}

impl Kernel for Resize {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let least = (CHUNK / self.largest).max(1);
        let planes = operands.output()?.par_chunks_exact_mut(self.to).with_min_len(least);
        planes.zip(x.par_chunks_exact(self.from)).for_each(|(y, x)| {
            scratch::with(2 * self.largest, |memory| {
                let (mut now, mut next) = memory.split_at_mut(self.largest);
                let mut len = self.from;
                now[..len].copy_from_slice(x);
                for axis in &self.axes {
                    let to = len / axis.from * axis.to;
                    axis.apply(&now[..len], &mut next[..to]);
                    (now, next, len) = (next, now, to);
                }
                y.copy_from_slice(&now[..len]);
            });
        });
        Ok(())
    }
}
