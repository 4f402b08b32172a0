//! Regions of frames, objects mostly, for models that see them one at a time: proposed once and kept in the user's cache, or read from a
//! file that the user names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mimus_core::metrics::PixelBox;
use mimus_core::plugin::{OpenDataset, SampleInfo, Split};
use mimus_core::{Context, Error, ErrorKind, Result};
use mimus_motion::proposals::{self, Proposals};
use mimus_motion::{BoxFile, Gray};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::files;
use crate::input::Input;
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

    /// A box whose corners are rounded up, as the official code cuts it; of one pixel at least.
    fn of(place: &PixelBox) -> Self {
        let [x1, y1, x2, y2] = [place.x1, place.y1, place.x2, place.y2].map(|corner| corner.ceil() as usize);
        Self { x1, y1, x2: x2.max(x1 + 1), y2: y2.max(y1 + 1) }
    }
}

/// How the regions of a split are found.
pub(crate) enum Finder {
    BuiltIn(Proposals),
    File(BoxFile),
}

/// Frames whose regions are found at the same time.
const CHUNK: usize = 64;

/// Changes when what is stored changes its form.
const METHOD: &str = "regions-1";

impl Finder {
    /// What the configuration asks for.
    ///
    /// # Errors
    /// If the user's file cannot be read.
    pub(crate) fn new(input: &Input, split: Split) -> Result<Self> {
        Ok(match input.regions.files() {
            Some(path) => Self::File(BoxFile::open(&of_split(path, split, &[".json", ".npy"])?)?),
            None => Self::BuiltIn(input.proposals.clone()),
        })
    }

    /// The regions of every frame of a split. `say` is told of what takes long.
    ///
    /// # Errors
    /// If the samples are no frames of videos, a frame cannot be decoded, or a region is not within its frame.
    pub(crate) fn all(
        &self,
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
                Self::BuiltIn(how) => {
                    let content = (METHOD, how, &index.fingerprint, &index.groups[group].name, split, video.0);
                    let path = cache::place("regions", &content)?;
                    match stored(&path)? {
                        Some(found) => found,
                        None => {
                            say(&format!("{split} video {}: finding regions in its {} frames", video.0, video.1.len()));
                            let found = propose(how, data, (group, split), &video).context("video", video.0)?;
                            let text = serde_json::to_vec(&found)
                                .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
                            files::write(&path, &text)?;
                            found
                        }
                    }
                }
            };
            if found.len() != video.1.len() {
                let message = format!("has regions of {} frames, the video {} frames", found.len(), video.1.len());
                return Err(Error::data(message).with("video", video.0).hint("remove the cached file"));
            }
            all.extend(found);
        }
        Ok(all)
    }
}

fn stored(path: &Path) -> Result<Option<Vec<Vec<Region>>>> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    let damaged = |error: serde_json::Error| {
        let error = Error::new(ErrorKind::Io, error.to_string()).with("file", path.display());
        error.hint("remove the file to find the regions anew")
    };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
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
    file.check(name, &numbers, [pixels.height, pixels.width])?;
    let of = |number: u64| Ok(file.boxes(name, number)?.iter().map(|found| Region::of(&found.place)).collect());
    numbers.into_iter().map(of).collect()
}

fn propose(
    how: &Proposals,
    data: &dyn OpenDataset,
    (group, split): (usize, Split),
    (_, frames): &Video<'_>,
) -> Result<Vec<Vec<Region>>> {
    let mut all = Vec::new();
    for start in frames.clone().step_by(CHUNK) {
        // Both neighbours of every frame; at an end of the video the frame itself stands for the one that is missing.
        let (first, last) = (start.saturating_sub(1).max(frames.start), (start + CHUNK).min(frames.end - 1));
        let read = |position: usize| Gray::of(&data.read(group, split, position)?.pixels);
        let grays = (first..=last).into_par_iter().map(read).collect::<Result<Vec<Gray>>>()?;
        let gray = |position: usize| &grays[position.clamp(first, last) - first];
        let one = |position: usize| {
            let found = proposals::boxes(gray(position.saturating_sub(1)), gray(position), gray(position + 1), how)?;
            Ok(found.iter().map(Region::of).collect())
        };
        let chunk = (start..frames.end.min(start + CHUNK)).into_par_iter().map(one);
        all.extend(chunk.collect::<Result<Vec<Vec<Region>>>>()?);
    }
    Ok(all)
}
