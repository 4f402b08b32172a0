//! What becomes of pixels before a model sees them: colour, size, scale.

use mimus_core::plugin::{Color, Pixels, Preprocessing};
use mimus_core::{Error, Result};

use crate::regions::Region;

/// A picture as the model sees it, and its mask as it was published.
pub(crate) struct Picture {
    /// `[C, H, W]`, preprocessed.
    pub(crate) values: Vec<f32>,
    /// Anomalous pixels of the original size, nonzero where anomalous.
    pub(crate) mask: Option<Vec<u8>>,
    /// Height and width before resizing.
    pub(crate) size: [usize; 2],
}

/// A decoded picture as the model sees it.
pub(crate) fn picture(
    pixels: &Pixels,
    mask: Option<Vec<u8>>,
    preprocessing: &Preprocessing,
    size: [usize; 2],
) -> Result<Picture> {
    let values = prepare(pixels, preprocessing, size)?;
    Ok(Picture { values, mask, size: [pixels.height, pixels.width] })
}

fn prepare(pixels: &Pixels, preprocessing: &Preprocessing, to: [usize; 2]) -> Result<Vec<f32>> {
    let from = [pixels.height, pixels.width];
    planes(pixels, preprocessing, |plane| shrink(plane, from, to))
}

/// A region of a decoded picture as the model sees it, `[C, H, W]`: bilinear between pixel centres without antialiasing, as OpenCV does
/// and the official code of models of regions with it; not rounded to 8 bits, which that code does.
pub(crate) fn region(
    pixels: &Pixels,
    region: &Region,
    preprocessing: &Preprocessing,
    to: [usize; 2],
) -> Result<Vec<f32>> {
    let Region { x1, y1, x2, y2 } = *region;
    if !(x1 < x2 && y1 < y2 && x2 <= pixels.width && y2 <= pixels.height) {
        let [h, w] = [pixels.height, pixels.width];
        return Err(Error::data(format!("the region {region:?} is not within the {h} x {w} pixels of its frame")));
    }
    let row = |y: usize| &pixels.bytes[(y * pixels.width + x1) * pixels.channels..][..(x2 - x1) * pixels.channels];
    let bytes = (y1..y2).flat_map(row).copied().collect::<Vec<u8>>().into();
    let (height, width) = (y2 - y1, x2 - x1);
    let cropped = Pixels { height, width, channels: pixels.channels, bytes };
    planes(&cropped, preprocessing, |plane| stretch(plane, [height, width], to))
}

/// Every channel of the input, as `sized` brings it to its size, on the input's scale.
fn planes(pixels: &Pixels, preprocessing: &Preprocessing, sized: impl Fn(&[f32]) -> Vec<f32>) -> Result<Vec<f32>> {
    check(pixels)?;
    let mut values = Vec::new();
    for channel in 0..preprocessing.color.channels() {
        let plane = plane(pixels, preprocessing.color, channel);
        let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
        values.extend(sized(&plane).iter().map(|v| ((f64::from(*v) / 255.0 - mean) / std) as f32));
    }
    Ok(values)
}

fn check(pixels: &Pixels) -> Result<()> {
    if pixels.bytes.len() != pixels.height * pixels.width * pixels.channels || !matches!(pixels.channels, 1 | 3) {
        return Err(Error::data("the data set gave a picture whose bytes do not fit its extents"));
    }
    Ok(())
}

fn plane(pixels: &Pixels, color: Color, channel: usize) -> Vec<f32> {
    pixels.bytes.chunks_exact(pixels.channels).map(|p| value(p, color, channel)).collect()
}

/// Gray levels from 0 to 255 of a picture at its own size.
pub(crate) fn gray(pixels: &Pixels) -> Result<Vec<f32>> {
    check(pixels)?;
    Ok(plane(pixels, Color::Gray, 0))
}

/// A plane `[H, W]` resized bilinearly between pixel centres, without antialiasing; beyond the rim its outermost pixels count.
pub(crate) fn stretch(plane: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let (rows, columns) = (neighbours(h, height), neighbours(w, width));
    let mut values = Vec::with_capacity(height * width);
    for (top, bottom, down) in rows {
        let (above, below) = (&plane[top * w..][..w], &plane[bottom * w..][..w]);
        for (left, right, across) in &columns {
            let along = |row: &[f32]| row[*left] + across * (row[*right] - row[*left]);
            values.push(along(above) + down * (along(below) - along(above)));
        }
    }
    values
}

/// For each of `to` places along `from`: the two pixels around it and the weight of the second.
fn neighbours(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f64 / to as f64;
    let place = |target: usize| {
        let place = ((target as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let first = place as usize;
        (first, (first + 1).min(from - 1), (place - first as f64) as f32)
    };
    (0..to).map(place).collect()
}

/// ITU-R 601 weights from colour to gray; gray is repeated.
fn value(pixel: &[u8], color: Color, channel: usize) -> f32 {
    match (pixel, color) {
        ([gray], _) => f32::from(*gray),
        ([r, g, b], Color::Gray) => 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b),
        (rgb, Color::Bgr) => f32::from(rgb[2 - channel]),
        (rgb, Color::Rgb) => f32::from(rgb[channel]),
        _ => 0.0,
    }
}

/// Bilinear with antialiasing, as PIL and torchvision do: the triangle widens with the factor of reduction.
pub(crate) fn shrink(plane: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let rows = axis(plane, h, w, height);
    axis(&rows, w, 1, width)
}

/// `[outer, from, inner]` to `[outer, to, inner]`.
fn axis(values: &[f32], from: usize, inner: usize, to: usize) -> Vec<f32> {
    let weights: Vec<(usize, Vec<f32>)> = (0..to).map(|target| weights(from, to, target)).collect();
    let mut result = vec![0.0; values.len() / from * to];
    for (source, rows) in values.chunks_exact(from * inner).zip(result.chunks_exact_mut(to * inner)) {
        for ((first, weights), row) in weights.iter().zip(rows.chunks_exact_mut(inner)) {
            for (weight, x) in weights.iter().zip(source[first * inner..].chunks_exact(inner)) {
                row.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
            }
        }
    }
    result
}

/// The first source position that `target` reads, and the weights from there on: a triangle, normalised at the border.
pub(crate) fn weights(from: usize, to: usize, target: usize) -> (usize, Vec<f32>) {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let centre = (target as f64 + 0.5) * scale;
    let (first, last) = ((centre - support).max(0.0) as usize, ((centre + support).ceil() as usize).min(from));
    let weight = |i: usize| (1.0 - ((i as f64 + 0.5 - centre) / support).abs()).max(0.0);
    let total: f64 = (first..last).map(weight).sum();
    (first, (first..last).map(|i| (weight(i) / total) as f32).collect())
}

/// A score map resized to the extents of a mask.
pub(crate) fn resize_map(map: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    if from == to { map.to_vec() } else { shrink(map, from, to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduction_averages_and_enlargement_interpolates() {
        let constant = vec![3.0; 12];
        assert!(shrink(&constant, [3, 4], [5, 2]).iter().all(|x| (x - 3.0).abs() < 1e-6));
        // Halving with a triangle of width 2: weights 3/4, 3/4, 1/4 of the pixels within reach.
        let halved = shrink(&[0.0, 4.0, 8.0, 12.0], [1, 4], [1, 2]);
        assert!((halved[0] - 20.0 / 7.0).abs() < 1e-5 && (halved[1] - (12.0 - 20.0 / 7.0)).abs() < 1e-5, "{halved:?}");
        assert_eq!(shrink(&[0.0, 1.0], [1, 2], [1, 4]), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn a_region_is_cut_between_pixel_centres_and_never_reads_beyond_its_rim() {
        let pixels = Pixels { height: 4, width: 5, channels: 1, bytes: (0..20).collect::<Vec<u8>>().into() };
        let gray = Preprocessing { color: Color::Gray, mean: vec![0.0], std: vec![1.0 / 255.0] };
        let cut = |x2: usize, to| super::region(&pixels, &Region { x1: 1, y1: 1, x2, y2: 3 }, &gray, to);
        assert_eq!(cut(3, [2, 2]).unwrap(), [6.0, 7.0, 11.0, 12.0]);
        assert_eq!(cut(3, [1, 4]).unwrap(), [8.5, 8.75, 9.25, 9.5]);
        assert!(cut(6, [2, 2]).unwrap_err().message().contains("4 x 5 pixels"));
    }

    #[test]
    fn colour_becomes_gray_by_the_weights_of_itu_r_601_and_channels_change_order() {
        assert!((value(&[255, 0, 0], Color::Gray, 0) - 0.299 * 255.0).abs() < 1e-3);
        assert_eq!(value(&[1, 2, 3], Color::Bgr, 0), 3.0);
        assert_eq!(value(&[7], Color::Rgb, 2), 7.0);
    }
}
