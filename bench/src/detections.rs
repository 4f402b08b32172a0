//! What score maps detect in videos, counted for the region-based and track-based criteria.

use mimus_core::metrics::{STREET_SCENE, SweptVideo, Thresholds, VideoSweep};
use mimus_core::{Context, Result};
use rayon::prelude::*;

use crate::evaluation::Judged;
use crate::samples::Samples;

/// Sweeps a threshold over all maps, `judged` giving size, map at this size, and mask of a frame. `videos` holds the number of each sample's
/// video; the result has one entry for every number. Maps are made twice, and no more at a time than there are threads.
pub(crate) fn sweep(
    samples: &Samples<'_>,
    videos: &[usize],
    judged: impl Fn(usize) -> Result<Judged> + Sync,
) -> Result<Vec<SweptVideo>> {
    let candidates = |sample: usize| Thresholds::candidates(&judged(sample)?.1).context("file", samples.name(sample));
    let candidates: Vec<Vec<f32>> = (0..videos.len()).into_par_iter().map(candidates).collect::<Result<_>>()?;
    let thresholds = Thresholds::of(candidates.concat());
    let count = videos.iter().max().map_or(0, |last| last + 1);
    let one = |number: usize| {
        let mut video = VideoSweep::new(&thresholds, STREET_SCENE);
        for sample in (0..videos.len()).filter(|sample| videos[*sample] == number) {
            let (size, map, mask) = judged(sample)?;
            video.add(size, &map, mask.as_deref()).context("file", samples.name(sample))?;
        }
        Ok(video.finish())
    };
    (0..count).into_par_iter().map(one).collect()
}
