//! Region-based and track-based detection criteria of Street Scene (Ramachandra and Jones, WACV 2020).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Metric;
use super::ranking::not_a_number;
use crate::error::Result;

/// An upright box in pixels, both corners within it: `x1 <= x2`, `y1 <= y2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelBox {
    /// Left.
    pub x1: f64,
    /// Top.
    pub y1: f64,
    /// Right, inclusive.
    pub x2: f64,
    /// Bottom, inclusive.
    pub y2: f64,
}

impl PixelBox {
    fn area(&self) -> f64 {
        (self.x2 - self.x1 + 1.0).max(0.0) * (self.y2 - self.y1 + 1.0).max(0.0)
    }

    /// Intersection over union, 0 where the boxes do not touch.
    pub fn iou(&self, other: &Self) -> f64 {
        let (x1, y1) = (self.x1.max(other.x1), self.y1.max(other.y1));
        let (x2, y2) = (self.x2.min(other.x2), self.y2.min(other.y2));
        let common = Self { x1, y1, x2, y2 }.area();
        if common == 0.0 { 0.0 } else { common / (self.area() + other.area() - common) }
    }
}

/// An annotated region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueRegion {
    /// Number of the frame among all frames of all videos.
    pub frame: usize,
    /// Number of the anomaly that it shows.
    pub track: usize,
    /// Where it is.
    pub place: PixelBox,
}

/// A detected region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Number of the frame among all frames of all videos.
    pub frame: usize,
    /// More for more anomalous.
    pub score: f64,
    /// Where it is.
    pub place: PixelBox,
}

/// Share of a track's regions that must be found (alpha), and the least overlap of a detection with a region (beta).
pub const STREET_SCENE: [f64; 2] = [0.1, 0.1];

/// Areas under detection rate over false positives a frame, from 0 to 1 of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackMetrics {
    /// Of regions (RBDC).
    pub rbdc: Metric,
    /// Of tracks (TBDC).
    pub tbdc: Metric,
}

impl TrackMetrics {
    /// Takes detections from the highest score downwards, those of equal scores together. A detection finds every region of its frame that it
    /// overlaps by `beta` at least; one that overlaps none is a false positive; one whose regions are all found already is neither. A track is
    /// found when `alpha` of its regions are.
    ///
    /// # Errors
    /// If a score is not a number.
    pub fn of(truth: &[TrueRegion], detections: &[Detection], frames: usize, [alpha, beta]: [f64; 2]) -> Result<Self> {
        if detections.iter().any(|detection| detection.score.is_nan()) {
            return Err(not_a_number());
        }
        if truth.is_empty() || frames == 0 {
            let none = || Metric::Undefined("no anomalous region".to_owned());
            return Ok(Self { rbdc: none(), tbdc: none() });
        }
        let mut by_frame: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut tracks: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
        for (i, region) in truth.iter().enumerate() {
            by_frame.entry(region.frame).or_default().push(i);
            tracks.entry(region.track).or_default()[1] += 1;
        }
        let mut found = vec![false; truth.len()];
        let mut order: Vec<&Detection> = detections.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let (mut false_positives, mut curve) = (0_usize, vec![[0.0; 3]]);
        for tie in order.chunk_by(|a, b| a.score == b.score) {
            for detection in tie {
                let own = by_frame.get(&detection.frame).map(Vec::as_slice).unwrap_or_default();
                let hit: Vec<usize> =
                    own.iter().copied().filter(|i| detection.place.iou(&truth[*i].place) >= beta).collect();
                false_positives += usize::from(hit.is_empty());
                for i in hit {
                    if !std::mem::replace(&mut found[i], true) {
                        tracks.entry(truth[i].track).or_default()[0] += 1;
                    }
                }
            }
            let regions = found.iter().filter(|found| **found).count() as f64 / truth.len() as f64;
            let whole = tracks.values().filter(|[hits, all]| *hits as f64 >= alpha * *all as f64).count();
            curve.push([false_positives as f64 / frames as f64, regions, whole as f64 / tracks.len() as f64]);
        }
        Ok(Self { rbdc: Metric::Value(area(&curve, 1)), tbdc: Metric::Value(area(&curve, 2)) })
    }
}

/// The area under the points from 0 to 1: trapezoids, the last cut at 1 or continued flat up to it.
pub(super) fn area(curve: &[[f64; 3]], of: usize) -> f64 {
    let mut area = 0.0;
    for pair in curve.windows(2) {
        let ([x0, y0], [x1, y1]) = ([pair[0][0], pair[0][of]], [pair[1][0], pair[1][of]]);
        if x0 < 1.0 && x1 > x0 {
            let end = x1.min(1.0);
            let at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
            area += (end - x0) * (y0 + at_end) / 2.0;
        }
    }
    let [x, y] = curve.last().map_or([0.0; 2], |point| [point[0], point[of]]);
    area + (1.0 - x).max(0.0) * y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64) -> PixelBox {
        PixelBox { x1: x, y1: y, x2: x + 9.0, y2: y + 9.0 }
    }

    fn example() -> (Vec<TrueRegion>, Vec<Detection>) {
        let a = |frame: usize| TrueRegion { frame, track: 0, place: square(frame as f64, 0.0) };
        let truth = vec![a(0), a(1), a(2), TrueRegion { frame: 1, track: 1, place: square(30.0, 30.0) }];
        let far = square(90.0, 90.0);
        let places = [(0, a(0).place), (3, far), (1, truth[3].place), (1, far), (2, a(2).place)];
        let detection =
            |(i, (frame, place)): (usize, (usize, PixelBox))| Detection { frame, score: -(i as f64), place };
        (truth, places.into_iter().enumerate().map(detection).collect())
    }

    #[test]
    fn the_worked_example_gives_its_areas() {
        let (truth, detections) = example();
        let found = TrackMetrics::of(&truth, &detections, 4, STREET_SCENE).unwrap();
        assert_eq!((found.rbdc, found.tbdc), (Metric::Value(0.5625), Metric::Value(0.875)));
    }

    #[test]
    fn detections_of_equal_scores_have_no_order() {
        let (truth, mut detections) = example();
        detections.iter_mut().for_each(|detection| detection.score = 1.0);
        let together = TrackMetrics::of(&truth, &detections, 4, STREET_SCENE).unwrap();
        detections.reverse();
        assert_eq!(TrackMetrics::of(&truth, &detections, 4, STREET_SCENE).unwrap(), together);
    }

    #[test]
    fn without_regions_there_is_no_criterion() {
        let (truth, detections) = example();
        assert_eq!(
            TrackMetrics::of(&[], &detections, 4, STREET_SCENE).unwrap().rbdc.reason(),
            Some("no anomalous region")
        );
        let nothing = TrackMetrics::of(&truth, &[], 4, STREET_SCENE).unwrap();
        assert_eq!(nothing.rbdc, Metric::Value(0.0));
    }

    #[test]
    fn overlap_counts_both_borders() {
        assert_eq!(square(0.0, 0.0).iou(&square(0.0, 0.0)), 1.0);
        assert!((square(0.0, 0.0).iou(&square(5.0, 0.0)) - 50.0 / 150.0).abs() < 1e-12);
        assert_eq!(square(0.0, 0.0).iou(&square(10.0, 0.0)), 0.0);
    }
}
