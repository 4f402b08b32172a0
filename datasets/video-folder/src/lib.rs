//! Videos of your own: video files, or folders of frames.
//!
//! ```text
//! root/train/monday.mp4          root/train/monday/000001.jpg   normal clips
//! root/test/tuesday.mp4          root/test/tuesday/000001.jpg   clips to judge
//! root/labels.csv                                               which frames are anomalous: lines `video,start,end`
//! root/masks/tuesday/000001.png                                 where: a picture for each frame, with its number; may be missing
//! ```
//!
//! - Frames are named by their number, from 0 or 1 on and without a gap; those of video files have the numbers from 0 on.
//! - `labels.csv` begins with the line `video,start,end`. Intervals count frames from 1 on, whatever their names say, and both ends belong to
//!   them. Clips that it does not name are normal.
//! - Without `labels.csv` a frame is anomalous where its mask marks a pixel, and every clip to judge needs masks.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::path::Path;

use mimus_core::error::did_you_mean;
use mimus_core::plugin::{ComponentInfo, Dataset, Kind, OpenDataset, Options};
use mimus_core::{Context, Error, Result};
use mimus_decode::MaskPolicy;
use mimus_video::{Cache, Clip, Judged, Mask, Scene, Truth, clips, from_intervals, parts, picture_masks};

const LABELS: &str = "labels.csv";
const HEADER: &str = "video,start,end";
const MASKS: &str = "masks";

/// Videos of your own.
#[derive(Debug)]
pub struct VideoFolder;

impl Dataset for VideoFolder {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Dataset, "video-folder", "videos of your own: video files or folders of frames")
            .with_option(mimus_video::masks_option())
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        open(mimus_decode::root(root)?, options, &Cache::of_user())
    }
}

fn open(root: &Path, options: &Options, cache: &Cache) -> Result<Box<dyn OpenDataset>> {
    let [train, test] = parts(root, &[["train", "test"]])?;
    let (train, test) = (clips(&train, cache, |_| false)?, clips(&test, cache, |_| false)?);
    let masks = test.iter().map(|clip| masks_of(root, clip)).collect::<Result<Vec<_>>>()?;
    let path = root.join(LABELS);
    let truths = match path.is_file() {
        true => {
            let labels = labels(&path, &test)?.into_iter().zip(masks);
            labels.map(|(anomalous, masks)| Truth { anomalous, masks, kept: None }).collect()
        }
        false => test.iter().zip(masks).map(|(clip, masks)| of_masks(root, clip, masks)).collect::<Result<Vec<_>>>()?,
    };
    let test = test.into_iter().zip(truths).map(|(clip, truth)| Judged { clip, truth }).collect();
    let scene = Scene { name: mimus_decode::folder_name(root)?, train, test };
    mimus_video::open(vec![scene.with_masks(MaskPolicy::of(options)?)?])
}

fn masks_of(root: &Path, clip: &Clip) -> Result<Vec<Mask>> {
    let folder = root.join(MASKS).join(&clip.name);
    if folder.is_dir() { picture_masks(clip, &folder) } else { Ok(Vec::new()) }
}

fn of_masks(root: &Path, clip: &Clip, masks: Vec<Mask>) -> Result<Truth> {
    if masks.is_empty() {
        return Err(Error::data("has neither labels nor masks")
            .with("video", &clip.name)
            .with("folder", root.display())
            .hint(format!(
                "write {LABELS} with the line `{HEADER}` and a line for each anomalous interval, or add masks/{}",
                clip.name
            )));
    }
    Truth::of_masks(clip, masks)
}

/// The labels of each clip.
fn labels(path: &Path, clips: &[Clip]) -> Result<Vec<Vec<bool>>> {
    let read = || {
        let text = mimus_decode::bytes(path)?;
        let text = str::from_utf8(&text).map_err(|error| Error::data(format!("is no text in UTF-8: {error}")))?;
        let mut lines = (1..).zip(text.lines().map(str::trim));
        let header = lines.next().map(|(_, line)| line.trim_start_matches('\u{feff}'));
        if header != Some(HEADER) {
            return Err(
                Error::data(format!("does not begin with the line `{HEADER}`")).hint("add it as the first line")
            );
        }
        let mut intervals = vec![Vec::new(); clips.len()];
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let (clip, interval) = parse(line, clips).context("line", number)?;
            intervals[clip].push(interval);
        }
        let labels = clips.iter().zip(&intervals);
        labels.map(|(clip, list)| from_intervals(clip.frames.len(), list).context("video", &clip.name)).collect()
    };
    read().context("file", path.display())
}

/// Which clip a line names, and the interval.
fn parse(line: &str, clips: &[Clip]) -> Result<(usize, [u64; 2])> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let interval = match fields.as_slice() {
        [name, start, end] => start.parse().ok().zip(end.parse().ok()).map(|(start, end)| (*name, [start, end])),
        _ => None,
    };
    let (name, interval) = interval.ok_or_else(|| {
        Error::data(format!("is no name and two frame numbers: {line}")).hint("expected a line such as tuesday,61,180")
    })?;
    let clip = clips.iter().position(|clip| clip.name == name).ok_or_else(|| {
        let error = Error::data(format!("names the clip `{name}`, which is not in test"));
        match did_you_mean(name, clips.iter().map(|clip| clip.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`? Names are without the extension")),
            None => error.hint("names are those of the folders or files in test, without the extension"),
        }
    })?;
    Ok((clip, interval))
}

mimus_core::plugin! { Dataset(VideoFolder) }
