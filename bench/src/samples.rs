//! What a model sees at once: single pictures, clips of frames of the same video, or regions of such clips.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use mimus_core::plugin::{Clip, Edge, Fill, Group, Preprocessing, Sample, SampleInfo, Split};
use mimus_core::{Context, Error, HostTensor, Result};
use rayon::prelude::*;

use crate::flows::{Flows, Pairing};
use crate::images::{self, Picture};
use crate::reel::Reel;
use crate::regions::Region;

/// The frames that get a score, and what the model sees for each.
pub(crate) struct Samples<'a> {
    /// In the order of the data set.
    judged: Vec<Judged>,
    source: Source<'a>,
    /// Optical flow, if the model takes it.
    flows: Option<Arc<Flows>>,
}

/// A frame that gets a score.
struct Judged {
    /// Position of the frame in its split.
    position: usize,
    /// Positions of the frames that the model sees for it, in the order of time.
    clip: Vec<usize>,
}

/// Where frames come from.
enum Source<'a> {
    /// They are there, each with its name.
    Given(Vec<(Arc<Picture>, String)>),
    /// Whole frames of a data set.
    Whole(Footage<'a, Picture>),
    /// Regions of frames: which judged frame each belongs to, ascending, and where it is.
    Regions { footage: Footage<'a, Sample>, regions: Vec<(usize, Region)>, preprocessing: Preprocessing },
}

/// Frames of one split of a group.
pub(crate) struct Footage<'a, T> {
    pub(crate) reel: Arc<Reel<'a, T>>,
    pub(crate) group: &'a Group,
    pub(crate) split: Split,
}

impl<T: crate::reel::Held> Footage<'_, T> {
    fn frame(&self, position: usize) -> Result<Arc<T>> {
        self.reel.frame(self.split, position).context("file", self.name(position))
    }

    fn name(&self, position: usize) -> String {
        self.group.samples(self.split)[position].path.display().to_string()
    }
}

/// What a judged frame is measured against.
pub(crate) struct Truth {
    /// Height and width before resizing.
    pub(crate) size: [usize; 2],
    /// Anomalous pixels of that size, nonzero where anomalous.
    pub(crate) mask: Option<Vec<u8>>,
}

impl<'a> Samples<'a> {
    /// Whole frames at the positions `taken` of a split.
    ///
    /// # Errors
    /// If clips are wanted and the frames are of no video, one is missing, or a video is too short.
    pub(crate) fn whole(footage: Footage<'a, Picture>, taken: &[usize], clip: &Clip) -> Result<Self> {
        let judged = judged(footage.group.samples(footage.split), taken, clip)?;
        Ok(Self { judged, flows: None, source: Source::Whole(footage) })
    }

    /// Regions of the frames at the positions `taken` of a split; `find` says where they are in a frame of the split.
    ///
    /// # Errors
    /// As [`Samples::whole`].
    pub(crate) fn regions(
        footage: Footage<'a, Sample>,
        taken: &[usize],
        clip: &Clip,
        preprocessing: Preprocessing,
        find: impl Fn(usize) -> Vec<Region>,
    ) -> Result<Self> {
        let judged = judged(footage.group.samples(footage.split), taken, clip)?;
        let mut regions = Vec::new();
        for (i, frame) in judged.iter().enumerate() {
            regions.extend(find(frame.position).into_iter().map(|region| (i, region)));
        }
        Ok(Self { judged, flows: None, source: Source::Regions { footage, regions, preprocessing } })
    }

    /// Pictures, each with its name, of which every `length` in a row are a sample.
    pub(crate) fn of_length(length: usize, pictures: impl IntoIterator<Item = (Picture, String)>) -> Self {
        let frames: Vec<_> = pictures.into_iter().map(|(picture, name)| (Arc::new(picture), name)).collect();
        let positions: Vec<usize> = (0..frames.len()).collect();
        let judged = positions.chunks_exact(length).map(|clip| Judged { position: clip[0], clip: clip.to_vec() });
        Self { judged: judged.collect(), source: Source::Given(frames), flows: None }
    }

    /// The same with optical flow of their frames.
    pub(crate) fn with_flows(self, flows: Arc<Flows>) -> Self {
        Self { flows: Some(flows), ..self }
    }

    /// Number of samples that the model sees.
    pub(crate) fn len(&self) -> usize {
        match &self.source {
            Source::Regions { regions, .. } => regions.len(),
            _ => self.judged.len(),
        }
    }

    /// Whether a sample is a region of the frames of its clip.
    pub(crate) fn takes_regions(&self) -> bool {
        matches!(self.source, Source::Regions { .. })
    }

    /// Number of frames that get a score.
    pub(crate) fn judged(&self) -> usize {
        self.judged.len()
    }

    /// The judged frame that a sample belongs to, and its region if it is one.
    pub(crate) fn place(&self, sample: usize) -> (usize, Option<Region>) {
        match &self.source {
            Source::Regions { regions, .. } => (regions[sample].0, Some(regions[sample].1)),
            _ => (sample, None),
        }
    }

    /// Position in its split of a judged frame.
    pub(crate) fn position(&self, judged: usize) -> usize {
        self.judged[judged].position
    }

    /// The name of a judged frame.
    pub(crate) fn name(&self, judged: usize) -> String {
        let position = self.position(judged);
        match &self.source {
            Source::Given(frames) => frames[position].1.clone(),
            Source::Whole(footage) => footage.name(position),
            Source::Regions { footage, .. } => footage.name(position),
        }
    }

    /// Size and mask of a judged frame.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub(crate) fn truth(&self, judged: usize) -> Result<Truth> {
        let position = self.position(judged);
        let picture = match &self.source {
            Source::Given(frames) => Arc::clone(&frames[position].0),
            Source::Whole(footage) => footage.frame(position)?,
            Source::Regions { footage, .. } => {
                let sample = footage.frame(position)?;
                let size = [sample.pixels.height, sample.pixels.width];
                return Ok(Truth { size, mask: sample.mask.as_ref().map(|mask| mask.to_vec()) });
            }
        };
        Ok(Truth { size: picture.size, mask: picture.mask.clone() })
    }

    /// An input that is made of frames alone; `None` if it is of another kind.
    ///
    /// # Errors
    /// As those of [`Samples::batch`], and if there is no flow.
    pub(crate) fn input(&self, fill: Fill, taken: &[usize], shape: &[usize]) -> Result<Option<HostTensor>> {
        Ok(Some(match fill {
            Fill::Image => self.batch(taken, shape)?,
            Fill::Flow => self.flow(taken, shape, Pairing::Before)?,
            Fill::FlowAhead => self.flow(taken, shape, Pairing::After)?,
            Fill::Texture | Fill::Noise | Fill::Prepared => return Ok(None),
        }))
    }

    /// The samples at the positions `taken` as one input: `[N, C, H, W]`, `[N, C, T, H, W]`, or `[N, T * C, H, W]` frame by frame.
    ///
    /// # Errors
    /// If a frame cannot be decoded, or the shape is not that of the samples.
    pub(crate) fn batch(&self, taken: &[usize], shape: &[usize]) -> Result<HostTensor> {
        let mut values = Vec::with_capacity(shape.iter().product());
        match &self.source {
            Source::Given(frames) => {
                let frame = |position: usize| Ok(Arc::clone(&frames[position].0));
                self.stack(taken, shape, frame, &mut values)?;
            }
            Source::Whole(footage) => self.stack(taken, shape, |position| footage.frame(position), &mut values)?,
            Source::Regions { footage, regions, preprocessing } => {
                let size = extents(shape)?;
                let one = |sample: &usize| {
                    let (judged, region) = &regions[*sample];
                    let frames = self.judged[*judged].clip.iter().map(|position| {
                        let frame = footage.frame(*position)?;
                        images::region(&frame.pixels, region, preprocessing, size)
                            .context("file", footage.name(*position))
                    });
                    let frames = frames.collect::<Result<Vec<_>>>()?;
                    let mut values = Vec::new();
                    arrange(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>(), shape, &mut values);
                    Ok(values)
                };
                for sample in taken.par_iter().map(one).collect::<Result<Vec<_>>>()? {
                    values.extend(sample);
                }
            }
        }
        HostTensor::f32(shape, values)
    }

    /// Whole frames, each decoded once and those that are not at hand by several threads.
    fn stack(
        &self,
        taken: &[usize],
        shape: &[usize],
        frame: impl Fn(usize) -> Result<Arc<Picture>> + Sync,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let clips = || taken.iter().map(|sample| self.judged[*sample].clip.as_slice());
        let mut wanted: Vec<usize> = clips().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let frames = wanted.par_iter().map(|position| Ok((*position, frame(*position)?)));
        let frames: BTreeMap<usize, Arc<Picture>> = frames.collect::<Result<_>>()?;
        for clip in clips() {
            let clip: Vec<&[f32]> = clip.iter().map(|position| frames[position].values.as_slice()).collect();
            arrange(&clip, shape, values);
        }
        Ok(())
    }

    /// The optical flow of samples as one input `[N, T * 2, H, W]`, of the last T frames of each. That of whole frames is in pixels of the
    /// input, that of regions in pixels of the frame.
    ///
    /// # Errors
    /// If there is no flow, or the shape is not that of the samples.
    fn flow(&self, taken: &[usize], shape: &[usize], pairing: Pairing) -> Result<HostTensor> {
        let flows = self.flows.as_ref().ok_or_else(|| {
            Error::data("there is no optical flow: the samples are no frames of a video")
                .hint("choose a data set of videos, or a model without flow")
        })?;
        let (size, channels) = (extents(shape)?, shape.get(1).copied().unwrap_or_default());
        let one = |sample: &usize| {
            let (judged, region) = self.place(*sample);
            let clip = &self.judged[judged].clip;
            let frames = channels / 2;
            if channels % 2 != 0 || frames > clip.len() {
                return Err(Error::plugin(format!(
                    "the model wants {channels} channels of flow of {} frames",
                    clip.len()
                )));
            }
            let mut values = Vec::with_capacity(channels * size[0] * size[1]);
            for position in &clip[clip.len() - frames..] {
                values.extend(flows.sample(*position, pairing, region.as_ref(), size)?);
            }
            Ok(values)
        };
        let values = taken.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        HostTensor::f32(shape, values.concat())
    }
}

/// Height and width of an input.
fn extents(shape: &[usize]) -> Result<[usize; 2]> {
    match *shape {
        [.., height, width] => Ok([height, width]),
        _ => Err(Error::plugin(format!("an input of the model has the shape {shape:?}, expects [N, C, H, W]"))),
    }
}

/// The frames `[C, H, W]` of a clip, frame by frame, or channel by channel if the input has an axis of time.
fn arrange(frames: &[&[f32]], shape: &[usize], values: &mut Vec<f32>) {
    match *shape {
        [_, channels, _, height, width] => {
            for channel in 0..channels {
                let plane = channel * height * width..(channel + 1) * height * width;
                frames.iter().for_each(|frame| values.extend_from_slice(&frame[plane.clone()]));
            }
        }
        _ => frames.iter().for_each(|frame| values.extend_from_slice(frame)),
    }
}

/// The judged frames among those at the positions `taken` of a split.
fn judged(infos: &[SampleInfo], taken: &[usize], clip: &Clip) -> Result<Vec<Judged>> {
    let chosen: Vec<&SampleInfo> = taken.iter().map(|position| &infos[*position]).collect();
    let of_split = |clip: Vec<usize>| clip.into_iter().map(|i| taken[i]).collect::<Vec<usize>>();
    let clips = clips(&chosen, clip)?.into_iter().map(of_split);
    Ok(clips.map(|frames| Judged { position: frames[clip.score_frame], clip: frames }).collect())
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

    use mimus_core::plugin::{Color, Pixels};

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
        let pictures = |_, x: usize| Ok(Picture { values: vec![x as f32, x as f32 + 0.5], mask: None, size: [1, 1] });
        let clip = Clip { frames: 2, stride: 1, score_frame: 1, edge: Edge::Drop };
        let test = frames(&[("a", 0..3)]);
        let group = Group { name: String::new(), train: Vec::new(), test, has_masks: false };
        let footage = Footage { reel: Arc::new(Reel::new(1, pictures)), group: &group, split: Split::Test };
        let samples = Samples::whole(footage, &[0, 1, 2], &clip).unwrap();
        let stacked = samples.batch(&[1], &[1, 4, 1, 1]).unwrap();
        assert_eq!(stacked.as_f32().unwrap(), [1.0, 1.5, 2.0, 2.5]);
        let volume = samples.batch(&[1], &[1, 2, 2, 1, 1]).unwrap();
        assert_eq!(volume.as_f32().unwrap(), [1.0, 2.0, 1.5, 2.5]);
        assert_eq!((samples.len(), samples.position(1), samples.name(0)), (2, 2, "a/1.png".to_owned()));
    }

    #[test]
    fn regions_are_cut_from_every_frame_of_their_clip() {
        let decode = |_, x: usize| {
            let bytes = (0..16_u8).map(|i| 16 * x as u8 + i).collect::<Vec<_>>().into();
            Ok(Sample { pixels: Pixels { height: 4, width: 4, channels: 1, bytes }, mask: None })
        };
        let clip = Clip { frames: 2, stride: 1, score_frame: 1, edge: Edge::Repeat };
        let test = frames(&[("a", 0..3)]);
        let group = Group { name: String::new(), train: Vec::new(), test, has_masks: false };
        let footage = Footage { reel: Arc::new(Reel::new(1, decode)), group: &group, split: Split::Test };
        let how = Preprocessing { color: Color::Gray, mean: vec![0.0], std: vec![1.0 / 255.0] };
        let find = |position: usize| {
            let region = Region { x1: 1, y1: 2, x2: 3, y2: 4 };
            vec![region; position]
        };
        let samples = Samples::regions(footage, &[0, 1, 2], &clip, how, find).unwrap();
        // No region in the first frame, one in the second, two in the third.
        assert_eq!((samples.len(), samples.judged()), (3, 3));
        assert_eq!([0, 1, 2].map(|i| samples.place(i).0), [1, 2, 2]);
        let cut = samples.batch(&[0], &[1, 2, 2, 2]).unwrap();
        assert_eq!(cut.as_f32().unwrap(), [9.0, 10.0, 13.0, 14.0, 25.0, 26.0, 29.0, 30.0]);
    }
}
