//! Softmax and batch normalisation.

use mimus_core::{Error, Op, Result};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::reduce::sum_of;
use super::{CHUNK, Kernel, Operands, Types, math, product, scratch};

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let x = types.input(0)?;
    Ok(match op {
        Op::Softmax { axis } | Op::LogSoftmax { axis } => Box::new(Softmax {
            extent: x[*axis],
            inner: x[axis + 1..].iter().product(),
            logarithm: matches!(op, Op::LogSoftmax { .. }),
        }),
        Op::BatchNorm { eps } => Box::new(BatchNorm { planes: Planes::new(x), eps: *eps }),
        Op::BatchNormTrain { eps } => Box::new(BatchNormTrain { planes: Planes::new(x), eps: *eps }),
        Op::BatchNormTrainGrad { eps } => Box::new(BatchNormTrainGrad { planes: Planes::new(x), eps: *eps }),
        _ => return Err(Error::backend("is no normalisation")),
    })
}

/// Softmax of `[outer, extent, inner]` over the middle axis.
struct Softmax {
    extent: usize,
    inner: usize,
    logarithm: bool,
}

/// Some rows `[extent, inner]`.
struct SoftmaxTask<'a> {
    softmax: &'a Softmax,
    x: &'a [f32],
    y: &'a mut [f32],
    /// `inner` peaks and `inner` totals.
    memory: &'a mut [f32],
}

impl WithSimd for SoftmaxTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Softmax { extent, inner, logarithm } = *self.softmax;
        let rows = self.x.chunks_exact(extent * inner).zip(self.y.chunks_exact_mut(extent * inner));
        for (x, y) in rows {
            if inner == 1 {
                row(x, y, logarithm);
            } else {
                let (peaks, totals) = self.memory.split_at_mut(inner);
                columns(x, y, peaks, totals, logarithm);
            }
        }
    }
}

#[inline(always)]
fn row(x: &[f32], y: &mut [f32], logarithm: bool) {
    let (parts, rest) = x.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for part in parts {
        lanes.iter_mut().zip(part).for_each(|(lane, x)| *lane = if *x > *lane { *x } else { *lane });
    }
    let peak = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |peak, x| peak.max(*x));
    y.iter_mut().zip(x).for_each(|(y, x)| *y = math::exp(x - peak));
    let total = sum_of(y.len(), |i| y[i]);
    if logarithm {
        let shift = total.ln() as f32;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - peak) - shift);
    } else {
        let scale = (1.0 / total) as f32;
        y.iter_mut().for_each(|y| *y *= scale);
    }
}

#[inline(always)]
fn columns(x: &[f32], y: &mut [f32], peaks: &mut [f32], totals: &mut [f32], logarithm: bool) {
    let inner = peaks.len();
    peaks.fill(f32::NEG_INFINITY);
    totals.fill(0.0);
    for x in x.chunks_exact(inner) {
        peaks.iter_mut().zip(x).for_each(|(peak, x)| *peak = if *x > *peak { *x } else { *peak });
    }
    for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
        for (((x, y), peak), total) in x.iter().zip(y).zip(&*peaks).zip(&mut *totals) {
            *y = math::exp(x - peak);
            *total += *y;
        }
    }
    if logarithm {
        totals.iter_mut().for_each(|total| *total = math::ln(*total));
        for (x, y) in x.chunks_exact(inner).zip(y.chunks_exact_mut(inner)) {
            x.iter().zip(y).zip(&*peaks).zip(&*totals).for_each(|(((x, y), peak), total)| *y = (x - peak) - total);
        }
    } else {
        totals.iter_mut().for_each(|total| *total = 1.0 / *total);
        for y in y.chunks_exact_mut(inner) {
            y.iter_mut().zip(&*totals).for_each(|(y, scale)| *y *= scale);
        }
    }
}

impl Kernel for Softmax {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let row = self.extent * self.inner;
        let chunk = (CHUNK / row).max(1) * row;
        operands.output()?.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
            scratch::with(2 * self.inner, |memory| {
                product::arch().dispatch(SoftmaxTask { softmax: self, x, y, memory })
            });
        });
        Ok(())
    }
}

/// `[N, C, ..]` as planes of one channel each.
#[derive(Clone, Copy)]
struct Planes {
    images: usize,
    channels: usize,
    plane: usize,
}

impl Planes {
    fn new(shape: &[usize]) -> Self {
        Self { images: shape[0], channels: shape[1], plane: shape[2..].iter().product() }
    }

    /// Elements of a channel.
    fn count(&self) -> f64 {
        (self.images * self.plane) as f64
    }

    /// The planes of a channel.
    fn of<'a>(&self, x: &'a [f32], channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let Self { images, channels, plane } = *self;
        (0..images).map(move |n| &x[(n * channels + channel) * plane..][..plane])
    }

    /// Elements of a task: whole planes.
    fn chunk(&self) -> usize {
        (CHUNK / self.plane).max(1) * self.plane
    }

    /// Calls `f(channel, input's plane, output's plane)` for all, in parallel.
    fn map(&self, y: &mut [f32], f: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let chunk = self.chunk();
        y.par_chunks_mut(chunk).enumerate().for_each(|(i, y)| {
            for (j, y) in y.chunks_exact_mut(self.plane).enumerate() {
                let first = i * chunk + j * self.plane;
                f(first / self.plane % self.channels, first, y);
            }
        });
    }
}

/// `y = x * scale + shift` over a plane.
struct Affine<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    mean: f32,
    scale: f32,
    bias: f32,
}

impl WithSimd for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, y, mean, scale, bias } = self;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * scale + bias);
    }
}

struct BatchNorm {
    planes: Planes,
    eps: f64,
}

fn scale(weight: f32, var: f64, eps: f64) -> f32 {
    (f64::from(weight) / (var + eps).sqrt()) as f32
}

impl Kernel for BatchNorm {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (x, weight, bias) = (operands.input(0)?, operands.input(1)?, operands.input(2)?);
        let (mean, var) = (operands.input(3)?, operands.input(4)?);
        self.planes.map(operands.output()?, |c, first, y| {
            let x = &x[first..][..y.len()];
            let scale = scale(weight[c], f64::from(var[c]), self.eps);
            product::arch().dispatch(Affine { x, y, mean: mean[c], scale, bias: bias[c] });
        });
        Ok(())
    }
}

struct BatchNormTrain {
    planes: Planes,
    eps: f64,
}

/// Mean and biased variance of one channel, in two passes.
struct Moments<'a> {
    planes: Planes,
    x: &'a [f32],
    channel: usize,
}

impl WithSimd for Moments<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (f64, f64) {
        let Self { planes, x, channel } = self;
        let n = planes.count();
        let mean = planes.of(x, channel).map(|x| sum_of(x.len(), |i| x[i])).sum::<f64>() / n;
        // Deviations from the rounded mean, corrected by its error.
        let rounded = mean as f32;
        let squares = |x: &[f32]| sum_of(x.len(), |i| (x[i] - rounded) * (x[i] - rounded));
        let error = mean - f64::from(rounded);
        let var = planes.of(x, channel).map(squares).sum::<f64>() / n - error * error;
        (mean, var.max(0.0))
    }
}

impl Kernel for BatchNormTrain {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let (x, weight, bias) = (operands.input(0)?, operands.input(1)?, operands.input(2)?);
        let [y, mean, var] = operands.outputs()?;
        let moments: Vec<(f64, f64)> = (0..self.planes.channels)
            .into_par_iter()
            .map(|channel| product::arch().dispatch(Moments { planes: self.planes, x, channel }))
            .collect();
        for (((m, v), mean), var) in moments.iter().zip(mean).zip(var) {
            (*mean, *var) = (*m as f32, *v as f32);
        }
        self.planes.map(y, |c, first, y| {
            let x = &x[first..][..y.len()];
            let (mean, var) = moments[c];
            let scale = scale(weight[c], var, self.eps);
            product::arch().dispatch(Affine { x, y, mean: mean as f32, scale, bias: bias[c] });
        });
        Ok(())
    }
}

struct BatchNormTrainGrad {
    planes: Planes,
    eps: f64,
}

/// Sums of `dy` and of `dy * (x - mean)` over one channel.
struct GradientSums<'a> {
    planes: Planes,
    x: &'a [f32],
    dy: &'a [f32],
    mean: f32,
    channel: usize,
}

impl WithSimd for GradientSums<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (f64, f64) {
        let Self { planes, x, dy, mean, channel } = self;
        let pairs = planes.of(x, channel).zip(planes.of(dy, channel));
        pairs.fold((0.0, 0.0), |(bias, weight), (x, dy)| {
            let dy = &dy[..x.len()];
            (bias + sum_of(dy.len(), |i| dy[i]), weight + sum_of(dy.len(), |i| dy[i] * (x[i] - mean)))
        })
    }
}

/// `d = (d - shift - (x - mean) * slope) * scale` over a plane.
struct GradientPlane<'a> {
    x: &'a [f32],
    d: &'a mut [f32],
    mean: f32,
    shift: f32,
    slope: f32,
    scale: f32,
}

impl WithSimd for GradientPlane<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, d, mean, shift, slope, scale } = self;
        for (d, x) in d.iter_mut().zip(x) {
            *d = (*d - shift - (x - mean) * slope) * scale;
        }
    }
}

impl Kernel for BatchNormTrainGrad {
    fn in_place(&self) -> Option<usize> {
        Some(4)
    }

    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let (x, weight, mean) = (operands.input(0)?, operands.input(1)?, operands.input(2)?);
        let (var, dy) = (operands.input(3)?, operands.input(4).ok());
        let [d, dweight, dbias] = operands.outputs()?;
        if let Some(dy) = dy {
            d.par_chunks_mut(CHUNK).zip(dy.par_chunks(CHUNK)).for_each(|(d, dy)| d.copy_from_slice(dy));
        }
        let dy = &*d;
        let (planes, n) = (self.planes, self.planes.count());
        let sums: Vec<(f64, f64)> = (0..planes.channels)
            .into_par_iter()
            .map(|channel| product::arch().dispatch(GradientSums { planes, x, dy, mean: mean[channel], channel }))
            .collect();
        let inverse = |c: usize| 1.0 / (f64::from(var[c]) + self.eps).sqrt();
        for (c, (dweight, dbias)) in dweight.iter_mut().zip(dbias).enumerate() {
            (*dbias, *dweight) = (sums[c].0 as f32, (sums[c].1 * inverse(c)) as f32);
        }
        planes.map(d, |c, first, d| {
            let x = &x[first..][..d.len()];
            let (shift, slope) = ((sums[c].0 / n) as f32, (sums[c].1 * inverse(c) * inverse(c) / n) as f32);
            let scale = (f64::from(weight[c]) * inverse(c)) as f32;
            product::arch().dispatch(GradientPlane { x, d, mean: mean[c], shift, slope, scale });
        });
        Ok(())
    }
}
