//! Clips: which folders hold frames, and which frame each file is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mimus_core::{Context, Error, Result};
use mimus_decode::ImageFile;

use crate::cache::{Cache, Entry};
use crate::ffmpeg;
use crate::set::digest;

/// Files that data sets keep beside their clips: labels and texts.
const COMPANIONS: [&str; 9] = ["csv", "htm", "html", "json", "m", "mat", "md", "npy", "txt"];

/// The frames of one video.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Its name in the data set: that of its folder or file.
    pub name: String,
    /// Its folder or video file.
    pub source: PathBuf,
    /// Number of the first frame: 0 or 1. The others follow without a gap.
    pub first: u64,
    /// The pictures, in the order of time.
    pub frames: Vec<PathBuf>,
    /// Of a video file: what holds its frames.
    pub kept: Option<Arc<Entry>>,
}

impl Clip {
    /// The clip whose frames are the pictures in a folder.
    ///
    /// # Errors
    /// If there is no picture, anything else, a name without a number, or a number missing or twice; names clip and file.
    pub fn of_folder(name: &str, folder: &Path) -> Result<Self> {
        Self::numbered(name, folder).context("video", name)
    }

    fn numbered(name: &str, folder: &Path) -> Result<Self> {
        let mut frames = Vec::new();
        for ImageFile { stem, path } in mimus_decode::images(folder)? {
            let number = number(&stem).ok_or_else(|| {
                Error::data("has no frame number in its name")
                    .with("file", path.display())
                    .hint("name frames by their number, such as 000.jpg, or move the file elsewhere")
            })?;
            frames.push((number, path));
        }
        frames.sort();
        let first = frames.first().map_or(0, |(number, _)| *number).min(1);
        for (expected, (found, path)) in (first..).zip(&frames) {
            if *found != expected {
                let what = match *found < expected {
                    true => format!("is frame {found} once more"),
                    false => format!("is frame {found}, but frame {expected} is missing"),
                };
                return Err(Error::data(what).with("file", path.display()).hint(
                    "labels and motion need every frame from 0 or 1 on: copy the video's frames again from their source",
                ));
            }
        }
        let frames = frames.into_iter().map(|(_, path)| path).collect();
        Ok(Self { name: name.to_owned(), source: folder.to_owned(), first, frames, kept: None })
    }

    /// The clip in a video file. Its frames, numbered from 0, are decoded into the cache unless they are there.
    ///
    /// # Errors
    /// If the program ffmpeg is not there or does not decode the file without errors, or the cache cannot be written; names clip and file.
    pub fn of_video(name: &str, file: &Path, cache: &Cache) -> Result<Self> {
        let read = || {
            let key = format!("{}-{}", mimus_decode::hex(&digest(file)?), ffmpeg::RECIPE);
            let make = |folder: &Path| {
                let program = ffmpeg::program().context("file", file.display())?;
                ffmpeg::extract(&program, file, folder)
            };
            let entry = cache.entry(&key, make)?;
            let frames = entry.files("png");
            if frames.is_empty() {
                return Err(Error::data("holds no frame")
                    .with("file", file.display())
                    .hint("copy it again from its source"));
            }
            let kept = Some(Arc::new(entry));
            Ok(Self { name: name.to_owned(), source: file.to_owned(), first: 0, frames, kept })
        };
        read().context("video", name)
    }

    /// The file of the frame at a position, or what stands for it in messages: a frame of a video file has none that a user knows.
    pub(crate) fn shown(&self, position: usize) -> PathBuf {
        match self.frames.get(position) {
            Some(file) if self.kept.is_none() => file.clone(),
            _ => self.source.join(format!("frame {}", self.first + position as u64)),
        }
    }

    /// The number at the end of its name, by which ground truth may name it: 4 for `Test004`.
    ///
    /// # Errors
    /// If there is none.
    pub fn number(&self) -> Result<u64> {
        number(&self.name).ok_or_else(|| {
            Error::data("has no number at the end of its name, by which its labels could be found")
                .with("video", &self.name)
                .hint("give it back the name that the data set was published with")
        })
    }
}

/// The number that a name ends with: 12 for `frame_012`.
pub fn number(name: &str) -> Option<u64> {
    let start = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name.get(start..)?.parse().ok()
}

/// The clips in a folder, in natural order: folders of frames, and video files. Folders that `other` knows by name are none.
///
/// # Errors
/// If there is no clip, a file that is none, two of one name, or as [`Clip::of_folder`] and [`Clip::of_video`].
pub fn clips(folder: &Path, cache: &Cache, other: impl Fn(&str) -> bool) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for mimus_decode::Entry { name, path, is_folder } in mimus_decode::entries(folder)? {
        match is_folder {
            true if other(&name) => {}
            true => clips.push(Clip::of_folder(&name, &path)?),
            false if ffmpeg::is_video(&path) => {
                let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or(name);
                clips.push(Clip::of_video(&name, &path, cache)?);
            }
            false if is_companion(&path) => {}
            false => {
                return Err(Error::data("is no clip").with("file", path.display()).hint(
                    "clips are folders of frames, or video files such as .avi and .mp4; move other files elsewhere",
                ));
            }
        }
    }
    if clips.is_empty() {
        return Err(Error::data("holds no clip")
            .with("folder", folder.display())
            .hint("put video files there, or the frames of each clip into a folder of their own"));
    }
    let twins = clips.iter().enumerate().find(|(i, clip)| clips[..*i].iter().any(|before| before.name == clip.name));
    match twins {
        None => Ok(clips),
        Some((_, second)) => Err(Error::data("is a second clip of its name")
            .with("file", second.source.display())
            .with("video", &second.name)
            .hint("rename or remove one of them")),
    }
}

/// The first pair of folders below `root`, to learn from and to judge, of which both are there.
///
/// # Errors
/// If there is none.
pub fn parts(root: &Path, pairs: &[[&str; 2]]) -> Result<[PathBuf; 2]> {
    let mut found = pairs.iter().map(|pair| pair.map(|part| root.join(part)));
    found.find(|pair| pair.iter().all(|part| part.is_dir())).ok_or_else(|| {
        let expected: Vec<String> = pairs.iter().map(|[train, test]| format!("{train} and {test}")).collect();
        Error::data("has not the folders of the data set")
            .with("folder", root.display())
            .hint(format!("expected the folders {}", expected.join(", or ")))
    })
}

fn is_companion(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    COMPANIONS.contains(&extension.as_str())
}
