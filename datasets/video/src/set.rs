//! From clips and their ground truth to an index of frames, and from there to pixels.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mimus_core::plugin::{Group, Index, OpenDataset, OptionSpec, Pixels, Sample, SampleInfo, Split};
use mimus_core::{Context, Error, Result};
use mimus_decode::{MaskPolicy, Seen, check_mask_size, hex, look};
use rayon::prelude::*;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use crate::cache::Entry;
use crate::clip::Clip;
use crate::{labels, npy};

/// The label of normal frames.
const NORMAL: &str = "good";
/// The label of anomalous ones: video data sets publish no kinds.
const ANOMALOUS: &str = "anomaly";

/// Videos that one model is made for.
pub struct Scene {
    /// Its name in tables.
    pub name: String,
    /// Normal clips to learn from.
    pub train: Vec<Clip>,
    /// Clips to judge.
    pub test: Vec<Judged>,
}

impl Scene {
    /// Keeps masks if every clip with anomalous frames has them, as the option [`masks_option`] says.
    ///
    /// # Errors
    /// If the option requires masks, and a clip has none.
    pub fn with_masks(mut self, policy: MaskPolicy) -> Result<Self> {
        let bare =
            self.test.iter().find(|judged| judged.truth.masks.is_empty() && judged.truth.anomalous.contains(&true));
        match (policy, bare) {
            (MaskPolicy::Required, Some(judged)) => {
                return Err(Error::data("has anomalous frames and no masks")
                    .with("video", &judged.clip.name)
                    .hint("add its masks, or set masks = \"auto\" for metrics of frames only"));
            }
            (MaskPolicy::Ignore, _) | (_, Some(_)) => {
                self.test.iter_mut().for_each(|judged| judged.truth.masks.clear())
            }
            (_, None) => {}
        }
        Ok(self)
    }
}

/// The option that says how a data set of videos takes its masks: the same key and words for all.
pub fn masks_option() -> OptionSpec {
    OptionSpec::choice(
        "masks",
        "auto",
        &MaskPolicy::WORDS,
        "auto: pixel metrics if every clip with anomalies has masks; required: an error if one has none; ignore: frames only",
    )
}

/// A clip with its ground truth.
pub struct Judged {
    /// The frames.
    pub clip: Clip,
    /// What is true of each.
    pub truth: Truth,
}

/// What is true of the frames of a clip, in their order.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Whether a frame is anomalous.
    pub anomalous: Vec<bool>,
    /// Where its anomalous pixels are marked; empty where the clip has no masks.
    pub masks: Vec<Mask>,
    /// What holds masks that were unpacked.
    pub kept: Option<Arc<Entry>>,
}

/// Where the anomalous pixels of a frame are marked.
#[derive(Clone, Debug, PartialEq)]
pub enum Mask {
    /// In a picture.
    Picture(PathBuf),
    /// In an array `[frames, height, width]`, at a position.
    Slice(PathBuf, usize),
}

impl Mask {
    fn path(&self) -> &Path {
        match self {
            Self::Picture(path) | Self::Slice(path, _) => path,
        }
    }

    /// One byte a pixel, 1 where anomalous.
    fn read(&self, image: &Path, pixels: &Pixels) -> Result<ByteBuf> {
        match self {
            Self::Picture(path) => mimus_decode::mask(path, image, pixels),
            Self::Slice(path, position) => {
                let ([height, width], marks) = npy::slice(path, *position)?;
                check_mask_size(path, [width, height], image, [pixels.width, pixels.height])?;
                Ok(ByteBuf::from(marks))
            }
        }
    }
}

/// The masks of a clip that are pictures in a folder, one for each frame, with the frame's number.
///
/// # Errors
/// As [`Clip::of_folder`], and if there are more or fewer masks than frames.
pub fn picture_masks(clip: &Clip, folder: &Path) -> Result<Vec<Mask>> {
    let masks = Clip::of_folder(&clip.name, folder)?;
    if (masks.first, masks.frames.len()) != (clip.first, clip.frames.len()) {
        let numbers = |clip: &Clip| format!("{} to {}", clip.first, clip.first + clip.frames.len() as u64 - 1);
        return Err(Error::data(format!("has masks {}, but its frames are {}", numbers(&masks), numbers(clip)))
            .with("folder", folder.display())
            .with("video", &clip.name)
            .hint("add the missing masks or frames"));
    }
    Ok(masks.frames.into_iter().map(Mask::Picture).collect())
}

impl Truth {
    /// From masks alone: a frame is anomalous where its mask marks a pixel. Decodes every mask.
    ///
    /// # Errors
    /// If a mask cannot be decoded, or its size is not that of its frame.
    pub fn of_masks(clip: &Clip, masks: Vec<Mask>) -> Result<Self> {
        let marks = |(frame, mask): (&PathBuf, &Mask)| -> Result<bool> {
            let [width, height] = mimus_decode::size(frame, &mimus_decode::bytes(frame)?)?;
            let size = Pixels { height, width, channels: 1, bytes: ByteBuf::new() };
            Ok(mask.read(frame, &size)?.contains(&1))
        };
        let anomalous = clip.frames.par_iter().zip(&masks).map(marks).collect::<Result<Vec<bool>>>();
        let anomalous = labels::from_masks(clip, anomalous.context("video", &clip.name)?)?;
        Ok(Self { anomalous, masks, kept: None })
    }
}

/// Lists the frames of the scenes, and reads every file once: its hash for the fingerprint and, for pictures, the size in its header.
///
/// # Errors
/// If a file cannot be read, the frames of a clip differ in size, or ground truth does not fit its clip.
pub fn open(scenes: Vec<Scene>) -> Result<Box<dyn OpenDataset>> {
    let mut all = Sha256::new();
    let (mut groups, mut frames, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for scene in &scenes {
        let seen = scene
            .train
            .par_iter()
            .map(|clip| survey(clip, None))
            .chain(scene.test.par_iter().map(|judged| survey(&judged.clip, Some(&judged.truth))));
        for digest in seen.collect::<Vec<Result<[u8; 32]>>>() {
            all.update(digest.context("group", &scene.name)?);
        }
        let test = scene.test.iter();
        let group = Group {
            name: scene.name.clone(),
            train: scene.train.iter().flat_map(|clip| samples(Split::Train, clip, None)).collect(),
            test: test.clone().flat_map(|judged| samples(Split::Test, &judged.clip, Some(&judged.truth))).collect(),
            has_masks: test
                .clone()
                .any(|judged| judged.truth.anomalous.contains(&true) && !judged.truth.masks.is_empty()),
        };
        let learnt = scene.train.iter().flat_map(|clip| files(clip, None)).collect();
        frames.push([learnt, test.clone().flat_map(|judged| files(&judged.clip, Some(&judged.truth))).collect()]);
        kept.extend(scene.train.iter().filter_map(|clip| clip.kept.clone()));
        kept.extend(test.flat_map(|judged| [&judged.clip.kept, &judged.truth.kept]).filter_map(Clone::clone));
        groups.push(group);
    }
    Ok(Box::new(Videos { index: Index { groups, fingerprint: hex(&all.finalize()) }, frames, kept }))
}

fn files(clip: &Clip, truth: Option<&Truth>) -> Vec<Frame> {
    let mask = |i: usize| truth.and_then(|truth| truth.masks.get(i)).cloned();
    clip.frames.iter().enumerate().map(|(i, file)| Frame { file: file.clone(), mask: mask(i) }).collect()
}

/// A hash that follows everything in a clip and its ground truth.
fn survey(clip: &Clip, truth: Option<&Truth>) -> Result<[u8; 32]> {
    let mut all = Sha256::new();
    all.update(format!("{} {} {} ", clip.name, clip.first, clip.frames.len()));
    match &clip.kept {
        // All frames of a video file have one size, and its content says what they are.
        Some(entry) => all.update(entry.key()),
        None => survey_frames(clip, &mut all).context("video", &clip.name)?,
    }
    if let Some(truth) = truth {
        labels::from_masks(clip, truth.anomalous.clone())?;
        all.update(truth.anomalous.iter().map(|yes| u8::from(*yes)).collect::<Vec<u8>>());
        match &truth.kept {
            Some(entry) if !truth.masks.is_empty() => all.update(entry.key()),
            _ => survey_masks(truth, &mut all).context("video", &clip.name)?,
        }
    }
    Ok(all.finalize().into())
}

fn survey_frames(clip: &Clip, all: &mut Sha256) -> Result<()> {
    let seen = clip.frames.par_iter().map(|frame| look(frame)).collect::<Vec<Result<Seen>>>();
    let mut size = None;
    for (seen, frame) in seen.into_iter().zip(&clip.frames) {
        let seen = seen?;
        let [width, height] = *size.get_or_insert(seen.size);
        if seen.size != [width, height] {
            let message =
                format!("is {}x{}, but the frames before it are {width}x{height}", seen.size[0], seen.size[1]);
            return Err(Error::data(message)
                .with("file", frame.display())
                .hint("the frames of a video have one size: extract them again"));
        }
        all.update(seen.digest);
    }
    Ok(())
}

fn survey_masks(truth: &Truth, all: &mut Sha256) -> Result<()> {
    let mut files: Vec<&Path> = truth.masks.iter().map(Mask::path).collect();
    files.dedup();
    let digests = files.par_iter().map(|file| digest(file)).collect::<Result<Vec<_>>>();
    digests?.iter().for_each(|digest| all.update(digest));
    Ok(())
}

/// SHA-256 of a file of any length.
pub(crate) fn digest(path: &Path) -> Result<[u8; 32]> {
    let failed = |error: std::io::Error| Error::data(format!("cannot be read: {error}")).with("file", path.display());
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part).map_err(failed)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&part[..length]),
        }
    }
}

fn samples(split: Split, clip: &Clip, truth: Option<&Truth>) -> Vec<SampleInfo> {
    let part = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let sample = |(i, number): (usize, u64)| {
        let anomalous = truth.is_some_and(|truth| truth.anomalous.get(i) == Some(&true));
        SampleInfo {
            id: format!("{part}/{}/{number:04}", clip.name),
            path: clip.shown(i),
            defect: if anomalous { ANOMALOUS } else { NORMAL }.to_owned(),
            anomalous,
            mask: truth.and_then(|truth| truth.masks.get(i)).map(|mask| mask.path().to_owned()),
            frame: Some((clip.name.clone(), number)),
        }
    };
    (0..clip.frames.len()).zip(clip.first..).map(sample).collect()
}

/// Where a frame and its mask are.
struct Frame {
    file: PathBuf,
    mask: Option<Mask>,
}

/// Indexed videos.
struct Videos {
    index: Index,
    /// Of every group, the frames to learn from and those to judge, as in the index.
    frames: Vec<[Vec<Frame>; 2]>,
    /// Entries of the cache that stay as long as they are read.
    kept: Vec<Arc<Entry>>,
}

impl Videos {
    /// Has an entry of the cache made again, the next time, from which a file could not be read.
    fn condemn(&self, error: Error) -> Error {
        let file = error.context_value("file").map(PathBuf::from);
        let entry = file.and_then(|file| self.kept.iter().find(|entry| file.starts_with(entry.folder())));
        match entry.is_some_and(|entry| entry.condemn()) {
            false => error,
            true => Error::data(format!("a file in the cache is damaged: {}", error.one_line()))
                .hint("run again: it is made anew from the data set"),
        }
    }
}

impl OpenDataset for Videos {
    fn index(&self) -> &Index {
        &self.index
    }

    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample> {
        let info = self.index.groups.get(group).and_then(|group| group.samples(split).get(sample));
        let frames = self.frames.get(group).map(|[train, test]| match split {
            Split::Train => train,
            Split::Test => test,
        });
        let (info, frame) = info.zip(frames.and_then(|frames| frames.get(sample))).ok_or_else(|| {
            Error::data(format!("group {group} has no sample {sample} in split {split:?}"))
                .hint("read by the index's positions")
        })?;
        let read = || {
            let pixels = mimus_decode::read(&frame.file)?;
            let mask = frame.mask.as_ref().map(|mask| mask.read(&info.path, &pixels)).transpose()?;
            Ok(Sample { pixels, mask })
        };
        let sample = read().map_err(|error| self.condemn(error))?;
        if let (Some(marks), Some(path), false) = (&sample.mask, &info.mask, info.anomalous)
            && marks.contains(&1)
        {
            return Err(Error::data("marks anomalous pixels on a frame that the labels call normal")
                .with("file", path.display())
                .with("frame", info.path.display())
                .hint("check that labels and masks are of the same release"));
        }
        Ok(sample)
    }
}
