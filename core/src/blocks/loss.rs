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
