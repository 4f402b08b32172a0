//! Anomaly maps for people and for other tools: 32-bit TIFF in the tree of MVTec's evaluation, and PNG over the picture.

use std::io::Cursor;
use std::path::Path;

use image::{Rgb, RgbImage};
use mimus_core::plugin::{Pixels, Split};
use mimus_core::{Error, ErrorKind, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tiff::encoder::{TiffEncoder, colortype::Gray32Float};

use crate::cell::{Scores, Workshop};
use crate::files;
use crate::folder::plain;
use crate::images::resize_map;
use crate::samples::Samples;

/// Writes what the configuration asks for below `maps/<model>/<variant>/seed<seed>/<group>` and `overlays/...`.
pub(crate) fn write(
    shop: &Workshop<'_>,
    variant: &str,
    seed: u64,
    scores: &Scores,
    samples: &Samples<'_>,
) -> Result<()> {
    let eval = &shop.plan.config.eval;
    let Some(maps) = scores.maps.as_ref().filter(|_| eval.maps || eval.overlays) else { return Ok(()) };
    let range = Range::of(&maps.sample(DRAWN_BY)?);
    let label = plain(&shop.plan.models[shop.model].label);
    let below = Path::new(&label).join(plain(variant)).join(format!("seed{seed}")).join(plain(&shop.data().name));
    let one = |i: usize| {
        let (position, frame) = (samples.position(i), samples.truth(i)?);
        let (info, size) = (&shop.data().test[position], frame.size);
        let map = resize_map(&maps.read(i)?, maps.extents(i), size);
        let file = |kind: &str, extension: &str| {
            let parts = info.id.split('/').map(plain).collect::<Vec<_>>().join("/");
            shop.folder.path(kind).join(&below).join(format!("{parts}.{extension}"))
        };
        if eval.maps {
            write_tiff(&file("maps", "tiff"), &map, size)?;
        }
        if eval.overlays {
            let sample = shop.plan.data.read(shop.group, Split::Test, position)?;
            write_overlay(&file("overlays", "png"), &sample.pixels, &map, frame.mask.as_deref(), range)?;
        }
        Ok(())
    };
    (0..maps.len()).into_par_iter().try_for_each(one)
}

/// Scores that decide which colours a cell's maps are drawn in, at most about.
pub(crate) const DRAWN_BY: usize = 1 << 22;

/// Writes scores as they are, one 32-bit float for each pixel.
pub(crate) fn write_tiff(path: &Path, map: &[f32], [height, width]: [usize; 2]) -> Result<()> {
    let failed = |error: tiff::TiffError| Error::new(ErrorKind::Io, error.to_string()).with("file", path.display());
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).map_err(failed)?;
    encoder.write_image::<Gray32Float>(width as u32, height as u32, map).map_err(failed)?;
    files::write(path, &bytes.into_inner())
}

/// Scores that are drawn as nothing and as the full colour.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Range {
    low: f32,
    high: f32,
}

impl Range {
    /// From the median to the highest thousandth of all scores.
    pub(crate) fn of(values: &[f32]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        let at = |share: f64| sorted.get((share * (sorted.len() as f64 - 1.0)) as usize).copied().unwrap_or(0.0);
        Self { low: at(0.5), high: at(0.999) }
    }

    fn share(self, score: f32) -> f32 {
        ((score - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// Colours from no anomaly to the strongest: black, purple, red, orange, yellow.
const COLORS: [[f32; 3]; 5] =
    [[0.0, 0.0, 4.0], [87.0, 16.0, 110.0], [188.0, 55.0, 84.0], [249.0, 142.0, 9.0], [252.0, 255.0, 164.0]];

/// Outline of the mask.
const OUTLINE: Rgb<u8> = Rgb([0, 255, 128]);

/// Draws the map over the picture, and the mask's outline over both.
pub(crate) fn write_overlay(
    path: &Path,
    pixels: &Pixels,
    map: &[f32],
    mask: Option<&[u8]>,
    range: Range,
) -> Result<()> {
    let [height, width] = [pixels.height, pixels.width];
    let mut drawn = RgbImage::new(width as u32, height as u32);
    for (i, target) in drawn.pixels_mut().enumerate() {
        let source = &pixels.bytes[i * pixels.channels..][..pixels.channels];
        let share = range.share(map[i]);
        let color = color(share);
        let alpha = 0.75 * share;
        let mix = |channel: usize| {
            let below = f32::from(source[channel.min(pixels.channels - 1)]);
            ((1.0 - alpha) * below + alpha * color[channel]) as u8
        };
        *target = if mask.is_some_and(|mask| on_edge(mask, [height, width], i)) {
            OUTLINE
        } else {
            Rgb([mix(0), mix(1), mix(2)])
        };
    }
    files::write_png(path, &drawn)
}

fn color(share: f32) -> [f32; 3] {
    let place = share * (COLORS.len() - 1) as f32;
    let lower = (place as usize).min(COLORS.len() - 2);
    let t = place - lower as f32;
    std::array::from_fn(|channel| (1.0 - t) * COLORS[lower][channel] + t * COLORS[lower + 1][channel])
}

/// Whether an anomalous pixel has a neighbour that is not, or lies at the border.
fn on_edge(mask: &[u8], [height, width]: [usize; 2], i: usize) -> bool {
    let (y, x) = (i / width, i % width);
    let inner = y > 0 && x > 0 && y + 1 < height && x + 1 < width;
    mask[i] != 0 && (!inner || [i - 1, i + 1, i - width, i + width].iter().any(|i| mask[*i] == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiff_holds_the_scores_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tiff");
        let map = [0.1_f32, -3.5, 1e-30, 7.0, 8.0, 9.0];
        write_tiff(&path, &map, [2, 3]).unwrap();
        let mut decoder = tiff::decoder::Decoder::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(decoder.dimensions().unwrap(), (3, 2));
        let tiff::decoder::DecodingResult::F32(read) = decoder.read_image().unwrap() else { unreachable!() };
        assert_eq!(read, map);
    }

    #[test]
    fn only_the_rim_of_a_mask_is_outlined() {
        let mask = [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0];
        let edge: Vec<usize> = (0..25).filter(|i| on_edge(&mask, [5, 5], *i)).collect();
        assert_eq!(edge, [6, 7, 8, 11, 13, 16, 17, 18]);
    }
}
