//! Regions of frames, objects mostly, for models that see them one at a time: proposed once, beside those of a detector if the user names
//! one, and kept in the user's cache, or read from a file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mimus_core::metrics::PixelBox;
use mimus_core::plugin::{OpenDataset, Pixels, SampleInfo, Split};
use mimus_core::{Context, Error, ErrorKind, Result};
use mimus_motion::proposals::{self, Proposals};
use mimus_motion::{BoxFile, Gray};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::files;
use crate::input::{Input, Origin};
use crate::network::{Detector, Open};
use crate::samples::{Video, videos};

/// Pixels of a frame from `(x1, y1)` up to, not including, `(x2, y2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    pub(crate) x1: usize,
    pub(crate) y1: usize,
    pub(crate) x2: usize,
    pub(crate) y2: usize,
}

impl Region {
    /// Height and width.
    pub(crate) fn extents(&self) -> [usize; 2] {
        [self.y2 - self.y1, self.x2 - self.x1]
    }

    /// A box within a frame of `[height, width]` pixels whose corners are rounded up, as the official code cuts it; of one pixel at least.
    fn of(place: &PixelBox, [height, width]: [usize; 2]) -> Self {
        let [x1, y1, x2, y2] = [place.x1, place.y1, place.x2, place.y2].map(|corner| corner.ceil() as usize);
        // What begins within the last pixel is that pixel.
        let (x1, y1) = (x1.min(width - 1), y1.min(height - 1));
        Self { x1, y1, x2: x2.max(x1 + 1), y2: y2.max(y1 + 1) }
    }
}

/// How the regions of a split are found.
pub(crate) enum Finder<'a> {
    /// Around what moves, beside what a detector finds.
    Proposed(Proposals, Option<Box<Detector<'a>>>),
    File(BoxFile),
}

/// Frames whose regions are found at the same time.
const CHUNK: usize = 64;

/// Changes when what is stored changes its form.
const METHOD: &str = "regions-2";

impl<'a> Finder<'a> {
    /// What the configuration asks for; `open` opens a session for a detector.
    ///
    /// # Errors
    /// If the user's file cannot be read.
    pub(crate) fn new(input: &Input, split: Split, open: Open<'a>) -> Result<Self> {
        let proposed = |detector| Self::Proposed(input.proposals.clone(), detector);
        Ok(match &input.regions {
            Origin::BuiltIn => proposed(None),
            Origin::Network(path) => proposed(Some(Box::new(Detector::new(path, input.confidence, open)?))),
            Origin::Files(path) => Self::File(BoxFile::open(&of_split(path, split, &[".json", ".npy"])?)?),
        })
    }

    /// The regions of every frame of a split. `say` is told of what takes long.
    ///
    /// # Errors
    /// If the samples are no frames of videos, a frame cannot be decoded, a region is not within its frame, or the detector fails.
    pub(crate) fn all(
        &mut self,
        data: &dyn OpenDataset,
        (group, split): (usize, Split),
        say: &mut dyn FnMut(&str),
    ) -> Result<Vec<Vec<Region>>> {
        let index = data.index();
        let infos: Vec<&SampleInfo> = index.groups[group].samples(split).iter().collect();
        let videos = videos(&infos)?.ok_or_else(|| {
            Error::data("the model sees regions of video frames, and the data set holds single pictures")
                .hint("choose a data set of videos, or a model of whole pictures")
        })?;
        let mut all = Vec::new();
        for video in videos {
            let found = match self {
                Self::File(file) => read(file, data, (group, split), &infos, &video)?,
                Self::Proposed(how, detector) => {
                    let key = detector.as_ref().map(|detector| detector.key());
                    let content = (METHOD, &*how, key, &index.fingerprint, &index.groups[group].name, split, video.0);
                    let path = cache::place("regions", &content)?;
                    match stored(&path, video.1.len())? {
                        Some(found) => found,
                        None => {
                            say(&format!("{split} video {}: finding regions in its {} frames", video.0, video.1.len()));
                            let found = propose(how, detector.as_deref_mut(), data, (group, split), &video)
                                .context("video", video.0)?;
                            let text = serde_json::to_vec(&found)
                                .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
                            files::write(&path, &text)?;
                            found
                        }
                    }
                }
            };
            all.extend(found);
        }
        Ok(all)
    }
}

/// What the cache holds of a video of so many frames.
fn stored(path: &Path, frames: usize) -> Result<Option<Vec<Vec<Region>>>> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    let damaged = |what: String| {
        let error = Error::new(ErrorKind::Io, what).with("file", path.display());
        error.hint("remove the file to find the regions anew")
    };
    let found: Vec<Vec<Region>> = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if found.len() != frames {
        return Err(damaged(format!("has regions of {} frames, the video has {frames}", found.len())));
    }
    Ok(Some(found))
}

/// The user's files of a split: videos of both may have the same name.
///
/// # Errors
/// If there are none.
pub(crate) fn of_split(path: &Path, split: Split, extensions: &[&str]) -> Result<PathBuf> {
    let candidates =
        || std::iter::once("").chain(extensions.iter().copied()).map(|end| path.join(format!("{split}{end}")));
    candidates().find(|candidate| candidate.exists()).ok_or_else(|| {
        let known: Vec<String> = candidates().map(|candidate| candidate.display().to_string()).collect();
        Error::config(format!("has nothing for the {split} videos"))
            .with("file", path.display())
            .hint(format!("name a folder with {}", known.join(" or ")))
    })
}

/// The user's regions of a video.
fn read(
    file: &BoxFile,
    data: &dyn OpenDataset,
    (group, split): (usize, Split),
    infos: &[&SampleInfo],
    (name, frames): &Video<'_>,
) -> Result<Vec<Vec<Region>>> {
    let pixels = data.read(group, split, frames.start)?.pixels;
    let number = |position: usize| infos[position].frame.as_ref().map_or(0, |(_, number)| *number);
    let numbers: BTreeSet<u64> = frames.clone().map(number).collect();
    let size = [pixels.height, pixels.width];
    file.check(name, &numbers, size)?;
    let of = |number: u64| Ok(file.boxes(name, number)?.iter().map(|found| Region::of(&found.place, size)).collect());
    numbers.into_iter().map(of).collect()
}

fn propose(
    how: &Proposals,
    mut detector: Option<&mut Detector<'_>>,
    data: &dyn OpenDataset,
    (group, split): (usize, Split),
    (_, frames): &Video<'_>,
) -> Result<Vec<Vec<Region>>> {
    let mut all = Vec::new();
    for start in frames.clone().step_by(CHUNK) {
        // Both neighbours of every frame; at an end of the video the frame itself stands for the one that is missing.
        let (first, last) = (start.saturating_sub(1).max(frames.start), (start + CHUNK).min(frames.end - 1));
        let read = |position: usize| Ok(data.read(group, split, position)?.pixels);
        let pixels = (first..=last).into_par_iter().map(read).collect::<Result<Vec<Pixels>>>()?;
        let grays = pixels.par_iter().map(Gray::of).collect::<Result<Vec<Gray>>>()?;
        let gray = |position: usize| &grays[position.clamp(first, last) - first];
        let chunk = start..frames.end.min(start + CHUNK);
        let detect = |position: usize| {
            let frame = position - frames.start;
            let found =
                detector.as_mut().map(|detector| detector.boxes(&pixels[position - first]).context("frame", frame));
            Ok((position, found.transpose()?.unwrap_or_default()))
        };
        let detected = chunk.map(detect).collect::<Result<Vec<(usize, Vec<PixelBox>)>>>()?;
        let one = |(position, detected): &(usize, Vec<PixelBox>)| {
            let [before, frame, after] = [position.saturating_sub(1), *position, position + 1].map(gray);
            let found = proposals::boxes(detected, before, frame, after, how)?;
            Ok(found.iter().map(|place| Region::of(place, [frame.height(), frame.width()])).collect())
        };
        let chunk = detected.par_iter().map(one);
        all.extend(chunk.collect::<Result<Vec<Vec<Region>>>>()?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use mimus_core::HostTensor;
    use mimus_core::plugin::{Index, Sample, Session};

    use super::*;
    use crate::network::tests::{detector, flat};

    /// Three frames of nothing; the one at `broken` cannot be decoded.
    struct Frames {
        index: Index,
        broken: usize,
    }

    impl OpenDataset for Frames {
        fn index(&self) -> &Index {
            &self.index
        }

        fn read(&self, _: usize, _: Split, position: usize) -> Result<Sample> {
            if position == self.broken {
                return Err(Error::data("is cut short").with("file", "2.png"));
            }
            Ok(Sample { pixels: flat(16, 40, 100), mask: None })
        }
    }

    #[test]
    fn a_detector_is_asked_about_every_frame() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || {
            let fake = detector(|_| {
                let boxes = HostTensor::f32([1, 4], vec![1.0, 1.0, 9.0, 7.5]).unwrap();
                vec![HostTensor::f32([1], vec![0.6]).unwrap(), boxes]
            });
            Ok(Box::new(fake) as Box<dyn Session>)
        };
        let found = |broken| {
            let data = Frames { index: Index { fingerprint: String::new(), groups: Vec::new() }, broken };
            let mut detector = Detector::new(file.path(), 0.5, &open).unwrap();
            propose(&Proposals::PED2, Some(&mut detector), &data, (0, Split::Test), &("clip", 0..3))
        };
        assert_eq!(found(usize::MAX).unwrap(), vec![vec![Region { x1: 4, y1: 2, x2: 36, y2: 15 }]; 3]);
        assert_eq!(found(2).unwrap_err().context_value("file"), Some("2.png"));
    }

    #[test]
    fn a_box_at_the_border_is_a_region_within_the_frame() {
        let region = |x1, x2| Region::of(&PixelBox { x1, y1: 0.0, x2, y2: 4.0 }, [4, 10]);
        let columns = |x1, x2| Region { x1, y1: 0, x2, y2: 4 };
        assert_eq!(region(9.5, 10.0), columns(9, 10));
        assert_eq!(region(10.0, 10.0), columns(9, 10));
        assert_eq!(region(0.0, 0.0), columns(0, 1));
        assert_eq!(region(2.25, 4.5), columns(3, 5));
    }

    #[test]
    fn a_cached_file_of_another_video_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cached");
        assert_eq!(stored(&path, 2).unwrap(), None);
        std::fs::write(&path, "[[]]").unwrap();
        assert_eq!(stored(&path, 1).unwrap(), Some(vec![Vec::new()]));
        let error = stored(&path, 2).unwrap_err();
        assert_eq!(error.message(), "has regions of 1 frames, the video has 2");
        assert_eq!(error.context_value("file"), path.to_str());
    }
}
