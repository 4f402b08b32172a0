//! Losses and scores that several models share.

use crate::error::Result;
use crate::graph::{Builder, ValueId};

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
