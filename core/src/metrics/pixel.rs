//! Pixel metrics of a whole category, exact, in 4 bytes for a normal pixel and 8 for an anomalous one; in temporary files where they are
//! more than memory should hold.

use serde::{Deserialize, Serialize};

use super::overlap::RegionOverlap;
use super::ranking::{Sweep, Tie, not_a_number};
use super::regions::check_size;
use super::runs::{Descending, Sorting};
use super::{Metric, PixelBins, Ranking, Regions};
use crate::error::{Error, Result};

/// The pixel metrics of one category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelMetrics {
    /// AUROC, average precision and F1max over the pixels of all images.
    pub ranking: Ranking,
    /// Area under the per-region overlap curve up to the limit, divided by the limit. Undefined if no pixel is anomalous,
    /// or none normal.
    pub aupro: Metric,
    /// 8-connected anomalous regions over all images.
    pub regions: usize,
}

/// Pixel scores, collected image by image. Images may differ in size.
#[derive(Debug, Default)]
pub struct PixelScores {
    /// Keys of the normal pixels.
    normal: Sorting<u32>,
    /// Anomalous pixels: the key above, the region below, so that sorting groups equal scores.
    anomalous: Sorting<u64>,
    /// Pixels of each region.
    region_sizes: Vec<u64>,
}

impl PixelScores {
    /// No image yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an image of `[H, W]` pixels: its raw anomaly `map` and its `mask` (nonzero = anomalous), both row-major;
    /// without a mask every pixel is normal.
    ///
    /// # Errors
    /// If a score is not a number (context: row and column), or a length is not `H * W`; nothing is added then. If the disk is full.
    pub fn add(&mut self, shape: [usize; 2], map: &[f32], mask: Option<&[u8]>) -> Result<()> {
        check_size("score map", map.len(), shape)?;
        if let Some(at) = map.iter().position(|score| score.is_nan()) {
            let [_, width] = shape;
            return Err(not_a_number().with("column", at % width).with("row", at / width));
        }
        match mask {
            Some(mask) => self.add_regions(map, &Regions::label(shape, mask)?),
            None => self.normal.extend(map.iter().map(|&score| key_of(score))),
        }
    }

    fn add_regions(&mut self, map: &[f32], regions: &Regions) -> Result<()> {
        let first = self.region_sizes.len();
        if u32::try_from(first + regions.sizes.len()).is_err() {
            return Err(Error::data("the masks have more than 4294967295 regions"));
        }
        let labelled = || map.iter().map(|score| key_of(*score)).zip(&regions.labels);
        self.normal.extend(labelled().filter(|(_, label)| **label == 0).map(|(key, _)| key))?;
        let of_region = |(key, label): (u32, &usize)| (u64::from(key) << 32) | (first + label - 1) as u64;
        self.anomalous.extend(labelled().filter(|(_, label)| **label != 0).map(of_region))?;
        self.region_sizes.extend(&regions.sizes);
        Ok(())
    }

    /// Bins whose edges are `count` quantiles of the normal and `count` of the anomalous scores, for resampling.
    pub fn bins(&mut self, count: usize) -> PixelBins {
        let mut edges = self.normal.quantiles(count);
        edges.extend(self.anomalous.quantiles(count).into_iter().map(|pixel| (pixel >> 32) as u32));
        PixelBins::new(edges)
    }

    /// The metrics of all images; AUPRO up to the false positive rate `limit` (0.3 for MVTec AD).
    ///
    /// # Errors
    /// If the limit is not in (0, 1], or temporary files cannot be read.
    pub fn finish(self, limit: f64) -> Result<PixelMetrics> {
        if !(limit > 0.0 && limit <= 1.0) {
            return Err(Error::config(format!("the limit of AUPRO is {limit}, outside (0, 1]"))
                .hint("0.3 is the usual limit, 0.05 the strict one"));
        }
        let normal = self.normal.len();
        let mut overlap = RegionOverlap::new(self.region_sizes.len(), normal, limit);
        let mut sweep = Sweep::new(self.anomalous.len(), normal);
        let (mut waiting, mut anomalous) = (self.normal.descending()?, self.anomalous.descending()?);
        // Only scores of anomalous pixels move any of the metrics; the normal ones between them are just counted.
        let mut regions = Vec::new();
        while let Some(pixel) = anomalous.largest()? {
            let key = (pixel >> 32) as u32;
            regions.clear();
            let tie = |tied: &[u64]| regions.extend(tied.iter().map(|pixel| (pixel & REGION) as usize));
            let count = anomalous.pass(|pixel| (pixel >> 32) as u32 == key, tie)?;
            sweep.pass_normal(passed(&mut waiting, |other| other > key)?);
            let before = sweep.false_positives();
            let tied = passed(&mut waiting, |other| other == key)?;
            sweep.lower_to(Tie { score: score_of(key).into(), anomalous: count, normal: tied });
            overlap.cover(regions.iter().copied(), before, before + tied);
        }
        let aupro = overlap.finish(&self.region_sizes);
        Ok(PixelMetrics { ranking: sweep.finish("pixel"), aupro, regions: self.region_sizes.len() })
    }
}

/// The bits of an anomalous pixel that hold its region.
const REGION: u64 = u32::MAX as u64;

/// How many of the largest keys `wanted` holds of; passes them.
fn passed(waiting: &mut Descending<u32>, wanted: impl Fn(u32) -> bool) -> Result<u64> {
    waiting.pass(wanted, |_| ())
}

/// An integer that orders as the score does: the bits of an IEEE number order by magnitude below the sign, so negative ones
/// are complemented and the others moved above them. Adding zero makes `-0.0` and `0.0` one key.
pub(super) fn key_of(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The score of a key.
fn score_of(key: u32) -> f32 {
    f32::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

const SIGN: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    type Image = (Vec<f32>, Vec<u8>);

    fn metrics(shape: [usize; 2], images: &[Image], limit: f64) -> PixelMetrics {
        let mut scores = PixelScores::new();
        for (map, mask) in images {
            scores.add(shape, map, Some(mask)).unwrap();
        }
        scores.finish(limit).unwrap()
    }

    fn hand_images() -> [Image; 2] {
        #[rustfmt::skip]
        let defective = vec![0.1, 0.2, 0.9, 0.3, 0.1, 0.2, 0.8, 0.4, 0.1, 0.6, 0.1, 0.1, 0.2, 0.7, 0.5, 0.0, 0.3, 0.1, 0.2, 0.1];
        #[rustfmt::skip]
        let good = vec![0.2, 0.1, 0.3, 0.1, 0.2, 0.1, 0.65, 0.2, 0.1, 0.0, 0.3, 0.1, 0.2, 0.4, 0.1, 0.1, 0.2, 0.1, 0.1, 0.2];
        let mask = (0..20).map(|at| u8::from([2, 6, 13, 14].contains(&at))).collect();
        [(defective, mask), (good, vec![0; 20])]
    }

    #[test]
    fn agrees_with_the_hand_vector_of_two_images() {
        for (limit, expected) in [(0.3, 0.953704), (0.05, 0.75)] {
            let found = metrics([4, 5], &hand_images(), limit);
            assert_eq!(found.regions, 2);
            assert!((found.aupro.value().unwrap() - expected).abs() < 5e-7, "{}", found.aupro);
        }
    }

    #[test]
    fn an_image_without_mask_is_normal_wherever_it_comes() {
        let [defective, good] = hand_images();
        let mut scores = PixelScores::new();
        scores.add([4, 5], &good.0, None).unwrap();
        scores.add([4, 5], &defective.0, Some(&defective.1)).unwrap();
        assert_eq!(scores.finish(0.3).unwrap(), metrics([4, 5], &[defective, good], 0.3));
    }

    #[test]
    fn perfect_maps_reach_exactly_one_and_constant_ones_half_the_limit() {
        let mask: Vec<u8> = (0..700).map(|at| u8::from(at % 7 < 3)).collect();
        let perfect = metrics([7, 100], &[(mask.iter().map(|&m| f32::from(m)).collect(), mask.clone())], 0.3);
        assert_eq!(perfect.aupro, Metric::Value(1.0));
        assert_eq!(perfect.ranking.auroc, Metric::Value(1.0));
        let constant = metrics([7, 100], &[(vec![0.25; 700], mask)], 0.3);
        assert!((constant.aupro.value().unwrap() - 0.15).abs() < 1e-15);
        assert_eq!(constant.ranking.f1max_threshold, Metric::Value(0.25));
    }

    #[test]
    fn a_missing_class_is_named() {
        let nothing = PixelScores::new().finish(0.3).unwrap();
        assert_eq!(
            (nothing.aupro.reason(), nothing.ranking.ap.reason()),
            (Some("no anomalous pixel"), Some("no anomalous pixel"))
        );
        let full = metrics([1, 2], &[(vec![0.1, 0.2], vec![255, 255])], 0.3);
        assert_eq!(
            (full.aupro.reason(), full.ranking.auroc.reason()),
            (Some("no normal pixel"), Some("no normal pixel"))
        );
    }

    #[test]
    fn a_refused_image_leaves_no_trace_and_says_where_it_is_wrong() {
        let mut scores = PixelScores::new();
        let nan = scores.add([2, 2], &[0.0, 1.0, f32::NAN, 0.0], Some(&[0, 1, 1, 0])).unwrap_err();
        assert_eq!(
            (nan.kind(), nan.context_value("row"), nan.context_value("column")),
            (ErrorKind::Numeric, Some("1"), Some("0"))
        );
        let size = scores.add([2, 2], &[0.0; 4], Some(&[0, 1])).unwrap_err();
        assert_eq!(size.message(), "the mask has 2 pixels, the image 2 x 2");
        assert!(scores.add([usize::MAX, 2], &[0.0; 4], None).is_err());
        assert_eq!((scores.normal.len(), scores.anomalous.len(), scores.region_sizes.len()), (0, 0, 0));
    }

    #[test]
    fn a_limit_outside_zero_to_one_is_refused() {
        for limit in [0.0, -0.3, 1.5, 30.0, f64::NAN] {
            assert_eq!(PixelScores::new().finish(limit).unwrap_err().kind(), ErrorKind::Config, "{limit}");
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_result() {
        let score = |at: u32| (at.wrapping_mul(2_654_435_761) >> 12) as f32;
        let images: Vec<Image> = (0..4u32)
            .map(|image| {
                (
                    (0..90_000).map(|at| score(at + image)).collect(),
                    (0..90_000).map(|at| u8::from(at % 83 < 9)).collect(),
                )
            })
            .collect();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| metrics([300, 300], &images, 0.3))
        };
        assert_eq!(on(1), on(3));
    }

    /// AUPRO from its definition: every distinct score is a threshold, the curve is built, cut at the limit and integrated.
    fn aupro_by_thresholds(shape: [usize; 2], images: &[Image], limit: f64) -> Option<f64> {
        let regions: Vec<Regions> = images.iter().map(|(_, mask)| Regions::label(shape, mask).unwrap()).collect();
        let normal = images.iter().flat_map(|(_, mask)| mask).filter(|&&inside| inside == 0).count() as f64;
        let count = regions.iter().map(|r| r.sizes.len()).sum::<usize>() as f64;
        let mut thresholds: Vec<f32> = images.iter().flat_map(|(map, _)| map).copied().collect();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        let mut curve = vec![(0.0, 0.0)];
        for threshold in thresholds {
            let (mut false_positives, mut overlap) = (0.0, 0.0);
            for ((map, _), regions) in images.iter().zip(&regions) {
                for (_, &label) in map.iter().zip(&regions.labels).filter(|(score, _)| **score >= threshold) {
                    match label {
                        0 => false_positives += 1.0,
                        _ => overlap += 1.0 / regions.sizes[label - 1] as f64,
                    }
                }
            }
            curve.push((false_positives / normal, overlap / count));
        }
        let mut area = 0.0;
        for pair in curve.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
            if x0 < limit && x1 > x0 {
                let end = x1.min(limit);
                let y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
                area += (end - x0) * (y0 + y_end) / 2.0;
            }
        }
        (normal > 0.0 && count > 0.0).then_some(area / limit)
    }

    /// Up to three images of one size, with coarse scores (ties) or fine ones.
    fn images() -> impl Strategy<Value = ([usize; 2], Vec<Image>)> {
        let shape = (1usize..9, 1usize..9, 1usize..4);
        shape.prop_flat_map(|(height, width, count)| {
            let score = prop_oneof![(-3..4i8).prop_map(f32::from), -1.0..1.0f32];
            let pixels = height * width;
            let image = (proptest::collection::vec(score, pixels), proptest::collection::vec(0u8..2, pixels));
            (Just([height, width]), proptest::collection::vec(image, count))
        })
    }

    proptest! {
        #[test]
        fn aupro_equals_the_curve_over_all_thresholds((shape, images) in images(), limit in 0.01..=1.0f64) {
            let found = metrics(shape, &images, limit).aupro.value();
            let expected = aupro_by_thresholds(shape, &images, limit);
            prop_assert_eq!(found.is_some(), expected.is_some());
            let (found, expected) = (found.unwrap_or(0.0), expected.unwrap_or(0.0));
            prop_assert!((found - expected).abs() < 1e-12, "{} instead of {}", found, expected);
        }

        #[test]
        fn the_ranking_of_pixels_is_that_of_one_long_list((shape, images) in images()) {
            let scores: Vec<f32> = images.iter().flat_map(|(map, _)| map).copied().collect();
            let labels: Vec<bool> = images.iter().flat_map(|(_, mask)| mask).map(|&inside| inside != 0).collect();
            prop_assert_eq!(metrics(shape, &images, 0.3).ranking, Ranking::of("pixel", &scores, &labels).unwrap());
        }

        #[test]
        fn keys_order_as_scores_do_and_lead_back_to_them(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(key_of(a).cmp(&key_of(b)), a.partial_cmp(&b).unwrap());
            prop_assert_eq!(score_of(key_of(a)), a);
        }
    }

    #[test]
    fn zeros_of_both_signs_share_a_key_and_infinities_lie_outside_all_others() {
        assert_eq!(key_of(-0.0), key_of(0.0));
        assert!(key_of(f32::NEG_INFINITY) < key_of(f32::MIN) && key_of(f32::MAX) < key_of(f32::INFINITY));
    }
}
