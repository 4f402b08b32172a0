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

/// `sum of weight * term`, a scalar, of scalars with their names and weights: the names are what a model calls its losses.
///
/// # Errors
/// If a term is no f32.
pub fn weighted_sum(b: &mut Builder, terms: &[(&str, ValueId, f64)]) -> Result<ValueId> {
    terms.iter().try_fold(b.scalar(0.0)?, |total, (_, value, weight)| {
        let weighted = b.affine(*value, *weight, 0.0)?;
        b.add(total, weighted)
    })
}

/// Ends a training graph: outputs `loss.<name>` of every term, and `loss`, their [`weighted_sum`].
///
/// # Errors
/// As [`weighted_sum`].
pub fn output_sum(b: &mut Builder, terms: &[(&str, ValueId, f64)]) -> Result<()> {
    terms.iter().try_for_each(|(name, value, _)| b.output(&format!("loss.{name}"), *value))?;
    let total = weighted_sum(b, terms)?;
    b.output("loss", total)
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

/// How far the targets of [`focal`] keep from 0 and 1.
const SMOOTH: f64 = 1e-5;

/// Focal loss of class probabilities `[N, 2, H, W]` against a mask `[N, 1, H, W]` of 0 and 1, a scalar: mean over pixels of
/// `-w (1 - p)^gamma ln p`, where `p` is the probability of the pixel's class, smoothed by 1e-5, and `w` the class's weight
/// (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; smoothing as in DRAEM's published code).
///
/// # Errors
/// If the shapes do not fit.
pub fn focal(
    b: &mut Builder,
    probabilities: ValueId,
    mask: ValueId,
    gamma: f64,
    weights: Option<[f64; 2]>,
) -> Result<ValueId> {
    let normal = b.affine(mask, -1.0, 1.0)?;
    let target = b.concat(&[normal, mask], 1)?;
    // The published code holds these two in single precision, whatever the rest is computed in.
    let target = b.clamp(target, f64::from(SMOOTH as f32), f64::from((1.0 - SMOOTH) as f32))?;
    let product = b.mul(target, probabilities)?;
    let p = b.sum_keep(product, &[1])?;
    let p = b.affine(p, 1.0, SMOOTH)?;
    let logarithm = b.log(p)?;
    let mut loss = b.neg(logarithm)?;
    if gamma != 0.0 {
        let rest = b.affine(p, -1.0, 1.0)?;
        let factor = b.pow(rest, gamma)?;
        loss = b.mul(factor, loss)?;
    }
    if let Some([normal, anomalous]) = weights {
        let weight = b.affine(mask, anomalous - normal, normal)?;
        loss = b.mul(weight, loss)?;
    }
    mean_all(b, loss)
}

/// Forward differences of `x [N, C, H, W]` along `axis` with a line of zeros behind the last.
fn differences(b: &mut Builder, x: ValueId, axis: usize) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    let mut after = vec![0; shape.len()];
    after[axis] = 1;
    let padded = b.pad(x, &vec![0; shape.len()], &after, 0.0)?;
    let mut starts = vec![0; shape.len()];
    starts[axis] = 1;
    let mut ends = shape;
    ends[axis] += 1;
    let next = b.slice(padded, &starts, &ends)?;
    b.sub(next, x)
}

/// Mean of `||dx| - |dy||`, summed over the two image axes (Liu et al., CVPR 2018, equation 2): the official forward
/// differences, which meet zeros at the right and at the bottom; a scalar.
///
/// # Errors
/// If the shapes differ or are no images `[N, C, H, W]`.
pub fn gradient_of_magnitudes(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let mut along = |axis| {
        let [x, y] = [differences(b, x, axis)?, differences(b, y, axis)?];
        let [x, y] = [b.abs(x)?, b.abs(y)?];
        absolute_difference(b, x, y)
    };
    let [horizontal, vertical] = [along(3)?, along(2)?];
    let sum = b.add(horizontal, vertical)?;
    mean_all(b, sum)
}

/// Errors of pictures in -1 to 1, as if their pixels were from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct PixelErrors {
    /// Squares, `[N, C, H, W]`.
    pub square: ValueId,
    /// Their mean over the channels, `[N, 1, H, W]`.
    pub map: ValueId,
    /// Mean squared error of every sample, `[N]`.
    pub mse: ValueId,
    /// `10 log10(1 / mse)`, `[N]`.
    pub psnr: ValueId,
}

/// Compares pictures `[N, C, H, W]` in -1 to 1 as the detectors that predict frames do.
///
/// # Errors
/// If the shapes do not broadcast.
pub fn pixel_errors(b: &mut Builder, x: ValueId, y: ValueId) -> Result<PixelErrors> {
    let difference = b.sub(x, y)?;
    let half = b.affine(difference, 0.5, 0.0)?;
    let square = b.mul(half, half)?;
    let map = b.mean_keep(square, &[1])?;
    let mse = mean_by_sample(b, square)?;
    let logarithm = b.log(mse)?;
    let psnr = b.affine(logarithm, -10.0 / std::f64::consts::LN_10, 0.0)?;
    Ok(PixelErrors { square, map, mse, psnr })
}

/// The gradient loss of HF2-VAD and DMAD on pictures `[N, C, H, W]`, a scalar: the mean of [`gradient_error`] over the N * H * W
/// positions.
///
/// # Errors
/// As [`gradient_error`].
pub fn gradient_of_channel_sum(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let error = gradient_error(b, x, y)?;
    mean_all(b, error)
}

/// `|Dx a - Dx b| + |Dy a - Dy b|` of pictures `[N, C, H, W]`, `[N, 1, H, W]`: channels are summed *before* the differences to the left
/// and upper neighbour (0 outside the picture).
///
/// # Errors
/// If the shapes differ or are not of rank 4.
pub fn gradient_error(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
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
    b.add(terms[0], terms[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    fn picture(values: [f64; 4]) -> Array {
        Array::float([1, 1, 2, 2], values.to_vec())
    }

    #[test]
    fn gradients_of_magnitudes_of_a_worked_example() {
        let pair = [picture([0.0, 1.0, 1.0, 0.0]), picture([0.0, 0.0, 0.0, 0.5])];
        let results = evaluate(&pair, |b, x| Ok(vec![gradient_of_magnitudes(b, x[0], x[1])?]));
        assert_eq!(results[0].floats().unwrap(), [1.5]);
    }

    #[test]
    fn an_error_of_a_tenth_of_the_range_is_20_decibels_and_a_twentieth_26() {
        for (difference, psnr) in [(0.2, 20.0), (0.1, 26.020_599_9)] {
            let pair =
                [picture([difference, -1.0, 0.0, 1.0 - difference]), picture([0.0, difference - 1.0, difference, 1.0])];
            let results = evaluate(&pair, |b, x| Ok(vec![pixel_errors(b, x[0], x[1])?.psnr]));
            let found = results[0].floats().unwrap()[0];
            assert!((found - psnr).abs() < 1e-7, "{found}");
        }
    }

    #[test]
    fn gradient_of_the_channel_sum_of_a_worked_example() {
        let pair = [picture([0.0, 1.0, 1.0, 0.0]), picture([0.0, 0.0, 0.0, 0.5])];
        let results = evaluate(&pair, |b, x| Ok(vec![gradient_of_channel_sum(b, x[0], x[1])?]));
        assert_eq!(results[0].floats().unwrap(), [1.75]);
    }
}
