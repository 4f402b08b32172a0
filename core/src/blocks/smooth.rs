//! Smoothing of score maps.

use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};
use crate::tensor::HostTensor;

/// Standard deviations after which the Gaussian is cut off, as in SciPy.
const TRUNCATE: f64 = 4.0;

/// Gaussian smoothing of every plane of `x [N, C, H, W]`, as `scipy.ndimage.gaussian_filter` with its defaults does it: the kernel
/// reaches `round(4 sigma)` pixels and sums to 1, the picture is mirrored at its border with the border repeated. `sigma` 0 leaves
/// `x` as it is.
///
/// # Errors
/// If `x` is not of rank 4.
pub fn gaussian(b: &mut Builder, x: ValueId, sigma: f64) -> Result<ValueId> {
    if sigma == 0.0 {
        return Ok(x);
    }
    let &[n, c, height, width] = b.shape(x) else {
        return Err(Error::graph(format!("expects maps [N, C, H, W], found shape {:?}", b.shape(x))));
    };
    // One pass for each axis, a product with the matrix that mixes its pixels: the border is part of the matrix.
    let mut y = x;
    for (rows, columns) in [(height, width), (width, height)] {
        let mixed = b.constant(mixing(columns, sigma)?)?;
        let flat = b.reshape(y, [n * c * rows, columns])?;
        let smooth = b.matmul(flat, mixed)?;
        let planes = b.reshape(smooth, [n, c, rows, columns])?;
        y = b.permute(planes, &[0, 1, 3, 2])?;
    }
    Ok(y)
}

/// The matrix `[extent, extent]` by which a row of pixels is multiplied from the right.
fn mixing(extent: usize, sigma: f64) -> Result<HostTensor> {
    let radius = (TRUNCATE * sigma + 0.5) as i64;
    let weight = |distance: i64| (-0.5 * (distance as f64 / sigma).powi(2)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let mut matrix = vec![0.0; extent * extent];
    for to in 0..extent {
        for distance in -radius..=radius {
            matrix[mirrored(to as i64 + distance, extent) * extent + to] += weight(distance) / total;
        }
    }
    HostTensor::f32([extent, extent], matrix.into_iter().map(|x: f64| x as f32).collect())
}

/// The pixel that stands at `place`, which may be outside.
fn mirrored(place: i64, extent: usize) -> usize {
    let folded = place.rem_euclid(2 * extent as i64) as usize;
    folded.min(2 * extent - 1 - folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    fn smooth(x: &Array, sigma: f64) -> Vec<f64> {
        let results = evaluate(std::slice::from_ref(x), |b, x| Ok(vec![gaussian(b, x[0], sigma)?]));
        assert_eq!(results[0].shape, x.shape);
        results[0].floats().unwrap().to_vec()
    }

    #[test]
    fn a_point_becomes_the_kernel_in_both_directions() {
        let mut plane = vec![0.0; 15 * 12];
        plane[7 * 12 + 6] = 1.0;
        let smoothed = smooth(&Array::float([1, 1, 15, 12], plane), 1.0);
        // Weights exp(-d^2 / 2) for distances up to 4, divided by their sum.
        let weights = [1.0, 0.606_530_659_7, 0.135_335_283_2, 0.011_108_996_5, 0.000_335_462_6];
        let total: f64 = 2.0 * weights[1..].iter().sum::<f64>() + weights[0];
        for (row, column) in [(7, 6), (5, 6), (7, 9), (6, 4), (3, 10)] {
            let [down, right] = [row - 7i64, column - 6i64].map(|d| weights[d.unsigned_abs() as usize] / total);
            let found = smoothed[(row * 12 + column) as usize];
            assert!((found - down * right).abs() < 1e-7, "({row}, {column}) is {found}");
        }
        assert_eq!(smoothed[2 * 12 + 6], 0.0);
    }

    #[test]
    fn borders_are_mirrored_with_the_border_repeated() {
        // d c b a | a b c d | d c b a: the mean of a constant is kept, and the kernel at the border folds onto the inside.
        let plane = Array::float([1, 1, 1, 4], vec![1.0, 0.0, 0.0, 0.0]);
        let smoothed = smooth(&plane, 0.5);
        let weights = [1.0, (-2.0f64).exp(), (-8.0f64).exp()];
        let total = weights[0] + 2.0 * (weights[1] + weights[2]);
        let expected = [weights[0] + weights[1], weights[1] + weights[2], weights[2], 0.0].map(|w| w / total);
        assert!(smoothed.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{smoothed:?}");
        let constant = smooth(&Array::float([1, 2, 3, 2], vec![2.0; 12]), 4.0);
        assert!(constant.iter().all(|x| (x - 2.0).abs() < 1e-6));
    }
}
