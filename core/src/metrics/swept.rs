//! RBDC and TBDC of score maps. What is detected depends on a threshold, as Street Scene says: the 8-connected regions of pixels that score
//! at or above it. So the threshold sweeps over the maps, and of every video only counts are kept.

use serde::{Deserialize, Serialize};

use super::ranking::not_a_number;
use super::regions::{Forest, check_size};
use super::tracks::area;
use super::{Metric, PixelBox, Regions, TrackMetrics};
use crate::error::Result;

/// Most thresholds of a sweep.
const MOST: usize = 256;
/// One of so many pixels of a map, the highest, may be a threshold.
const PART: usize = 8;

/// The thresholds of a sweep over many maps, chosen by their scores alone: 256 of them, or all distinct scores if these are fewer.
///
/// The false positives that count, up to one in a frame, come from the few highest scores, so that is where thresholds must be dense: of
/// each map the scores at the ranks 1, 2, 3, 4, 6, 8, 12, 16, ... are gathered, down to an eighth of its pixels (enough to find a region that
/// fills the frame, since a tenth of overlap finds it), and the thresholds are evenly spaced among all of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Highest first, distinct.
    values: Vec<f32>,
}

impl Thresholds {
    /// What one map contributes.
    ///
    /// # Errors
    /// If a score is not a number.
    pub fn candidates(map: &[f32]) -> Result<Vec<f32>> {
        if map.iter().any(|score| score.is_nan()) {
            return Err(not_a_number());
        }
        let mut sorted = map.to_vec();
        let kept = sorted.len().div_ceil(PART);
        if kept > 0 {
            sorted.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
        }
        sorted.truncate(kept);
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let ranks = (0..usize::BITS - 1).flat_map(|octave| {
            let rank = 1_usize << octave;
            [Some(rank), (rank > 1).then(|| rank + rank / 2)].into_iter().flatten()
        });
        Ok(ranks.map_while(|rank| sorted.get(rank - 1).copied()).collect())
    }

    /// Those of all maps' candidates.
    pub fn of(mut candidates: Vec<f32>) -> Self {
        // Zeros of either sign are one threshold.
        candidates.iter_mut().for_each(|value| *value += 0.0);
        candidates.sort_unstable_by(|a, b| b.total_cmp(a));
        candidates.dedup();
        let last = candidates.len().saturating_sub(1);
        if last >= MOST {
            candidates = (0..MOST).filter_map(|i| candidates.get(i * last / (MOST - 1)).copied()).collect();
        }
        Self { values: candidates }
    }

    /// The highest threshold that a score reaches, by position; their number if it reaches none.
    fn reached(&self, score: f32) -> usize {
        self.values.partition_point(|threshold| *threshold > score)
    }
}

/// Counts of a whole video, which is what a bootstrap draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweptVideo {
    frames: usize,
    regions: usize,
    tracks: usize,
    /// At each threshold, highest first: false positives, regions that are found, tracks that are found.
    counts: Vec<[usize; 3]>,
}

/// A video whose frames come one by one.
///
/// Its true regions are the 8-connected regions of the masks, each as the box around it. They are chained to tracks: a region goes on with
/// the track of that region of the frame before with which it shares most pixels (of several the first in reading order), and begins a
/// track where it shares none. So an anomaly that parts stays one track, of two that meet one ends, and one that is gone for a frame
/// comes back as another.
#[derive(Debug)]
pub struct VideoSweep<'a> {
    thresholds: &'a Thresholds,
    alpha: f64,
    beta: f64,
    frames: usize,
    false_positives: Vec<usize>,
    tracks: Vec<Track>,
    /// Regions of the frame before, and the track of each.
    last: Option<(Regions, Vec<usize>)>,
}

#[derive(Debug)]
struct Track {
    regions: usize,
    /// How many of them are found, at each threshold.
    found: Vec<usize>,
}

impl<'a> VideoSweep<'a> {
    /// Before its first frame; alpha and beta as for [`TrackMetrics::of`].
    pub fn new(thresholds: &'a Thresholds, [alpha, beta]: [f64; 2]) -> Self {
        let false_positives = vec![0; thresholds.values.len()];
        Self { thresholds, alpha, beta, frames: 0, false_positives, tracks: Vec::new(), last: None }
    }

    /// The next frame: its `map` and `mask` of `[H, W]` pixels, row-major, the mask nonzero where anomalous and `None` where nothing is.
    ///
    /// # Errors
    /// If the map or the mask does not have `H * W` pixels.
    pub fn add(&mut self, shape: [usize; 2], map: &[f32], mask: Option<&[u8]>) -> Result<()> {
        check_size("score map", map.len(), shape)?;
        let truth = mask.map(|mask| Regions::label(shape, mask)).transpose()?;
        let truth = truth.filter(|truth| !truth.sizes.is_empty());
        let boxes = truth.as_ref().map(|truth| truth.boxes(shape[1])).unwrap_or_default();
        let tracks = truth.as_ref().map(|truth| self.chain(truth)).unwrap_or_default();
        let mut hit = vec![false; boxes.len()];
        let (false_positives, all, beta) = (&mut self.false_positives, &mut self.tracks, self.beta);
        detect(self.thresholds, shape, map, !boxes.is_empty(), |threshold, number, detected| {
            hit.fill(false);
            let mut good = 0;
            for place in detected {
                let mut hits = boxes.iter().zip(&mut hit).filter(|(region, _)| place.iou(region) >= beta).peekable();
                good += usize::from(hits.peek().is_some());
                hits.for_each(|(_, hit)| *hit = true);
            }
            false_positives[threshold] += number - good;
            for (track, _) in tracks.iter().zip(&hit).filter(|(_, hit)| **hit) {
                all[*track].found[threshold] += 1;
            }
        });
        self.frames += 1;
        self.last = truth.map(|truth| (truth, tracks));
        Ok(())
    }

    /// The track of each region of the next frame; new ones are begun.
    fn chain(&mut self, truth: &Regions) -> Vec<usize> {
        let mut shared = vec![Vec::new(); truth.sizes.len()];
        if let Some((last, _)) = self.last.as_ref().filter(|(last, _)| last.labels.len() == truth.labels.len()) {
            for (now, before) in
                truth.labels.iter().zip(&last.labels).filter(|(now, before)| **now != 0 && **before != 0)
            {
                let counts: &mut Vec<usize> = &mut shared[now - 1];
                counts.resize(last.sizes.len(), 0);
                counts[before - 1] += 1;
            }
        }
        let mut tracks = Vec::new();
        for counts in &shared {
            let most = (0..counts.len()).max_by_key(|before| (counts[*before], usize::MAX - before));
            let known = most.and_then(|before| self.last.as_ref().map(|(_, tracks)| tracks[before]));
            let track = known.unwrap_or_else(|| {
                self.tracks.push(Track { regions: 0, found: vec![0; self.thresholds.values.len()] });
                self.tracks.len() - 1
            });
            self.tracks[track].regions += 1;
            tracks.push(track);
        }
        tracks
    }

    /// Its counts.
    pub fn finish(self) -> SweptVideo {
        let found = |threshold: usize| {
            let regions = self.tracks.iter().map(|track| track.found[threshold]).sum();
            let whole = |track: &&Track| track.found[threshold] as f64 >= self.alpha * track.regions as f64;
            [self.false_positives[threshold], regions, self.tracks.iter().filter(whole).count()]
        };
        SweptVideo {
            frames: self.frames,
            regions: self.tracks.iter().map(|track| track.regions).sum(),
            tracks: self.tracks.len(),
            counts: (0..self.thresholds.values.len()).map(found).collect(),
        }
    }
}

/// Calls `visit(threshold, number of regions, their boxes)` at every threshold, from the highest; without boxes unless they are `wanted`.
fn detect(
    thresholds: &Thresholds,
    shape: [usize; 2],
    map: &[f32],
    wanted: bool,
    mut visit: impl FnMut(usize, usize, &mut dyn Iterator<Item = PixelBox>),
) {
    let [height, width] = shape;
    // A rim of one pixel that no region enters spares the question where a frame ends.
    let row = width + 2;
    let mut entering: Vec<Vec<usize>> = vec![Vec::new(); thresholds.values.len() + 1];
    for (at, score) in map.iter().enumerate() {
        entering[thresholds.reached(*score)].push((at / width + 1) * row + at % width + 1);
    }
    let mut forest = Forest::default();
    let mut labels = vec![0; row * (height + 2)];
    // By label: left, top, right, bottom.
    let mut boxes: Vec<[usize; 4]> = vec![[0; 4]];
    let (mut roots, mut number): (Vec<usize>, usize) = (Vec::new(), 0);
    for (threshold, pixels) in entering.iter().take(thresholds.values.len()).enumerate() {
        for at in pixels.iter().copied() {
            let (x, y) = (at % row - 1, at / row - 1);
            let (above, below) = (at - row, at + row);
            let (mut own, mut seen) = (0, 0);
            for neighbour in [above - 1, above, above + 1, at - 1, at + 1, below - 1, below, below + 1] {
                let label = labels[neighbour];
                if label == 0 || label == seen {
                    continue;
                }
                seen = label;
                let other = forest.root(label);
                if own == 0 {
                    own = other;
                } else if other != own {
                    let ([a, b, c, d], [e, f, g, h]) = (boxes[own], boxes[other]);
                    own = forest.join(own, other);
                    boxes[own] = [a.min(e), b.min(f), c.max(g), d.max(h)];
                    number -= 1;
                }
            }
            if own == 0 {
                own = forest.plant();
                boxes.push([x, y, x, y]);
                roots.push(own);
                number += 1;
            }
            labels[at] = own;
            let [a, b, c, d] = boxes[own];
            boxes[own] = [a.min(x), b.min(y), c.max(x), d.max(y)];
        }
        if wanted {
            roots.retain(|label| forest.root(*label) == *label);
            visit(threshold, number, &mut roots.iter().map(|root| place(boxes[*root])));
        } else {
            visit(threshold, number, &mut std::iter::empty());
        }
    }
}

fn place([x1, y1, x2, y2]: [usize; 4]) -> PixelBox {
    PixelBox { x1: x1 as f64, y1: y1 as f64, x2: x2 as f64, y2: y2 as f64 }
}

impl TrackMetrics {
    /// The areas under what is found at each threshold over false positives a frame. Regions melt into each other as the threshold falls, so
    /// neither count rises steadily: at each number of false positives the threshold that finds most at no more of them counts, and
    /// points are joined by straight lines as in [`TrackMetrics::of`]. A video may be given several times.
    pub fn swept(videos: &[&SweptVideo]) -> Self {
        let sum = |of: fn(&SweptVideo) -> usize| videos.iter().map(|video| of(video)).sum::<usize>() as f64;
        let (frames, regions, tracks) = (sum(|v| v.frames), sum(|v| v.regions), sum(|v| v.tracks));
        if regions == 0.0 {
            let none = || Metric::Undefined("no anomalous region".to_owned());
            return Self { rbdc: none(), tbdc: none() };
        }
        let thresholds = videos.iter().map(|video| video.counts.len()).min().unwrap_or(0);
        let mut curve = vec![[0.0; 3]];
        for threshold in 0..thresholds {
            let count = |of: usize| videos.iter().map(|video| video.counts[threshold][of]).sum::<usize>() as f64;
            curve.push([count(0) / frames, count(1) / regions, count(2) / tracks]);
        }
        let best = |of: usize| {
            let mut curve = curve.clone();
            curve.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[of].total_cmp(&b[of])));
            let mut most = 0.0_f64;
            for point in &mut curve {
                most = most.max(point[of]);
                point[of] = most;
            }
            Metric::Value(area(&curve, of))
        };
        Self { rbdc: best(1), tbdc: best(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::STREET_SCENE;
    use super::*;

    type Frame = (Vec<f32>, Vec<u8>);

    /// A frame of 100 x 100 pixels with squares of 10 x 10: those of the map with their scores, and those of the mask.
    fn frame(detected: &[(usize, usize, f32)], truth: &[(usize, usize)]) -> Frame {
        let (mut map, mut mask) = (vec![0.0; 10_000], vec![0; 10_000]);
        let square = |x: usize, y: usize| (0..100).map(move |i| (y + i / 10) * 100 + x + i % 10);
        detected.iter().for_each(|(x, y, score)| square(*x, *y).for_each(|at| map[at] = *score));
        truth.iter().for_each(|(x, y)| square(*x, *y).for_each(|at| mask[at] = 1));
        (map, mask)
    }

    fn swept(frames: &[Frame]) -> SweptVideo {
        let candidates = frames.iter().flat_map(|(map, _)| Thresholds::candidates(map).unwrap()).collect();
        let thresholds = Thresholds::of(candidates);
        let mut video = VideoSweep::new(&thresholds, STREET_SCENE);
        frames.iter().for_each(|(map, mask)| video.add([100, 100], map, Some(mask)).unwrap());
        video.finish()
    }

    fn example(score: fn(f32) -> f32) -> Vec<Frame> {
        let mut frames = vec![
            frame(&[(0, 0, 5.0)], &[(0, 0)]),
            frame(&[(30, 30, 3.0), (90, 90, 2.0)], &[(1, 0), (30, 30)]),
            frame(&[(2, 0, 1.0)], &[(2, 0)]),
            frame(&[(90, 90, 4.0)], &[]),
        ];
        frames.iter_mut().flat_map(|(map, _)| map).for_each(|value| *value = score(*value));
        frames
    }

    #[test]
    fn maps_of_the_worked_example_give_its_areas_on_any_scale() {
        for score in [|x| x, |x: f32| x.powi(3) * 1e-3 - 7.0] {
            let found = TrackMetrics::swept(&[&swept(&example(score))]);
            assert_eq!((found.rbdc, found.tbdc), (Metric::Value(0.5625), Metric::Value(0.875)));
        }
    }

    #[test]
    fn a_video_drawn_twice_changes_nothing_and_one_without_regions_adds_false_positives() {
        let video = swept(&example(|x| x));
        assert_eq!(TrackMetrics::swept(&[&video, &video]), TrackMetrics::swept(&[&video]));
        let normal = swept(&[frame(&[], &[])]);
        assert_eq!(TrackMetrics::swept(&[&normal]).rbdc.reason(), Some("no anomalous region"));
        assert_eq!(TrackMetrics::swept(&[]).tbdc.reason(), Some("no anomalous region"));
    }

    #[test]
    fn a_region_that_melts_into_another_is_found_before_it_does() {
        // At 2 it is one with its neighbour, at 1 with half of the frame.
        let mut melting = frame(&[(10, 0, 2.0), (0, 0, 3.0)], &[(0, 0)]);
        melting.0[2000..7000].fill(1.0);
        melting.0[1000..2000].fill(1.0);
        let video = swept(&[melting]);
        assert_eq!(video.counts, [[0, 1, 1], [0, 1, 1], [1, 0, 0]]);
        assert_eq!(TrackMetrics::swept(&[&video]).rbdc, Metric::Value(1.0));
    }

    #[test]
    fn tracks_go_on_by_most_shared_pixels_and_end_with_a_gap() {
        let tracks = |truth: &[&[(usize, usize)]]| {
            let frames: Vec<Frame> = truth.iter().map(|truth| frame(&[], truth)).collect();
            let video = swept(&frames);
            (video.regions, video.tracks)
        };
        assert_eq!(tracks(&[&[(0, 0)], &[(5, 5)], &[(9, 9)]]), (3, 1));
        assert_eq!(tracks(&[&[(0, 0)], &[(11, 0)]]), (2, 2), "they touch, but share no pixel");
        assert_eq!(tracks(&[&[(0, 0)], &[], &[(0, 0)]]), (2, 2), "a gap");
        assert_eq!(tracks(&[&[(20, 0)], &[(12, 0), (28, 0)]]), (3, 1), "it parts");
        assert_eq!(tracks(&[&[(12, 0), (28, 0)], &[(19, 0)], &[(19, 0)]]), (4, 2), "they meet");
    }

    #[test]
    fn thresholds_are_few_and_reach_from_the_highest_score_down() {
        let map: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin()).collect();
        let candidates = Thresholds::candidates(&map).unwrap();
        assert_eq!(candidates.len(), 14 + 13, "powers of two up to 8192, and three halves of all but the first");
        let many = Thresholds::of(map.clone());
        assert!(many.values.len() == MOST && many.values.is_sorted_by(|a, b| a > b));
        let most = map.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!((many.values[0], candidates[0]), (most, most));
        assert_eq!(Thresholds::of(vec![0.0, -0.0, 1.0]).values, [1.0, 0.0]);
        assert!(Thresholds::candidates(&[0.0, f32::NAN]).is_err());
    }

    #[test]
    fn another_size_is_refused() {
        let thresholds = Thresholds::of(vec![1.0]);
        let mut video = VideoSweep::new(&thresholds, STREET_SCENE);
        assert!(video.add([2, 2], &[0.0; 3], None).is_err() && video.add([2, 2], &[0.0; 4], Some(&[1; 3])).is_err());
    }
}
