//! Optical flow of a split's videos: computed once, by the built-in method or a network, and kept in the user's cache, or read from files.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mimus_core::plugin::{OpenDataset, Pixels, SampleInfo, Split};
use mimus_core::{Context, Error, ErrorKind, Result};
use mimus_motion::flow::{self, UNIT};
use mimus_motion::{FlowFolder, Gray};
use rayon::prelude::*;

use crate::images::{shrink, stretch};
use crate::input::Origin;
use crate::network::{FlowNetwork, Open};
use crate::regions::{Region, of_split};
use crate::samples::Video;
use crate::{cache, files};

/// Which flow belongs to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// From the frame before it; none for the first of a video.
    Before,
    /// To the frame after it; none for the first, and for the last that from the one before it.
    After,
}

/// Flow of every frame of a split from the frame before it.
pub(crate) struct Flows {
    videos: Vec<Stored>,
}

struct Stored {
    /// The video's frames, as positions of the split.
    frames: Range<usize>,
    source: Source,
}

/// How the flow of a split is found.
pub(crate) enum Finder<'a> {
    Files(Arc<FlowFolder>),
    Computed(Method<'a>),
}

/// What computes it.
pub(crate) enum Method<'a> {
    BuiltIn,
    Network(Box<FlowNetwork<'a>>),
}

enum Source {
    /// Units of [`UNIT`], `[2, H, W]` a frame, one after the other.
    Cache { path: PathBuf, file: Mutex<File>, size: [usize; 2] },
    /// The user's, by the name of the video, the number of its first frame, and its size.
    Files { folder: Arc<FlowFolder>, video: String, first: u64, size: [usize; 2] },
}

/// Frames whose flow is computed before it is written.
const CHUNK: usize = 32;

/// What precedes the frames in a file of the cache: height and width.
const HEADER: u64 = 16;

impl Flows {
    /// The flow of all videos of a split. `say` is told of what takes long.
    ///
    /// # Errors
    /// If a frame cannot be decoded, the frames of a video differ in size, the network fails, the cache cannot be written, a file is missing,
    /// or the first file of a video is of another size.
    pub(crate) fn load(
        data: &dyn OpenDataset,
        (group, split): (usize, Split),
        videos: &[Video<'_>],
        mut finder: Finder<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let index = data.index();
        let infos = index.groups[group].samples(split);
        let key = match &finder {
            Finder::Files(_) => None,
            Finder::Computed(method) => Some(method.key()?),
        };
        let mut stored = Vec::new();
        for (name, frames) in videos {
            let source = match &mut finder {
                Finder::Files(folder) => {
                    let number = |info: &SampleInfo| info.frame.as_ref().map_or(0, |(_, number)| *number);
                    let first = number(&infos[frames.start]);
                    folder.check(name, &infos[frames.clone()].iter().map(number).collect())?;
                    let pixels = data.read(group, split, frames.start)?.pixels;
                    let size = [pixels.height, pixels.width];
                    folder.flow(name, first, size)?;
                    Source::Files { folder: Arc::clone(folder), video: (*name).to_owned(), first, size }
                }
                Finder::Computed(method) => {
                    let content = (METHOD, &key, &index.fingerprint, &index.groups[group].name, split, name);
                    let path = cache::place("flow", &content)?;
                    if !path.exists() {
                        say(&format!(
                            "{split} video {name}: computing the optical flow of its {} frames",
                            frames.len()
                        ));
                        let read = |position| Ok(data.read(group, split, position)?.pixels);
                        write(&path, (frames, infos), &read, method).context("video", name)?;
                    }
                    open(path, frames.len())?
                }
            };
            stored.push(Stored { frames: frames.clone(), source });
        }
        Ok(Self { videos: stored })
    }

    /// The flow of the frame at `position`, `[2, height, width]`: of a region as it is, in pixels of the frame; of a whole frame in pixels of
    /// the size that it is brought to.
    ///
    /// # Errors
    /// If the frame is of no video, or the flow cannot be read.
    pub(crate) fn sample(
        &self,
        position: usize,
        pairing: Pairing,
        region: Option<&Region>,
        size: [usize; 2],
    ) -> Result<Vec<f32>> {
        let video = self.videos.iter().find(|video| video.frames.contains(&position));
        let Stored { frames, source } = video.ok_or_else(|| Error::data("the frame is of no video"))?;
        let wanted = match pairing {
            Pairing::Before => position,
            Pairing::After if position == frames.start => position,
            Pairing::After => (position + 1).min(frames.end - 1),
        };
        let (planes, from) = source.read(wanted - frames.start, region)?;
        let plane = from[0] * from[1];
        let mut values = Vec::with_capacity(2 * size[0] * size[1]);
        for (axis, plane) in planes.chunks_exact(plane.max(1)).enumerate() {
            if region.is_some() {
                values.extend(stretch(plane, from, size));
            } else {
                let scale = size[1 - axis] as f32 / from[1 - axis] as f32;
                values.extend(shrink(plane, from, size).into_iter().map(|value| value * scale));
            }
        }
        Ok(values)
    }
}

impl Source {
    /// Both planes of the flow of a frame, or of a region of it, and the extents of these.
    fn read(&self, frame: usize, region: Option<&Region>) -> Result<(Vec<f32>, [usize; 2])> {
        let (path, file, size) = match self {
            Self::Files { folder, video, first, size } => {
                let flow = folder.flow(video, first + frame as u64, *size)?;
                let region = checked(region, *size)?;
                let rows = |plane: &[f32]| crop(plane, size[1], &region);
                let planes = flow.values().chunks_exact(size[0] * size[1]).flat_map(rows).collect();
                return Ok((planes, region.extents()));
            }
            Self::Cache { path, file, size } => (path, file, *size),
        };
        let region = checked(region, size)?;
        let [height, width] = size;
        let mut planes = Vec::new();
        let mut bytes = vec![0; 2 * width * (region.y2 - region.y1)];
        for axis in 0..2 {
            let row = ((2 * frame + axis) * height + region.y1) * width;
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(HEADER + 2 * row as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|error| Error::io("cannot be read", path, &error))?;
            drop(file);
            let units: Vec<i16> = bytes.as_chunks().0.iter().map(|unit| i16::from_le_bytes(*unit)).collect();
            let rows = Region { y1: 0, y2: region.y2 - region.y1, ..region };
            planes.extend(crop(&units, width, &rows).into_iter().map(|unit| f32::from(unit) * UNIT));
        }
        Ok((planes, region.extents()))
    }
}

/// The region, or the whole frame where there is none.
fn checked(region: Option<&Region>, [height, width]: [usize; 2]) -> Result<Region> {
    let whole = Region { x1: 0, y1: 0, x2: width, y2: height };
    let region = region.copied().unwrap_or(whole);
    if region.x2 > width || region.y2 > height {
        let message = format!("the region {region:?} is not within the {height} x {width} pixels of the flow");
        return Err(Error::data(message).hint("flow must have the size of the frames"));
    }
    Ok(region)
}

fn crop<T: Copy>(plane: &[T], width: usize, region: &Region) -> Vec<T> {
    (region.y1..region.y2).flat_map(|y| &plane[y * width + region.x1..y * width + region.x2]).copied().collect()
}

/// Changes when what is stored changes its form.
const METHOD: &str = "flow-1";

impl<'a> Finder<'a> {
    /// What the configuration asks for; `open` opens a session for a network.
    ///
    /// # Errors
    /// If the user's files cannot be read.
    pub(crate) fn new(origin: &Origin, split: Split, open: Open<'a>) -> Result<Self> {
        Ok(match origin {
            Origin::BuiltIn => Self::Computed(Method::BuiltIn),
            Origin::Network(path) => Self::Computed(Method::Network(Box::new(FlowNetwork::new(path, open)?))),
            Origin::Files(path) => Self::Files(Arc::new(FlowFolder::open(&of_split(path, split, &[])?)?)),
        })
    }
}

impl Method<'_> {
    /// What the flow depends on.
    fn key(&self) -> Result<String> {
        match self {
            Self::Network(network) => Ok(network.key().to_owned()),
            Self::BuiltIn => built_in(),
        }
    }

    /// The flow of some pairs in units of [`UNIT`].
    fn between(&mut self, pairs: &[(&Pixels, &Pixels)]) -> Result<Vec<Vec<i16>>> {
        match self {
            Self::Network(network) => pairs.iter().map(|(a, b)| network.between(a, b)?.units()).collect(),
            Self::BuiltIn => {
                let one = |(a, b): &(&Pixels, &Pixels)| flow::between(&Gray::of(a)?, &Gray::of(b)?)?.units();
                pairs.par_iter().map(one).collect()
            }
        }
    }
}

/// What the built-in method makes of a fixed pair, so that another version of it has other keys.
fn built_in() -> Result<String> {
    let gray = |shift: usize| {
        let value = |i: usize| (((i % 32 + shift) * 7919 + i / 32 * 104_729) % 251) as f32;
        Gray::new(32, 32, (0..32 * 32).map(value).collect())
    };
    let units = flow::between(&gray(0)?, &gray(1)?)?.units()?;
    Ok(crate::files::digest(&units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>()))
}

/// Computes the flow of a video's frames, positions of `infos`, and puts it at `path` when all is there.
fn write(
    path: &Path,
    (frames, infos): (&Range<usize>, &[SampleInfo]),
    read: &(dyn Fn(usize) -> Result<Pixels> + Sync),
    method: &mut Method<'_>,
) -> Result<()> {
    let failed = |error: std::io::Error| {
        let error = Error::io("the flow cannot be written", path, &error);
        error.hint("free space there, or name another folder in MIMUS_CACHE")
    };
    let mut before = read(frames.start)?;
    let [height, width] = [before.height, before.width];
    let mut file = BufWriter::new(files::unfinished(path)?);
    let header: Vec<u8> = [height, width].iter().flat_map(|extent| (*extent as u64).to_le_bytes()).collect();
    file.write_all(&header).map_err(failed)?;
    for start in frames.clone().step_by(CHUNK) {
        let chunk: Vec<usize> = (start..frames.end.min(start + CHUNK)).collect();
        let pixels = chunk.par_iter().map(|position| read(*position)).collect::<Result<Vec<Pixels>>>()?;
        if let Some((position, other)) =
            chunk.iter().zip(&pixels).find(|(_, frame)| [frame.height, frame.width] != [height, width])
        {
            let (h, w) = (other.height, other.width);
            let error = Error::data(format!("has {h} x {w} pixels, the first frame of its video {height} x {width}"));
            return Err(error
                .with("file", infos[*position].path.display())
                .hint("frames of a video must be of one size"));
        }
        let pairs: Vec<(&Pixels, &Pixels)> = std::iter::once(&before).chain(&pixels).zip(&pixels).collect();
        for units in method.between(&pairs)? {
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            file.write_all(&bytes).map_err(failed)?;
        }
        if let Some(last) = pixels.into_iter().next_back() {
            before = last;
        }
    }
    files::finish(file.into_inner().map_err(|error| failed(error.into_error()))?, path)
}

fn open(path: PathBuf, frames: usize) -> Result<Source> {
    let failed = |error: std::io::Error| Error::io("cannot be read", &path, &error);
    let mut file = File::open(&path).map_err(failed)?;
    let mut header = [[0; 8]; 2];
    file.read_exact(header.as_flattened_mut()).map_err(failed)?;
    let size = header.map(|extent| u64::from_le_bytes(extent) as usize);
    let (found, expected) = (file.metadata().map_err(failed)?.len(), HEADER + (4 * frames * size[0] * size[1]) as u64);
    if found != expected {
        let message = format!("has {found} bytes, and the flow of {frames} frames has {expected}");
        let error = Error::new(ErrorKind::Io, message).with("file", path.display());
        return Err(error.hint("remove the file to compute it anew"));
    }
    Ok(Source::Cache { path, file: Mutex::new(file), size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tests::flat;

    /// Writes the flow of 40 frames into an empty folder; gives the error and what is left there.
    fn broken(read: &(dyn Fn(usize) -> Result<Pixels> + Sync)) -> (Error, usize) {
        let folder = tempfile::tempdir().unwrap();
        let info = |i: usize| SampleInfo {
            id: String::new(),
            path: PathBuf::from(format!("clip/{i}.png")),
            defect: String::new(),
            anomalous: false,
            mask: None,
            frame: Some(("clip".to_owned(), i as u64)),
        };
        let infos: Vec<SampleInfo> = (0..40).map(info).collect();
        let written = write(&folder.path().join("flow"), (&(0..40), &infos), read, &mut Method::BuiltIn);
        (written.unwrap_err(), std::fs::read_dir(folder.path()).unwrap().count())
    }

    #[test]
    fn a_frame_that_cannot_be_used_leaves_nothing_in_the_cache() {
        // Behind the first frames whose flow is written together.
        let (error, left) = broken(&|i| match i {
            37 => Err(Error::data("is cut short").with("file", "clip/37.png")),
            _ => Ok(flat(16, 16, i as u8)),
        });
        assert_eq!((error.message(), error.context_value("file"), left), ("is cut short", Some("clip/37.png"), 0));
        let (error, left) = broken(&|i| Ok(flat(16, if i == 38 { 17 } else { 16 }, i as u8)));
        assert_eq!(error.message(), "has 16 x 17 pixels, the first frame of its video 16 x 16");
        assert_eq!((error.context_value("file"), left), (Some("clip/38.png"), 0));
    }
}
