//! Losses and scores that several models share.

use crate::error::Result;
use crate::graph::{Builder, ValueId};

/// Shortest squared length over channels that is told from zero.
const LEAST: f64 = 1e-16;

fn all_axes(b: &Builder, x: ValueId) -> Vec<usize> {
    (0..b.shape(x).len()).collect()
}

/// Mean over all elements, a scalar.
///
/// # Errors
/// If `x` is not f32.
pub fn mean_all(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes = all_axes(b, x);
    b.mean(x, &axes)
}

/// Mean of each sample: `[N, ..]` to `[N]`.
///
/// # Errors
/// If `x` is not f32.
pub fn mean_by_sample(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (1..b.shape(x).len()).collect();
    b.mean(x, &axes)
}

/// `(a - b)^2`, elementwise.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn squared_difference(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let difference = b.sub(x, y)?;
    b.mul(difference, difference)
}

/// `|a - b|`, elementwise.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn absolute_difference(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let difference = b.sub(x, y)?;
    b.abs(difference)
}

/// Mean squared error over all elements, a scalar.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn mse(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let square = squared_difference(b, x, y)?;
    mean_all(b, square)
}

/// Length over channels at every position: `[N, C, ..]` to `[N, 1, ..]`. It is `1e-8` at least, and the bound is taken of the square, so
/// that a feature of zeros has a gradient.
///
/// # Errors
/// If `x` has no channels.
pub fn channel_length(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let square = b.mul(x, x)?;
    let sum = b.sum_keep(square, &[1])?;
    let least = b.scalar(LEAST)?;
    let sum = b.maximum(sum, least)?;
    b.sqrt(sum)
}

/// `d^2 / (2 beta)` where `d = |a - b|` is less than `beta`, `d - beta / 2` elsewhere, elementwise (`torch.nn.SmoothL1Loss`; with
/// `beta` 1 also Huber's loss).
///
/// # Errors
/// If the shapes do not broadcast.
pub fn smooth_l1(b: &mut Builder, x: ValueId, y: ValueId, beta: f64) -> Result<ValueId> {
    let difference = absolute_difference(b, x, y)?;
    // With c = min(d, beta): c^2 / (2 beta) + (d - c), which has no case to tell apart.
    let bound = b.scalar(beta)?;
    let within = b.minimum(difference, bound)?;
    let square = b.mul(within, within)?;
    let curve = b.affine(square, 0.5 / beta, 0.0)?;
    let beyond = b.sub(difference, within)?;
    b.add(curve, beyond)
}

/// Mean over positions of the entropy `-sum_slots a ln(a + 1e-12)` of addressing weights `[N, slots, ..]` (MemAE, equation 9).
///
/// # Errors
/// If `weights` is not f32.
pub fn entropy(b: &mut Builder, weights: ValueId) -> Result<ValueId> {
    let shifted = b.affine(weights, 1.0, 1e-12)?;
    let logarithm = b.log(shifted)?;
    let product = b.mul(weights, logarithm)?;
    let sum = b.sum(product, &[1])?;
    let mean = mean_all(b, sum)?;
    b.neg(mean)
}
