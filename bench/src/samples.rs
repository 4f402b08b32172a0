//! What a model sees at once: single pictures, or clips of frames of the same video.

use std::ops::Range;

use mimus_core::plugin::{Clip, Edge, SampleInfo};
use mimus_core::{Error, HostTensor, Result};

use crate::images::Picture;

/// Decoded frames, and the samples that are made of them.
pub(crate) struct Samples {
    /// In the order of the data set.
    frames: Vec<Picture>,
    /// Positions of the frames of each sample, in the order of time.
    clips: Vec<Vec<usize>>,
    /// Which frame of a clip its score belongs to.
    score_frame: usize,
    /// For messages, one for each frame.
    names: Vec<String>,
}

impl Samples {
    /// `frames` decoded from the samples `infos` of a data set.
    ///
    /// # Errors
    /// If clips are wanted and the frames are of no video, one is missing, or a video is too short.
    pub(crate) fn new(frames: Vec<Picture>, infos: &[&SampleInfo], clip: &Clip) -> Result<Self> {
        let names = infos.iter().map(|info| info.path.display().to_string()).collect();
        Ok(Self { clips: clips(infos, clip)?, frames, score_frame: clip.score_frame, names })
    }

    /// Pictures, each with its name, of which every `length` in a row are a sample.
    pub(crate) fn of_length(length: usize, pictures: impl IntoIterator<Item = (Picture, String)>) -> Self {
        let (frames, names): (Vec<Picture>, Vec<String>) = pictures.into_iter().unzip();
        let positions: Vec<usize> = (0..frames.len()).collect();
        let clips = positions.chunks_exact(length).map(<[usize]>::to_vec).collect();
        Self { frames, clips, score_frame: 0, names }
    }

    /// Number of samples.
    pub(crate) fn len(&self) -> usize {
        self.clips.len()
    }

    /// Position among the data set's frames of the frame that a sample's score belongs to.
    pub(crate) fn position(&self, sample: usize) -> usize {
        self.clips[sample][self.score_frame]
    }

    /// The frame that a sample's score belongs to.
    pub(crate) fn frame(&self, sample: usize) -> &Picture {
        &self.frames[self.position(sample)]
    }

    /// Its name.
    pub(crate) fn name(&self, sample: usize) -> &str {
        &self.names[self.position(sample)]
    }

    /// The samples at the positions `taken` as one input: `[N, C, H, W]`, `[N, C, T, H, W]`, or `[N, T * C, H, W]` frame by frame.
    ///
    /// # Errors
    /// If the shape is not that of the samples.
    pub(crate) fn batch(&self, taken: &[usize], shape: &[usize]) -> Result<HostTensor> {
        let mut values = Vec::with_capacity(shape.iter().product());
        for clip in taken.iter().map(|sample| &self.clips[*sample]) {
            let frames = clip.iter().map(|frame| self.frames[*frame].values.as_slice());
            match *shape {
                [_, channels, _, height, width] => {
                    for channel in 0..channels {
                        let plane = channel * height * width..(channel + 1) * height * width;
                        frames.clone().for_each(|frame| values.extend_from_slice(&frame[plane.clone()]));
                    }
                }
                _ => frames.for_each(|frame| values.extend_from_slice(frame)),
            }
        }
        HostTensor::f32(shape, values)
    }
}

/// A video's name, and the positions of its frames.
pub(crate) type Video<'a> = (&'a str, Range<usize>);

/// The stretches of samples that belong to one video each. `None` for pictures.
///
/// # Errors
/// If a number is missing in a video, or only some samples are frames.
pub(crate) fn videos<'a>(infos: &[&'a SampleInfo]) -> Result<Option<Vec<Video<'a>>>> {
    let mut videos: Vec<Video<'_>> = Vec::new();
    let mut last = 0;
    for (i, info) in infos.iter().enumerate() {
        let Some((name, number)) = &info.frame else {
            return match videos.is_empty() {
                true if infos.iter().all(|info| info.frame.is_none()) => Ok(None),
                _ => Err(Error::data("is no frame of a video, as others of its data set are")
                    .with("file", info.path.display())),
            };
        };
        match videos.last_mut() {
            Some((known, range)) if *known == name.as_str() => {
                if *number != last + 1 {
                    return Err(Error::data(format!("frame {number} follows frame {last}"))
                        .with("video", name)
                        .hint("add the missing frames, or cut the video in two"));
                }
                range.end = i + 1;
            }
            _ => videos.push((name, i..i + 1)),
        }
        last = *number;
    }
    Ok((!videos.is_empty()).then_some(videos))
}

fn clips(infos: &[&SampleInfo], clip: &Clip) -> Result<Vec<Vec<usize>>> {
    if clip.frames == 1 {
        return Ok((0..infos.len()).map(|i| vec![i]).collect());
    }
    let Some(videos) = videos(infos)? else {
        if infos.is_empty() {
            return Ok(Vec::new());
        }
        let message = format!("the model sees clips of {} frames, and the data set holds single pictures", clip.frames);
        return Err(Error::data(message).hint("choose a data set of videos, or a model of pictures"));
    };
    let mut all = Vec::new();
    for (name, range) in videos {
        let before = all.len();
        all.extend(range.clone().filter_map(|position| around(position, &range, clip)));
        if all.len() == before {
            let message = format!("has {} frames, and the model sees clips of {}", range.len(), reach(clip));
            return Err(Error::data(message).with("video", name).hint("remove the video, or take shorter clips"));
        }
    }
    Ok(all)
}

/// Frames from the first of a clip to its last.
fn reach(clip: &Clip) -> usize {
    (clip.frames - 1) * clip.stride + 1
}

/// The clip whose score belongs to the frame at `position`; `None` if it reaches beyond its video and that is no clip.
fn around(position: usize, video: &Range<usize>, clip: &Clip) -> Option<Vec<usize>> {
    let frame = |i: usize| {
        let found = (position + i * clip.stride).checked_sub(clip.score_frame * clip.stride);
        match clip.edge {
            Edge::Drop => found.filter(|frame| video.contains(frame)),
            Edge::Repeat => Some(found.unwrap_or(video.start).clamp(video.start, video.end - 1)),
        }
    };
    (0..clip.frames).map(frame).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn frames(videos: &[(&str, Range<u64>)]) -> Vec<SampleInfo> {
        let frame = |name: &str, number| SampleInfo {
            id: format!("{name}/{number}"),
            path: PathBuf::from(format!("{name}/{number}.png")),
            defect: "good".to_owned(),
            anomalous: false,
            mask: None,
            frame: Some((name.to_owned(), number)),
        };
        videos.iter().flat_map(|(name, numbers)| numbers.clone().map(move |n| frame(name, n))).collect()
    }

    fn clips_of(infos: &[SampleInfo], clip: Clip) -> Result<Vec<Vec<usize>>> {
        clips(&infos.iter().collect::<Vec<_>>(), &clip)
    }

    #[test]
    fn clips_stay_within_their_video_and_edges_are_dropped_or_repeated() {
        let infos = frames(&[("a", 1..5), ("b", 7..10)]);
        let clip = Clip { frames: 3, stride: 1, score_frame: 2, edge: Edge::Drop };
        assert_eq!(clips_of(&infos, clip).unwrap(), [[0, 1, 2], [1, 2, 3], [4, 5, 6]]);
        let clip = Clip { edge: Edge::Repeat, ..clip };
        assert_eq!(clips_of(&infos[4..], clip).unwrap(), [[0, 0, 0], [0, 0, 1], [0, 1, 2]]);
        let clip = Clip { frames: 2, stride: 2, score_frame: 0, edge: Edge::Drop };
        assert_eq!(clips_of(&infos, clip).unwrap(), [[0, 2], [1, 3], [4, 6]]);
        assert_eq!(clips_of(&infos[..2], Clip::image()).unwrap(), [[0], [1]]);
    }

    #[test]
    fn a_gap_a_short_video_and_single_pictures_are_named() {
        let clip = Clip { frames: 3, stride: 1, score_frame: 2, edge: Edge::Drop };
        let message = |infos: &[SampleInfo]| clips_of(infos, clip).unwrap_err().one_line();
        let mut infos = frames(&[("a", 1..6)]);
        infos.remove(2);
        assert!(message(&infos).contains("frame 4 follows frame 2"), "{}", message(&infos));
        let short = message(&frames(&[("a", 1..6), ("b", 0..2)]));
        assert!(short.contains('b') && short.contains("has 2 frames, and the model sees clips of 3"), "{short}");
        infos.iter_mut().for_each(|info| info.frame = None);
        assert!(message(&infos).contains("the data set holds single pictures"));
    }

    #[test]
    fn a_batch_is_frame_by_frame_or_channel_by_channel() {
        let picture = |x: f32| Picture { values: vec![x, x + 0.5], mask: None, size: [1, 1] };
        let clip = Clip { frames: 2, stride: 1, score_frame: 1, edge: Edge::Drop };
        let infos = frames(&[("a", 0..3)]);
        let samples =
            Samples::new((0..3).map(|i| picture(i as f32)).collect(), &infos.iter().collect::<Vec<_>>(), &clip);
        let samples = samples.unwrap();
        let stacked = samples.batch(&[1], &[1, 4, 1, 1]).unwrap();
        assert_eq!(stacked.as_f32().unwrap(), [1.0, 1.5, 2.0, 2.5]);
        let volume = samples.batch(&[1], &[1, 2, 2, 1, 1]).unwrap();
        assert_eq!(volume.as_f32().unwrap(), [1.0, 2.0, 1.5, 2.5]);
        assert_eq!((samples.len(), samples.position(1), samples.name(0)), (2, 2, "a/1.png"));
    }
}
