//! The motion floor: what the plainest measure of motion alone reaches on videos. A detector that does not beat it has learnt nothing.

use std::time::Instant;

use mimus_core::plugin::{Pixels, SampleInfo, Split};
use mimus_core::{Context, Error, Result};
use rayon::prelude::*;

use crate::cell::{Scores, Workshop};
use crate::cost::{self, Cost};
use crate::images::gray;
use crate::samples::{Samples, videos};
use crate::score_maps::Writing;

/// Height and width of the box over which differences are averaged, in pixels of the frame; a frame that is smaller is averaged whole.
const BOX: usize = 24;

/// Frames that are read in a row; the one before them is read once more.
const STRETCH: usize = 32;

/// Scores the frames that a model scores.
///
/// The score of a frame is the largest mean, over all boxes of 24 x 24 pixels, of the absolute difference to the frame before in gray levels
/// of 0 to 1, at the frame's own size; its map is the mean of the box around each pixel, moved inside where it would leave the frame. The first frame of a video has what the second has.
///
/// # Errors
/// If a video has one frame, or frames of different sizes; if the disk is full.
pub(crate) fn scores(shop: &Workshop<'_>, samples: &Samples<'_>, mut maps: Writing) -> Result<Scores> {
    let start = Instant::now();
    let infos: Vec<&SampleInfo> = shop.data().test.iter().collect();
    let pairs = pairs(&infos, samples)?;
    let read = |position: usize| {
        let pixels = shop.plan.data.read(shop.group, Split::Test, position)?.pixels;
        Ok::<_, Error>((position, pixels))
    };
    let stretch = |pairs: &[[usize; 2]]| {
        let mut last: Option<(usize, Pixels)> = None;
        let mut found = Vec::new();
        for [before, after] in pairs {
            let first = match last.take() {
                Some((position, pixels)) if position == *before => (position, pixels),
                _ => read(*before)?,
            };
            let second = read(*after)?;
            let (map, extents) = motion(&first.1, &second.1).context("file", infos[*after].path.display())?;
            let score = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            found.push((score, map, extents));
            last = Some(second);
        }
        Ok(found)
    };
    let mut scores = Vec::new();
    for pairs in pairs.chunks(STRETCH * rayon::current_num_threads()) {
        let found = pairs.par_chunks(STRETCH).map(stretch).collect::<Result<Vec<_>>>()?;
        for (score, map, extents) in found.into_iter().flatten() {
            scores.push(score);
            maps.add(extents, &map)?;
        }
    }
    let maps = maps.finish()?;
    let score_ms = 1e3 * start.elapsed().as_secs_f64() / scores.len().max(1) as f64;
    let cost = Cost { train_seconds: 0.0, score_ms, input_ms: 0.0, peak_mib: cost::peak_mib() };
    let (parts, calibration) = Default::default();
    Ok(Scores { scores, parts, maps, normal: Vec::new(), calibration, cost })
}

/// For every sample the positions of two frames: the one before and its own; of the first of a video its own and the one behind.
fn pairs(infos: &[&SampleInfo], samples: &Samples<'_>) -> Result<Vec<[usize; 2]>> {
    let videos = videos(infos)?.unwrap_or_default();
    let mut starts = vec![false; infos.len()];
    for (video, range) in &videos {
        if range.len() < 2 {
            return Err(Error::data("has one frame, and motion is seen in two")
                .with("video", video)
                .hint("set eval.motion_floor = false"));
        }
        starts.iter_mut().skip(range.start).take(1).for_each(|start| *start = true);
    }
    let pair = |sample: usize| match samples.position(sample) {
        first if starts.get(first).copied().unwrap_or(true) => [first, first + 1],
        position => [position - 1, position],
    };
    Ok((0..samples.judged()).map(pair).collect())
}

/// The map of a frame at its own size, and this size.
fn motion(before: &Pixels, frame: &Pixels) -> Result<(Vec<f32>, [usize; 2])> {
    let extents = [frame.height, frame.width];
    if [before.height, before.width] != extents {
        let message = format!("has {} x {} pixels, the frame before it another size", extents[0], extents[1]);
        return Err(Error::data(message).hint("frames of a video must have one size; or set eval.motion_floor = false"));
    }
    let (a, b) = (gray(before)?, gray(frame)?);
    let difference: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs()) / 255.0).collect();
    Ok((boxes(&difference, extents), extents))
}

/// The mean of the box around each pixel, by the table of sums of all upper left rectangles.
fn boxes(values: &[f64], [height, width]: [usize; 2]) -> Vec<f32> {
    let mut sums = vec![0.0; (height + 1) * (width + 1)];
    for y in 0..height {
        let mut row = 0.0;
        for x in 0..width {
            row += values[y * width + x];
            sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
        }
    }
    let (tall, wide) = (BOX.min(height), BOX.min(width));
    let area = (tall * wide) as f64;
    let mean = |i: usize| {
        let y = (i / width).saturating_sub(tall / 2).min(height - tall);
        let x = (i % width).saturating_sub(wide / 2).min(width - wide);
        let at = |y: usize, x: usize| sums[y * (width + 1) + x];
        ((at(y + tall, x + wide) - at(y, x + wide) - at(y + tall, x) + at(y, x)) / area) as f32
    };
    (0..height * width).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use mimus_core::plugin::{Clip, Edge, Group};

    use super::*;
    use crate::images::Picture;
    use crate::reel::Reel;
    use crate::samples::Footage;

    fn frames(videos: &[(&str, usize)]) -> Vec<SampleInfo> {
        let info = |name: &str, i: usize| SampleInfo {
            id: format!("{name}/{i}"),
            path: PathBuf::new(),
            defect: String::new(),
            anomalous: false,
            mask: None,
            frame: Some((name.to_owned(), i as u64)),
        };
        videos.iter().flat_map(|(name, count)| (0..*count).map(move |i| info(name, i))).collect()
    }

    fn found(videos: &[(&str, usize)], clip: Clip) -> Result<Vec<[usize; 2]>> {
        let test = frames(videos);
        let group = Group { name: String::new(), train: Vec::new(), test, has_masks: false };
        let decode = |_, _| Ok(Picture { values: Vec::new(), mask: None, size: [1, 1] });
        let footage = Footage { reel: Arc::new(Reel::new(1, decode)), group: &group, split: Split::Test };
        let all: Vec<usize> = (0..group.test.len()).collect();
        pairs(&group.test.iter().collect::<Vec<_>>(), &Samples::whole(footage, &all, &clip)?)
    }

    #[test]
    fn frames_are_those_of_the_model_and_the_first_of_a_video_has_what_the_second_has() {
        assert_eq!(found(&[("a", 3), ("b", 2)], Clip::image()).unwrap(), [[0, 1], [0, 1], [1, 2], [3, 4], [3, 4]]);
        let clip = Clip { frames: 3, stride: 1, score_frame: 1, edge: Edge::Drop };
        assert_eq!(found(&[("a", 4)], clip).unwrap(), [[0, 1], [1, 2]]);
        let error = found(&[("a", 2), ("b", 1)], Clip::image()).unwrap_err();
        assert_eq!(
            (error.context_value("video"), error.next_step()),
            (Some("b"), Some("set eval.motion_floor = false"))
        );
    }

    #[test]
    fn boxes_are_means_of_full_boxes_and_the_largest_is_found_wherever_it_is() {
        let (height, width) = (30, 40);
        let values: Vec<f64> = (0..height * width).map(|i| f64::from(u8::from(i == width * 29 + 39))).collect();
        let map = boxes(&values, [height, width]);
        assert!((map[height * width - 1] - 1.0 / 576.0).abs() < 1e-9 && map[0] == 0.0);
        // The box of a pixel at the border is the outermost one: 12 rows and columns share it.
        assert_eq!(map.iter().filter(|mean| **mean > 1e-9).count(), 12 * 12);
        assert_eq!(boxes(&[1.0, 0.0, 0.5, 0.5], [2, 2]), [0.5; 4]);
    }

    #[test]
    fn motion_is_in_shares_of_white_and_another_size_is_refused() {
        let pixels =
            |height, level: u8| Pixels { height, width: 25, channels: 3, bytes: vec![level; height * 75].into() };
        let (map, extents) = motion(&pixels(26, 255), &pixels(26, 0)).unwrap();
        assert!(extents == [26, 25] && map.iter().all(|mean| (mean - 1.0).abs() < 1e-5));
        assert!(motion(&pixels(26, 0), &pixels(27, 0)).unwrap_err().message().contains("27 x 25"));
    }
}
