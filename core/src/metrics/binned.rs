//! Pixel metrics of images drawn again and again: each image is counted into bins once, a resample only adds up the counts.
//!
//! For confidence intervals alone; the metric itself is always exact ([`super::PixelScores`]).

use super::overlap::share_of_limit;
use super::pixel::{PixelMetrics, key_of};
use super::ranking::{Sweep, Tie};
use super::regions::check_size;
use super::{Metric, Regions};
use crate::error::{Error, Result};

/// Bits of a key that the first look at the table uses.
const TABLE_BITS: u32 = 16;

/// Intervals of scores, narrow where scores are dense.
#[derive(Clone, Debug)]
pub struct PixelBins {
    /// Ascending keys; bin `i` holds the keys from edge `i - 1` up to below edge `i`.
    edges: Vec<u32>,
    /// For each value of a key's highest bits, the number of edges below it.
    table: Vec<usize>,
}

/// One image in bins, or several.
#[derive(Clone, Debug)]
pub struct BinnedImage {
    /// Normal pixels of each bin.
    normal: Vec<u64>,
    /// Anomalous pixels of each bin.
    anomalous: Vec<u64>,
    /// Sum over regions of the share of the region's pixels in each bin.
    overlap: Vec<f64>,
    regions: usize,
}

impl PixelBins {
    /// Bins between ascending keys, which may repeat.
    pub(super) fn new(mut edges: Vec<u32>) -> Self {
        edges.sort_unstable();
        edges.dedup();
        let below = |high: u32| edges.partition_point(|edge| *edge <= high << (32 - TABLE_BITS));
        let table = (0..1 << TABLE_BITS).map(below).collect();
        Self { edges, table }
    }

    fn len(&self) -> usize {
        self.edges.len() + 1
    }

    fn position(&self, score: f32) -> usize {
        let key = key_of(score);
        let start = self.table[(key >> (32 - TABLE_BITS)) as usize];
        start + self.edges[start..].iter().take_while(|edge| **edge <= key).count()
    }

    /// No image.
    pub fn none(&self) -> BinnedImage {
        let counts = || vec![0; self.len()];
        BinnedImage { normal: counts(), anomalous: counts(), overlap: vec![0.0; self.len()], regions: 0 }
    }

    /// Counts an image of `[H, W]` pixels: arguments as those of [`super::PixelScores::add`].
    ///
    /// # Errors
    /// If a length is not `H * W`.
    pub fn image(&self, shape: [usize; 2], map: &[f32], mask: Option<&[u8]>) -> Result<BinnedImage> {
        check_size("score map", map.len(), shape)?;
        let mut image = self.none();
        let Some(mask) = mask else {
            map.iter().for_each(|score| image.normal[self.position(*score)] += 1);
            return Ok(image);
        };
        let regions = Regions::label(shape, mask)?;
        image.regions = regions.sizes.len();
        for (score, label) in map.iter().zip(&regions.labels) {
            let bin = self.position(*score);
            match label {
                0 => image.normal[bin] += 1,
                _ => {
                    image.anomalous[bin] += 1;
                    image.overlap[bin] += 1.0 / regions.sizes[label - 1] as f64;
                }
            }
        }
        Ok(image)
    }

    /// Several images counted as one, for what is always drawn together: all frames of a video.
    ///
    /// # Errors
    /// If an image was counted in other bins.
    pub fn add(&self, sum: &mut BinnedImage, image: &BinnedImage) -> Result<()> {
        if [sum.normal.len(), image.normal.len()] != [self.len(); 2] {
            return Err(Error::data("an image was counted in other bins"));
        }
        sum.normal.iter_mut().zip(&image.normal).for_each(|(sum, count)| *sum += count);
        sum.anomalous.iter_mut().zip(&image.anomalous).for_each(|(sum, count)| *sum += count);
        sum.overlap.iter_mut().zip(&image.overlap).for_each(|(sum, share)| *sum += share);
        sum.regions += image.regions;
        Ok(())
    }

    /// The metrics of the images at the positions `drawn`, which may repeat; scores of one bin count as tied.
    ///
    /// # Errors
    /// If an image was counted in other bins.
    pub fn metrics(&self, images: &[BinnedImage], drawn: &[usize], limit: f64) -> Result<PixelMetrics> {
        let mut times = vec![0_u32; images.len()];
        drawn.iter().for_each(|image| times[*image] += 1);
        let (mut normal, mut anomalous) = (vec![0_u64; self.len()], vec![0_u64; self.len()]);
        let (mut overlap, mut regions) = (vec![0.0; self.len()], 0);
        for (image, times) in images.iter().zip(times).filter(|(_, times)| *times > 0) {
            if image.normal.len() != self.len() {
                return Err(Error::data("an image was counted in other bins"));
            }
            let add = |sum: &mut u64, count: &u64| *sum += u64::from(times) * count;
            normal.iter_mut().zip(&image.normal).for_each(|(sum, count)| add(sum, count));
            if image.regions > 0 {
                anomalous.iter_mut().zip(&image.anomalous).for_each(|(sum, count)| add(sum, count));
                overlap.iter_mut().zip(&image.overlap).for_each(|(sum, share)| *sum += f64::from(times) * share);
                regions += times as usize * image.regions;
            }
        }
        Ok(sweep(&normal, &anomalous, &overlap, regions, limit))
    }
}

/// The metrics of counts by bin, lowest scores first.
fn sweep(normal: &[u64], anomalous: &[u64], overlap: &[f64], regions: usize, limit: f64) -> PixelMetrics {
    let total: u64 = normal.iter().sum();
    let mut sweep = Sweep::new(anomalous.iter().sum(), total);
    let mut area = 0.0;
    for bin in (0..normal.len()).rev().filter(|bin| normal[*bin] + anomalous[*bin] > 0) {
        let before = sweep.false_positives() as f64;
        sweep.lower_to(Tie { score: bin as f64, anomalous: anomalous[bin], normal: normal[bin] });
        area += overlap[bin] * share_of_limit(limit * total as f64, before, before + normal[bin] as f64);
    }
    let aupro = match (regions, total) {
        (0, _) => Metric::Undefined("no anomalous pixel".to_owned()),
        (_, 0) => Metric::Undefined("no normal pixel".to_owned()),
        _ => Metric::Value(area / regions as f64),
    };
    PixelMetrics { ranking: sweep.finish("pixel"), aupro, regions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::PixelScores;
    use crate::random::Stream;

    const SHAPE: [usize; 2] = [16, 16];

    fn images() -> Vec<(Vec<f32>, Vec<u8>)> {
        let mut stream = Stream::keyed("binned");
        let image = |i: usize| {
            let mask: Vec<u8> =
                (0..256).map(|at| u8::from(i.is_multiple_of(3) && (at / 16) % 5 < 2 && at % 16 > 9)).collect();
            let map = mask.iter().map(|m| (stream.normal() + f64::from(*m)) as f32).collect();
            (map, mask)
        };
        (0..9).map(image).collect()
    }

    fn exact(images: &[(Vec<f32>, Vec<u8>)], drawn: &[usize]) -> PixelScores {
        let mut scores = PixelScores::new();
        drawn.iter().for_each(|i| scores.add(SHAPE, &images[*i].0, Some(&images[*i].1)).unwrap());
        scores
    }

    #[test]
    fn with_a_bin_for_every_score_a_resample_is_exact() {
        let images = images();
        let all: Vec<usize> = (0..images.len()).collect();
        let bins = exact(&images, &all).bins(100_000);
        let binned: Vec<BinnedImage> =
            images.iter().map(|(map, mask)| bins.image(SHAPE, map, Some(mask)).unwrap()).collect();
        for drawn in [all, vec![0, 0, 1, 3, 3, 3, 5, 8, 8]] {
            let (found, expected) =
                (bins.metrics(&binned, &drawn, 0.3).unwrap(), exact(&images, &drawn).finish(0.3).unwrap());
            assert_eq!(found.regions, expected.regions);
            let pairs = [
                (&found.aupro, &expected.aupro),
                (&found.ranking.auroc, &expected.ranking.auroc),
                (&found.ranking.ap, &expected.ranking.ap),
                (&found.ranking.f1max, &expected.ranking.f1max),
            ];
            for (found, expected) in pairs {
                assert!((found.value().unwrap() - expected.value().unwrap()).abs() < 1e-12, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn few_bins_come_close_and_a_missing_class_is_undefined() {
        let images = images();
        let all: Vec<usize> = (0..images.len()).collect();
        let bins = exact(&images, &all).bins(64);
        let binned: Vec<BinnedImage> =
            images.iter().map(|(map, mask)| bins.image(SHAPE, map, Some(mask)).unwrap()).collect();
        let (found, expected) = (bins.metrics(&binned, &all, 0.3).unwrap(), exact(&images, &all).finish(0.3).unwrap());
        assert!((found.aupro.value().unwrap() - expected.aupro.value().unwrap()).abs() < 5e-3);
        assert_eq!(bins.metrics(&binned, &[1, 2], 0.3).unwrap().aupro.reason(), Some("no anomalous pixel"));
    }
}
