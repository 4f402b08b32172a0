//! Maximum and average over windows, in 1 to 3 dimensions, and their gradients.

use std::ops::Range;

use mimus_core::{Error, Op, Result};
use rayon::prelude::*;

use super::{CHUNK, Kernel, Operands, Types};

fn three(list: &[usize], fill: usize) -> [usize; 3] {
    let mut result = [fill; 3];
    result[3 - list.len()..].copy_from_slice(list);
    result
}

/// Which of the four operators.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Max,
    MaxGrad,
    Average { count_include_pad: bool },
    AverageGrad { count_include_pad: bool },
}

/// Windows over planes.
struct Pool {
    kind: Kind,
    x: [usize; 3],
    y: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (first, out) = (types.input(0)?, types.output(0)?);
    let (kind, x, y) = match op {
        Op::MaxPool { .. } => (Kind::Max, first, out),
        Op::MaxPoolGrad { .. } => (Kind::MaxGrad, first, types.input(1)?),
        Op::AvgPool { count_include_pad, .. } => (Kind::Average { count_include_pad: *count_include_pad }, first, out),
        Op::AvgPoolGrad { count_include_pad, .. } => {
            (Kind::AverageGrad { count_include_pad: *count_include_pad }, out, first)
        }
        _ => return Err(Error::backend("is no pooling")),
    };
    let (Op::MaxPool { kernel, stride, padding }
    | Op::MaxPoolGrad { kernel, stride, padding }
    | Op::AvgPool { kernel, stride, padding, .. }
    | Op::AvgPoolGrad { kernel, stride, padding, .. }) = op
    else {
        return Err(Error::backend("is no pooling"));
    };
    Ok(Box::new(Pool {
        kind,
        x: three(&x[2..], 1),
        y: three(&y[2..], 1),
        kernel: three(kernel, 1),
        stride: three(stride, 1),
        padding: three(padding, 0),
    }))
}

/// A window clipped to its plane.
struct Window {
    ranges: [Range<usize>; 3],
    /// Elements with padding.
    full: usize,
}

impl Window {
    /// Elements without padding.
    fn len(&self) -> usize {
        self.ranges.iter().map(Range::len).product()
    }
}

impl Pool {
    fn range(&self, axis: usize, o: usize) -> (Range<usize>, usize) {
        let (extent, padding) = (self.x[axis], self.padding[axis]);
        let start = o * self.stride[axis];
        let end = (start + self.kernel[axis]).min(extent + 2 * padding);
        let inside = |i: usize| i.saturating_sub(padding).min(extent);
        (inside(start)..inside(end), end - start)
    }

    /// Calls `f(output position, window)` for every window of a plane.
    fn windows(&self, mut f: impl FnMut(usize, &Window)) {
        let [_, height, width] = self.y;
        for t in 0..self.y[0] {
            let (planes, depth) = self.range(0, t);
            for h in 0..height {
                let (rows, tall) = self.range(1, h);
                for w in 0..width {
                    let (columns, wide) = self.range(2, w);
                    let window = Window { ranges: [planes.clone(), rows.clone(), columns], full: depth * tall * wide };
                    f((t * height + h) * width + w, &window);
                }
            }
        }
    }

    /// Calls `f(position, line)` for every line of a window: where it starts in the plane, and its length.
    fn lines(&self, window: &Window, mut f: impl FnMut(usize, usize)) {
        let [planes, rows, columns] = &window.ranges;
        for t in planes.clone() {
            for h in rows.clone() {
                f((t * self.x[1] + h) * self.x[2] + columns.start, columns.len());
            }
        }
    }

    fn first_maximum(&self, x: &[f32], window: &Window) -> usize {
        let mut best: Option<usize> = None;
        self.lines(window, |start, len| {
            for i in start..start + len {
                match best {
                    Some(j) if x[i] <= x[j] || x[j].is_nan() => {}
                    _ => best = Some(i),
                }
            }
        });
        best.unwrap_or(0)
    }

    fn divisor(&self, window: &Window, count_include_pad: bool) -> f32 {
        (if count_include_pad { window.full } else { window.len() }) as f32
    }

    /// One plane of the output from the planes of the inputs.
    fn plane(&self, a: &[f32], b: Option<&[f32]>, out: &mut [f32]) {
        match self.kind {
            Kind::Max => self.windows(|o, window| out[o] = a[self.first_maximum(a, window)]),
            Kind::MaxGrad => {
                let dy = b.unwrap_or(&[]);
                out.fill(0.0);
                self.windows(|o, window| out[self.first_maximum(a, window)] += dy[o]);
            }
            Kind::Average { count_include_pad } => self.windows(|o, window| {
                let mut total = 0.0;
                self.lines(window, |start, len| total += a[start..start + len].iter().sum::<f32>());
                out[o] = total / self.divisor(window, count_include_pad);
            }),
            Kind::AverageGrad { count_include_pad } => {
                out.fill(0.0);
                self.windows(|o, window| {
                    let share = a[o] / self.divisor(window, count_include_pad);
                    self.lines(window, |start, len| out[start..start + len].iter_mut().for_each(|dx| *dx += share));
                });
            }
        }
    }
}

impl Kernel for Pool {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (x_plane, y_plane) = (self.x.iter().product::<usize>(), self.y.iter().product::<usize>());
        let (from, to) = match self.kind {
            Kind::Max | Kind::Average { .. } => (x_plane, y_plane),
            Kind::MaxGrad => (x_plane, x_plane),
            Kind::AverageGrad { .. } => (y_plane, x_plane),
        };
        let a = operands.input(0)?;
        let b = if self.kind == Kind::MaxGrad { Some(operands.input(1)?) } else { None };
        let least = (CHUNK / x_plane).max(1);
        operands.output()?.par_chunks_exact_mut(to).with_min_len(least).enumerate().for_each(|(p, out)| {
            self.plane(&a[p * from..][..from], b.map(|dy| &dy[p * y_plane..][..y_plane]), out);
        });
        Ok(())
    }
}
