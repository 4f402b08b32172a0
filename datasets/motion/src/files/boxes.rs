//! Boxes of a detector of objects, or any others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mimus_core::metrics::PixelBox;
use mimus_core::{Context, Error, Result};
use mimus_decode::{Array, bytes};

use super::json::Object;
use super::{entries, extension, name};

/// From the arrays of published code, one of M x 4 numbers for each frame of all videos in turn, to the JSON that is read here.
const ADVICE: &str = "if you trust the file, convert it with the folder that holds a folder of frames for each video: \
python3 -c \"import json, os, sys, numpy; a = iter(numpy.load(sys.argv[1], allow_pickle=True)); r = sys.argv[2]; \
print(json.dumps({v: {f.split('.')[0]: next(a).tolist() for f in sorted(os.listdir(os.path.join(r, v)))} for v in sorted(os.listdir(r))}))\" \
BOXES.npy FRAMES > boxes.json";

/// A box from a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundBox {
    /// Where it is, as the file says: from 0 to the width and height.
    pub place: PixelBox,
    /// How sure its detector was, if the file says so.
    pub score: Option<f64>,
}

/// The boxes of videos, from
/// - a `.json` file: `{"<video>": {"<frame>": [[x1, y1, x2, y2], ...], ...}, ...}`, a box with a score behind it if there is one;
/// - a `.npy` file `<video>.npy`: numbers `[M, 5]`, in each row frame, x1, y1, x2, y2;
/// - a folder of such files.
///
/// A frame that a file does not name has no boxes.
#[derive(Debug)]
pub struct BoxFile {
    path: PathBuf,
    videos: BTreeMap<String, Video>,
}

#[derive(Debug)]
struct Video {
    file: PathBuf,
    frames: BTreeMap<u64, Vec<FoundBox>>,
}

impl BoxFile {
    /// Reads all files.
    ///
    /// # Errors
    /// If one cannot be read or is of another kind, a box is not four or five finite numbers or ends before it begins, or a video or frame is
    /// there twice.
    pub fn open(path: &Path) -> Result<Self> {
        let files = if path.is_dir() { entries(path)? } else { vec![path.to_owned()] };
        let mut videos: BTreeMap<String, Video> = BTreeMap::new();
        for file in files {
            for (video, frames) in read(&file).context("file", file.display())? {
                if let Some(other) = videos.get(&video) {
                    return Err(Error::data(format!(
                        "has boxes of a video of which {} has some too",
                        other.file.display()
                    ))
                    .with("video", video)
                    .with("file", file.display())
                    .hint("remove one of them"));
                }
                videos.insert(video, Video { file: file.clone(), frames });
            }
        }
        if videos.is_empty() {
            return Err(Error::data("holds no boxes of any video").with("file", path.display()));
        }
        Ok(Self { path: path.to_owned(), videos })
    }

    /// Whether the boxes fit a video that has `frames`, each of `[height, width]` pixels.
    ///
    /// # Errors
    /// If there are none of this video, some of a frame that it does not have, or one that reaches out of the picture.
    pub fn check(&self, video: &str, frames: &BTreeSet<u64>, [height, width]: [usize; 2]) -> Result<()> {
        let own = self.video(video)?;
        for (frame, boxes) in &own.frames {
            let place = |error: Error| error.with("frame", frame).with("video", video).with("file", own.file.display());
            if !frames.contains(frame) {
                let ends = [frames.first(), frames.last()].map(|end| end.copied().unwrap_or_default());
                return Err(place(Error::data("has boxes, but the video has no such frame")).hint(format!(
                    "the video has {} frames, {} to {}",
                    frames.len(),
                    ends[0],
                    ends[1]
                )));
            }
            let outside =
                |PixelBox { x1, y1, x2, y2 }: PixelBox| x1 < 0.0 || y1 < 0.0 || x2 > width as f64 || y2 > height as f64;
            if let Some(FoundBox { place: out, .. }) = boxes.iter().find(|found| outside(found.place)) {
                let PixelBox { x1, y1, x2, y2 } = out;
                let sentence =
                    format!("the box {x1}, {y1}, {x2}, {y2} reaches out of the picture of {height} x {width} pixels");
                return Err(place(Error::data(sentence))
                    .hint("boxes are x1, y1, x2, y2 in pixels of the frames as they are stored, cut at the border"));
            }
        }
        Ok(())
    }

    /// The boxes of a frame.
    ///
    /// # Errors
    /// If there are none of any frame of this video.
    pub fn boxes(&self, video: &str, frame: u64) -> Result<&[FoundBox]> {
        Ok(self.video(video)?.frames.get(&frame).map(Vec::as_slice).unwrap_or_default())
    }

    fn video(&self, video: &str) -> Result<&Video> {
        self.videos.get(video).ok_or_else(|| {
            let names: Vec<&str> = self.videos.keys().take(5).map(String::as_str).collect();
            Error::data("has no boxes")
                .with("video", video)
                .with("file", self.path.display())
                .hint(format!("videos are named as in the data set; there are {}, ...", names.join(", ")))
        })
    }
}

type Videos = Vec<(String, BTreeMap<u64, Vec<FoundBox>>)>;

fn read(file: &Path) -> Result<Videos> {
    match extension(file).as_str() {
        "json" => json(&bytes(file)?),
        "npy" => Ok(vec![(name(file, Path::file_stem)?.to_owned(), array(Array::open(file, ADVICE)?)?)]),
        _ => Err(Error::data("is no .json and no .npy file").hint("give boxes in one of these, or a folder of them")),
    }
}

fn json(bytes: &[u8]) -> Result<Videos> {
    let videos: Object<Object<Vec<Vec<f64>>>> = serde_json::from_slice(bytes).map_err(|error| {
        Error::data(format!("is no JSON of boxes: {error}"))
            .hint("it must hold {\"<video>\": {\"<frame>\": [[x1, y1, x2, y2], ...]}}")
    })?;
    let video = |(video, entries): (String, Object<Vec<Vec<f64>>>)| {
        let mut frames = BTreeMap::new();
        for (key, boxes) in entries.0 {
            let place = |error: Error| error.with("frame", &key).with("video", &video);
            let frame: u64 = key.parse().map_err(|_| place(Error::data("is no number of a frame")))?;
            let boxes: Result<Vec<FoundBox>> = boxes.iter().map(|numbers| found(numbers)).collect();
            if frames.insert(frame, boxes.map_err(place)?).is_some() {
                return Err(place(Error::data(format!("frame {frame} is there twice, in two spellings"))));
            }
        }
        Ok((video, frames))
    };
    videos.0.into_iter().map(video).collect()
}

fn array(array: Array) -> Result<BTreeMap<u64, Vec<FoundBox>>> {
    let [_, 5] = array.shape() else {
        return Err(Error::data(format!("has the extents {:?}, expects [M, 5]", array.shape()))
            .hint("each row is frame, x1, y1, x2, y2; the file is named after the video"));
    };
    let mut frames: BTreeMap<u64, Vec<FoundBox>> = BTreeMap::new();
    for (row, [frame, numbers @ ..]) in array.values()?.as_chunks::<5>().0.iter().enumerate() {
        if frame.fract() != 0.0 || !(0.0..9e15).contains(frame) {
            return Err(Error::data(format!("{frame} is no number of a frame")).with("row", row));
        }
        let frame = *frame as u64;
        frames
            .entry(frame)
            .or_default()
            .push(found(numbers).map_err(|error| error.with("frame", frame).with("row", row))?);
    }
    Ok(frames)
}

/// A box from four numbers, or five with a score.
fn found(numbers: &[f64]) -> Result<FoundBox> {
    let (place, score) = match *numbers {
        [x1, y1, x2, y2] => (PixelBox { x1, y1, x2, y2 }, None),
        [x1, y1, x2, y2, score] => (PixelBox { x1, y1, x2, y2 }, Some(score)),
        _ => {
            return Err(Error::data(format!(
                "a box has {} numbers, expects x1, y1, x2, y2 and perhaps a score",
                numbers.len()
            )));
        }
    };
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(Error::data(format!("the box {numbers:?} holds what is no finite number")));
    }
    if place.x2 < place.x1 || place.y2 < place.y1 {
        return Err(Error::data(format!("the box {numbers:?} ends before it begins"))
            .hint("boxes are x1, y1, x2, y2, not x, y, width, height"));
    }
    Ok(FoundBox { place, score })
}
