//! Structural similarity (Wang et al., 2004) as DRAEM's published code computes it.

use super::loss::mean_all;
use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};
use crate::ops::Op;
use crate::tensor::HostTensor;

/// Extent of the Gaussian window.
const WINDOW: usize = 11;

/// Its standard deviation.
const SIGMA: f64 = 1.5;

/// The dynamic range L of the stabilising constants `(0.01 L)^2` and `(0.03 L)^2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// A number.
    Fixed(f64),
    /// As the published code guesses it from all values of the first image: upper end 255 if the largest is above 128, else 1; lower
    /// end -1 if the least is below -0.5, else 0.
    Guessed,
}

/// The window `[1, 1, 11, 11]`: the outer product of normalised Gaussian weights, rounded once to single precision, in which the
/// published code stores it.
///
/// # Errors
/// None; fallible as all tensors are.
pub fn window() -> Result<HostTensor> {
    let weight = |i: usize| (-(i as f64 - (WINDOW / 2) as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let weights: Vec<f64> = (0..WINDOW).map(weight).collect();
    let square = weights.iter().sum::<f64>().powi(2);
    let outer = weights.iter().flat_map(|a| weights.iter().map(move |b| (a * b / square) as f32)).collect();
    HostTensor::f32([1, 1, WINDOW, WINDOW], outer)
}

/// The similarity of `x` and `y`, both `[N, C, H, W]`, at every pixel of every channel, `[N, C, H, W]`: Gaussian means and biased
/// variances with zero padding 5. `range` is taken from `x` if it is guessed.
///
/// # Errors
/// If the shapes differ or are not those of images.
pub fn map(b: &mut Builder, x: ValueId, y: ValueId, range: Range) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    let [n, c, h, w] = shape[..] else {
        return Err(Error::graph(format!("SSIM compares images [N, C, H, W], found shape {shape:?}")));
    };
    // All moments go through one convolution, as planes of one channel.
    let planes = n * c;
    let squares = [b.mul(x, x)?, b.mul(y, y)?, b.mul(x, y)?];
    let all = b.concat(&[x, y, squares[0], squares[1], squares[2]], 0)?;
    let all = b.reshape(all, [5 * planes, 1, h, w])?;
    let window = b.constant(window()?)?;
    let op = Op::Conv { stride: vec![1; 2], padding: vec![WINDOW / 2; 2], dilation: vec![1; 2], groups: 1 };
    let moments = b.node(op, &[all, window])?;
    let moment = |b: &mut Builder, i: usize| {
        let plane = b.slice(moments, &[i * planes, 0, 0, 0], &[(i + 1) * planes, 1, h, w])?;
        b.reshape(plane, shape.clone())
    };
    let (mean_x, mean_y) = (moment(b, 0)?, moment(b, 1)?);
    let (xx, yy, xy) = (moment(b, 2)?, moment(b, 3)?, moment(b, 4)?);
    let (mean_xx, mean_yy, mean_xy) = (b.mul(mean_x, mean_x)?, b.mul(mean_y, mean_y)?, b.mul(mean_x, mean_y)?);
    let (var_x, var_y, covariance) = (b.sub(xx, mean_xx)?, b.sub(yy, mean_yy)?, b.sub(xy, mean_xy)?);
    let [c1, c2] = constants(b, x, range)?;
    let (twice_mean, twice_covariance) = (b.affine(mean_xy, 2.0, 0.0)?, b.affine(covariance, 2.0, 0.0)?);
    let above = [b.add(twice_mean, c1)?, b.add(twice_covariance, c2)?];
    let (means, variances) = (b.add(mean_xx, mean_yy)?, b.add(var_x, var_y)?);
    let below = [b.add(means, c1)?, b.add(variances, c2)?];
    let (above, below) = (b.mul(above[0], above[1])?, b.mul(below[0], below[1])?);
    b.div(above, below)
}

/// `1 - mean SSIM` over all pixels, channels and samples, a scalar (DRAEM, equation 1 with the window of the published code).
///
/// # Errors
/// As [`map`].
pub fn loss(b: &mut Builder, x: ValueId, y: ValueId, range: Range) -> Result<ValueId> {
    let map = map(b, x, y, range)?;
    let mean = mean_all(b, map)?;
    b.affine(mean, -1.0, 1.0)
}

/// `(0.01 L)^2` and `(0.03 L)^2`, scalars.
fn constants(b: &mut Builder, x: ValueId, range: Range) -> Result<[ValueId; 2]> {
    let range = match range {
        Range::Fixed(range) => b.scalar(range)?,
        Range::Guessed => guess(b, x)?,
    };
    let square = b.mul(range, range)?;
    Ok([b.affine(square, 0.01 * 0.01, 0.0)?, b.affine(square, 0.03 * 0.03, 0.0)?])
}

/// Comparisons carry no gradient, and neither does the guess.
fn guess(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (0..b.shape(x).len()).collect();
    let x = b.stop_gradient(x)?;
    let largest = b.max(x, &axes)?;
    let opposite = b.neg(x)?;
    let opposite_least = b.max(opposite, &axes)?;
    let (threshold, half) = (b.scalar(128.0)?, b.scalar(0.5)?);
    let (bytes, signed) = (b.less(threshold, largest)?, b.less(half, opposite_least)?);
    let upper = b.affine(bytes, 254.0, 1.0)?;
    b.add(upper, signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{evaluate, random};
    use crate::random::Stream;

    #[test]
    fn an_image_is_wholly_similar_to_itself_and_less_to_another() {
        let mut stream = Stream::keyed("ssim");
        let arrays = [random(&mut stream, &[2, 3, 9, 14], [0.0, 1.0]), random(&mut stream, &[2, 3, 9, 14], [0.0, 1.0])];
        let results = evaluate(&arrays, |b, x| {
            [[x[0], x[0]], [x[0], x[1]]].into_iter().map(|[x, y]| loss(b, x, y, Range::Guessed)).collect()
        });
        let value = |i: usize| results[i].floats().unwrap()[0];
        assert!(value(0).abs() < 1e-12);
        assert!((0.5..1.0).contains(&value(1)), "{}", value(1));
    }

    #[test]
    fn the_guessed_range_depends_on_the_extrema_of_the_first_image() {
        for (lo, hi, expected) in
            [(0.0, 1.0, 1.0), (-0.6, 1.0, 2.0), (-0.5, 128.0, 1.0), (0.0, 129.0, 255.0), (-1.0, 255.0, 256.0)]
        {
            let x = crate::reference::Array::float([1, 1, 1, 2], vec![lo, hi]);
            let results = evaluate(&[x], |b, x| Ok(vec![guess(b, x[0])?]));
            assert_eq!(results[0].floats().unwrap(), [expected], "{lo} {hi}");
        }
    }
}
