//! Clips: which folders hold frames, and which frame each file is.

use std::path::{Path, PathBuf};

use mimus_core::{Context, Error, Result};
use mimus_decode::{Entry, ImageFile};

/// Files that data sets keep beside their clips: labels and texts.
const COMPANIONS: [&str; 9] = ["csv", "htm", "html", "json", "m", "mat", "md", "npy", "txt"];

/// The frames of one video.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Its name in the data set: that of its folder.
    pub name: String,
    /// Its folder.
    pub source: PathBuf,
    /// Number of the first frame: 0 or 1. The others follow without a gap.
    pub first: u64,
    /// The pictures, in the order of time.
    pub frames: Vec<PathBuf>,
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
        Ok(Self { name: name.to_owned(), source: folder.to_owned(), first, frames })
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

/// The clips in a folder, in natural order. Folders that `other` knows by name are none.
///
/// # Errors
/// If there is no clip, a file that is none, or as [`Clip::of_folder`].
pub fn clips(folder: &Path, other: impl Fn(&str) -> bool) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for Entry { name, path, is_folder } in mimus_decode::entries(folder)? {
        match is_folder {
            true if other(&name) => {}
            true => clips.push(Clip::of_folder(&name, &path)?),
            false if is_companion(&path) => {}
            false => {
                return Err(Error::data("is no clip")
                    .with("file", path.display())
                    .hint("put the frames of each clip into a folder of their own, and other files elsewhere"));
            }
        }
    }
    if clips.is_empty() {
        return Err(Error::data("holds no clip")
            .with("folder", folder.display())
            .hint("put the frames of each clip into a folder of their own"));
    }
    Ok(clips)
}

fn is_companion(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    COMPANIONS.contains(&extension.as_str())
}
