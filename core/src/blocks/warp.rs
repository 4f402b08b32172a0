//! Pictures sampled at places that are values themselves, so that a network can learn where to look (Jaderberg et al., "Spatial
//! Transformer Networks", NeurIPS 2015).

use super::memory::{restore, rows};
use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};
use crate::tensor::{Dtype, HostTensor};

/// The grid `[1, 2, H, W]` at which every pixel is sampled where it is: x, then y, from -1 at the centre of the first to 1 at that of
/// the last pixel (-1 where there is one only).
///
/// # Errors
/// If an extent is 0.
pub fn identity(b: &mut Builder, [height, width]: [usize; 2]) -> Result<ValueId> {
    let line = |extent: usize| {
        let last = extent.saturating_sub(1).max(1) as f64;
        (0..extent).map(|i| (2.0 * i as f64 / last - 1.0) as f32).collect()
    };
    let x = b.constant(HostTensor::f32([1, 1, 1, width], line(width))?)?;
    let y = b.constant(HostTensor::f32([1, 1, height, 1], line(height))?)?;
    let [x, y] = [b.broadcast(x, [1, 1, height, width])?, b.broadcast(y, [1, 1, height, width])?];
    b.concat(&[x, y], 1)
}

/// `x [N, C, H, W]` at the places of `grid [N, 2, h, w]` (as in [`identity`]) by bilinear interpolation with zeros outside:
/// `[N, C, h, w]`, as PyTorch's `grid_sample` with `align_corners` gives it for a grid with its last axis in front. Gradients flow to
/// both; at the centre of a pixel that to the grid is the one towards the next pixel. Places must be finite.
///
/// # Errors
/// If the shapes do not fit.
pub fn sample(b: &mut Builder, x: ValueId, grid: ValueId) -> Result<ValueId> {
    let (&[n, c, height, width], &[samples, 2, h, w]) = (b.shape(x), b.shape(grid)) else {
        let message = format!("expects [N, C, H, W] and a grid [N, 2, h, w], found {:?}", [b.shape(x), b.shape(grid)]);
        return Err(Error::graph(message));
    };
    if samples != n {
        return Err(Error::graph(format!("there are {n} pictures and {samples} grids")));
    }
    // A ring of zeros; what is further outside is as far outside as the ring.
    let ringed = b.pad(x, &[0, 0, 1, 1], &[0, 0, 1, 1], 0.0)?;
    let pixels = rows(b, ringed)?;
    let stride = width + 2;
    let [column, right] = cell(b, grid, 0, width)?;
    let [row, down] = cell(b, grid, 1, height)?;
    let first = (0..n).map(|sample| (sample * (height + 2) * stride) as i64).collect();
    let first = b.constant(HostTensor::i64([n, 1, 1, 1], first)?)?;
    let length = b.constant(HostTensor::i64([], vec![stride as i64])?)?;
    let row = b.mul(row, length)?;
    let corner = b.add(row, column)?;
    let corner = b.add(corner, first)?;
    let corner = b.reshape(corner, [n * h * w])?;
    let [left, up] = [b.affine(right, -1.0, 1.0)?, b.affine(down, -1.0, 1.0)?];
    let mut sum = None;
    for (offset, vertical, horizontal) in
        [(0, up, left), (1, up, right), (stride, down, left), (stride + 1, down, right)]
    {
        let offset = b.constant(HostTensor::i64([], vec![offset as i64])?)?;
        let at = b.add(corner, offset)?;
        let found = b.gather(pixels, at)?;
        let weight = b.mul(vertical, horizontal)?;
        let weight = b.reshape(weight, [n * h * w, 1])?;
        let part = b.mul(found, weight)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => b.add(sum, part)?,
        });
    }
    let sum = sum.ok_or_else(|| Error::graph("a cell has no corner"))?;
    restore(b, sum, &[n, c, h, w])
}

/// Along `axis` of the grid (0 for x): the ringed pixel in front of every place, i64 `[N, 1, h, w]`, and how far behind its centre the
/// place is, from 0 to 1.
fn cell(b: &mut Builder, grid: ValueId, axis: usize, extent: usize) -> Result<[ValueId; 2]> {
    let mut ends = b.shape(grid).to_vec();
    ends[1] = axis + 1;
    let place = b.slice(grid, &[0, axis, 0, 0], &ends)?;
    let half = extent.saturating_sub(1) as f64 / 2.0;
    let place = b.affine(place, half, half + 1.0)?;
    let place = b.clamp(place, 0.0, (extent + 1) as f64)?;
    let most = b.scalar(extent as f64)?;
    let within = b.minimum(place, most)?;
    let index = b.cast(within, Dtype::I64)?;
    let front = b.cast(index, Dtype::F32)?;
    Ok([index, b.sub(place, front)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::pull_back;
    use crate::ops::testing::{evaluate, random};
    use crate::random::Stream;
    use crate::reference::{Array, Elements};

    fn sampled(x: &Array, grid: &Array) -> Vec<f64> {
        let results = evaluate(&[x.clone(), grid.clone()], |b, v| Ok(vec![sample(b, v[0], v[1])?]));
        results[0].floats().unwrap().to_vec()
    }

    #[test]
    fn the_identity_gives_the_picture_back() {
        let x = random(&mut Stream::keyed("picture"), &[2, 3, 4, 5], [-1.0, 1.0]);
        let results = evaluate(std::slice::from_ref(&x), |b, v| {
            let grid = identity(b, [4, 5])?;
            let grid = b.broadcast(grid, [2, 2, 4, 5])?;
            Ok(vec![sample(b, v[0], grid)?])
        });
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(results[0].floats().unwrap().iter().zip(x.floats().unwrap()).all(near));
    }

    #[test]
    fn places_between_pixels_are_interpolated_and_outside_there_are_zeros() {
        let x = Array::float([1, 1, 2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // x runs over pixels 0, 1, 2 and y over 0, 1: the middle, the pixel (0, 2), half a pixel left of (1, 0), two to the right.
        let places = [(0.0, 0.0, 3.5), (1.0, -1.0, 3.0), (-1.5, 1.0, 2.0), (3.0, -1.0, 0.0), (-0.5, -0.5, 2.25)];
        let axis = |pick: fn(&(f64, f64, f64)) -> f64| places.iter().map(pick).collect::<Vec<_>>();
        let grid = Array::float([1, 2, 1, 5], [axis(|p| p.0), axis(|p| p.1)].concat());
        assert_eq!(sampled(&x, &grid), axis(|p| p.2));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut stream = Stream::keyed("warp");
        let arrays = [
            random(&mut stream, &[2, 2, 3, 4], [-1.0, 1.0]),
            random(&mut stream, &[2, 2, 2, 3], [-1.6, 1.6]),
            random(&mut stream, &[2, 2, 2, 3], [-1.0, 1.0]),
        ];
        let analytic = evaluate(&arrays, |b, v| {
            let y = sample(b, v[0], v[1])?;
            let gradients = pull_back(b, &[(y, v[2])], &v[..2])?;
            Ok(gradients.into_iter().map(|gradient| gradient.unwrap()).collect())
        });
        let project = |arrays: &[Array]| -> f64 {
            let g = arrays[2].floats().unwrap();
            sampled(&arrays[0], &arrays[1]).iter().zip(g).map(|(y, g)| y * g).sum()
        };
        for (i, analytic) in analytic.iter().enumerate() {
            for (j, found) in analytic.floats().unwrap().iter().enumerate() {
                let shifted = |step: f64| {
                    let mut arrays = arrays.clone();
                    let Elements::Float(elements) = &mut arrays[i].elements else { unreachable!() };
                    elements[j] += step;
                    project(&arrays)
                };
                let numeric = (shifted(1e-6) - shifted(-1e-6)) / 2e-6;
                assert!((numeric - found).abs() < 1e-7, "input {i} element {j}: {found} is not {numeric}");
            }
        }
    }

    #[test]
    fn grids_that_do_not_fit_are_refused() {
        let mut b = Builder::new("test");
        let x = b.fill([2, 1, 3, 3], 0.0).unwrap();
        let grid = b.fill([1, 2, 3, 3], 0.0).unwrap();
        assert_eq!(sample(&mut b, x, grid).unwrap_err().message(), "there are 2 pictures and 1 grids");
        let sentence = "expects [N, C, H, W] and a grid [N, 2, h, w], found [[2, 1, 3, 3], [2, 1, 3, 3]]";
        assert_eq!(sample(&mut b, x, x).unwrap_err().message(), sentence);
    }
}
