//! A folder of flow files: one for each frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mimus_core::{Context, Error, Result};
use mimus_decode::{Array, bytes};

use super::{entries, extension, name};
use crate::flow::Flow;

/// The number with which a `.flo` file begins, by its bytes.
const MAGIC: &[u8] = b"PIEH";
/// Larger values mean that the flow is not known there.
const UNKNOWN: f32 = 1e9;
const RESIZE: &str = "flow must be computed for, or brought to, the size of the frames";
const ADVICE: &str = "store each frame's flow with numpy.save(path, flow.astype(numpy.float32)), [H, W, 2]";

/// Flow files `<root>/<video>/<frame>.flo` or `.npy`, the frame's number at the end of the name's part before the first point.
///
/// `.flo` is the format of the Middlebury benchmark (Baker et al., IJCV 2011); `.npy` holds floating numbers `[H, W, 2]` or `[2, H, W]`. Both
/// hold displacements to the right and down, in pixels.
#[derive(Debug)]
pub struct FlowFolder {
    root: PathBuf,
    videos: BTreeMap<String, BTreeMap<u64, PathBuf>>,
}

impl FlowFolder {
    /// Lists the files.
    ///
    /// # Errors
    /// If the folder cannot be read, holds no video, or a file in a video's folder is no flow file or repeats a frame's number.
    pub fn open(root: &Path) -> Result<Self> {
        let mut videos = BTreeMap::new();
        for folder in entries(root)?.into_iter().filter(|path| path.is_dir()) {
            let video = name(&folder, Path::file_name)?;
            videos.insert(video.to_owned(), frames(&folder).context("video", video)?);
        }
        if videos.is_empty() {
            return Err(Error::data("has no folder of a video")
                .with("folder", root.display())
                .hint("it must hold <video>/<frame>.flo or <video>/<frame>.npy, videos named as in the data set"));
        }
        Ok(Self { root: root.to_owned(), videos })
    }

    /// Whether there is a file for each of the `frames` of a video.
    ///
    /// # Errors
    /// If there is no such video, or a frame has none.
    pub fn check(&self, video: &str, frames: &BTreeSet<u64>) -> Result<()> {
        frames.iter().try_for_each(|frame| self.file(video, *frame).map(|_| ()))
    }

    /// The flow of a frame of a video whose frames have `[height, width]` pixels.
    ///
    /// # Errors
    /// If there is no such video or frame, or the file is damaged or of another size.
    pub fn flow(&self, video: &str, frame: u64, size: [usize; 2]) -> Result<Flow> {
        let path = self.file(video, frame)?;
        let read = if extension(path) == "flo" { flo(path, size) } else { array(path, size) };
        let place = |error: Error| error.with("frame", frame).with("video", video);
        read.context("file", path.display()).map_err(place)
    }

    fn file(&self, video: &str, frame: u64) -> Result<&Path> {
        let place = |error: Error| error.with("frame", frame).with("video", video);
        let files = self.videos.get(video).ok_or_else(|| {
            let names: Vec<&str> = self.videos.keys().take(5).map(String::as_str).collect();
            place(Error::data("has no folder of flow").with("folder", self.root.display()))
                .hint(format!("folders are named as the videos of the data set; there are {}, ...", names.join(", ")))
        })?;
        files.get(&frame).map(PathBuf::as_path).ok_or_else(|| {
            let ends = [files.keys().next(), files.keys().next_back()].map(|end| end.copied().unwrap_or_default());
            place(Error::data("has no file of flow").with("folder", self.root.join(video).display())).hint(format!(
                "the folder has {} frames, {} to {}",
                files.len(),
                ends[0],
                ends[1]
            ))
        })
    }
}

/// The flow files of a video by frame.
fn frames(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let mut frames = BTreeMap::new();
    for path in entries(folder)? {
        if !["flo", "npy"].contains(&extension(&path).as_str()) {
            return Err(Error::data("is no .flo and no .npy file").with("file", path.display()).hint("remove it"));
        }
        let whole = name(&path, Path::file_name)?;
        let stem = whole.split('.').next().unwrap_or(whole);
        let digits = stem.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let digits = digits.rsplit(|letter: char| !letter.is_ascii_digit()).next().unwrap_or(digits);
        let number = digits.parse().map_err(|_| {
            Error::data("does not end in a frame's number")
                .with("file", path.display())
                .hint("name it <frame>.flo or <frame>.npy")
        })?;
        if let Some(other) = frames.insert(number, path.clone()) {
            return Err(Error::data(format!(
                "has the number of a frame, {number}, of which there is {} too",
                other.display()
            ))
            .with("file", path.display())
            .hint("remove one of them"));
        }
    }
    Ok(frames)
}

/// Reads `.flo`: magic, width and height in 32 bits, then both components of pixel by pixel; all little-endian.
fn flo(path: &Path, size: [usize; 2]) -> Result<Flow> {
    let bytes = bytes(path)?;
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| Error::data("does not begin as a .flo file").hint("copy it again from its source"))?;
    let (words, left_over) = rest.as_chunks::<4>();
    let [width, height, values @ ..] = words else { return Err(Error::data("ends within its header")) };
    let found = [height, width].map(|side| i32::from_le_bytes(*side));
    let [height, width] = size;
    if found.map(usize::try_from) != [Ok(height), Ok(width)] {
        let [h, w] = found;
        return Err(
            Error::data(format!("holds flow of {h} x {w} pixels, the frame has {height} x {width}")).hint(RESIZE)
        );
    }
    if values.len() != 2 * height * width || !left_over.is_empty() {
        return Err(Error::data(format!("has {} bytes of data, expects {}", rest.len() - 8, 8 * height * width))
            .hint("it was cut short or damaged: copy it again from its source"));
    }
    let values: Vec<f32> = values.iter().map(|word| f32::from_le_bytes(*word)).collect();
    if let Some(at) = values.iter().position(|value| value.abs() > UNKNOWN) {
        return Err(Error::data("says that the flow of a pixel is not known")
            .with("pixel", format!("{} {}", at / 2 / width, at / 2 % width))
            .hint("use flow that is known everywhere"));
    }
    Flow::new(height, width, planar(&values))
}

/// Reads `.npy`.
fn array(path: &Path, size: [usize; 2]) -> Result<Flow> {
    let array = Array::open(path, ADVICE)?;
    if !array.is_floating() {
        return Err(Error::data("holds elements that are no floating numbers").hint(ADVICE));
    }
    let [height, width] = size;
    let shape = array.shape().to_vec();
    let values: Vec<f32> = array.values()?.iter().map(|value| *value as f32).collect();
    if shape == [2, height, width] {
        Flow::new(height, width, values)
    } else if shape == [height, width, 2] {
        Flow::new(height, width, planar(&values))
    } else {
        let expected = format!("[{height}, {width}, 2] or [2, {height}, {width}]");
        Err(Error::data(format!("has the extents {shape:?}, expects {expected} for this frame")).hint(RESIZE))
    }
}

/// From the two components of pixel by pixel to one after the other.
fn planar(values: &[f32]) -> Vec<f32> {
    let pairs = values.as_chunks::<2>().0;
    pairs.iter().map(|pair| pair[0]).chain(pairs.iter().map(|pair| pair[1])).collect()
}
