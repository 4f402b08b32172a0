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

/// Sum over each sample: `[N, ..]` to `[N]`.
///
/// # Errors
/// If `x` is not f32.
pub fn sum_by_sample(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (1..b.shape(x).len()).collect();
    b.sum(x, &axes)
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

/// `1 - cos(a, b)` over channels at every position: `[N, C, ..]` to `[N, 1, ..]`; 1 where one of them is zeros.
///
/// # Errors
/// If the shapes differ or have no channels.
pub fn cosine_distance(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let product = b.mul(x, y)?;
    let product = b.sum_keep(product, &[1])?;
    let (x, y) = (channel_length(b, x)?, channel_length(b, y)?);
    let lengths = b.mul(x, y)?;
    let cosine = b.div(product, lengths)?;
    b.affine(cosine, -1.0, 1.0)
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

/// The gradient loss of HF2-VAD and DMAD on pictures `[N, C, H, W]`, a scalar: channels are summed *before* the differences to the
/// left and upper neighbour (0 outside the picture), `mean(|Dx a - Dx b| + |Dy a - Dy b|)` over the N * H * W positions.
///
/// # Errors
/// If the shapes differ or are not of rank 4.
pub fn gradient_of_channel_sum(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let difference = b.sub(x, y)?;
    // Differences and sums are linear, so that the pictures are subtracted first.
    let sum = b.sum_keep(difference, &[1])?;
    let shape = b.shape(sum).to_vec();
    let mut terms = Vec::new();
    for axis in [2, 3] {
        let mut before = vec![0; shape.len()];
        before[axis] = 1;
        let padded = b.pad(sum, &before, &[0; 4], 0.0)?;
        let earlier = b.slice(padded, &[0; 4], &shape)?;
        let step = b.sub(sum, earlier)?;
        terms.push(b.abs(step)?);
    }
    let total = b.add(terms[0], terms[1])?;
    mean_all(b, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    #[test]
    fn gradient_of_the_channel_sum_of_a_worked_example() {
        let picture = |values: [f64; 4]| Array::float([1, 1, 2, 2], values.to_vec());
        let pair = [picture([0.0, 1.0, 1.0, 0.0]), picture([0.0, 0.0, 0.0, 0.5])];
        let results = evaluate(&pair, |b, x| Ok(vec![gradient_of_channel_sum(b, x[0], x[1])?]));
        assert_eq!(results[0].floats().unwrap(), [1.75]);
    }
}
