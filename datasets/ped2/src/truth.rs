//! Which frames are anomalous, from whichever form of labels is there.

use std::path::{Path, PathBuf};

use mimus_core::{Error, Result};
use mimus_video::{Clip, Mask, Truth, intervals, labels_by_number, labels_of_all};

use crate::layout::Place;

/// A form of labels.
pub(crate) struct Source {
    /// Its word in the option `labels`.
    pub(crate) word: &'static str,
    /// The file that holds it; `None` if there is none.
    file: fn(&Place) -> Result<Option<PathBuf>>,
    /// The labels of each clip in that file.
    read: fn(&Path, &[Clip]) -> Result<Labels>,
}

/// Of each clip, whether each of its frames is anomalous.
type Labels = Vec<Vec<bool>>;

/// All forms; the first stands for the first of the others that is there.
pub(crate) const SOURCES: [Source; 5] = [
    Source { word: "auto", file: |_| Ok(None), read: |_, _| Ok(Vec::new()) },
    Source {
        word: "mat",
        file: |place| only(place, "mat"),
        read: |path, clips| labels_by_number(path, clips, &intervals(path, "gt")?),
    },
    Source {
        word: "m",
        file: |place| only(place, "m"),
        read: |path, clips| labels_by_number(path, clips, &script(path)?),
    },
    Source { word: "npy", file: |place| only(place, "npy"), read: labels_of_all },
    Source { word: "masks", file: |_| Ok(None), read: |_, _| Ok(Vec::new()) },
];

/// The ground truth of each clip.
///
/// # Errors
/// If the labels asked for are not there, or do not fit the clips.
pub(crate) fn truths(place: &Place, labels: &str, clips: &[Clip], masks: Vec<Vec<Mask>>) -> Result<Vec<Truth>> {
    for source in SOURCES.iter().filter(|source| [source.word, "auto"].contains(&labels)) {
        if let Some(path) = (source.file)(place)? {
            let labels = (source.read)(&path, clips)?;
            return Ok(labels
                .into_iter()
                .zip(masks)
                .map(|(anomalous, masks)| Truth { anomalous, masks, kept: None })
                .collect());
        }
    }
    if !["auto", "masks"].contains(&labels) {
        return Err(Error::data(format!("holds no .{labels} file with labels"))
            .with("folder", place.root.display())
            .hint("set labels = \"auto\", or add the file"));
    }
    let of_masks = |(clip, masks): (&Clip, Vec<Mask>)| {
        match masks.is_empty() {
        false => Truth::of_masks(clip, masks),
        true => Err(Error::data("has neither labels nor masks")
            .with("video", &clip.name)
            .with("folder", place.root.display())
            .hint("add UCSDped1.m, UCSDped2.m or ped2.mat, which the data set was published with, or the masks of every clip")),
    }
    };
    clips.iter().zip(masks).map(of_masks).collect()
}

/// The only file with an extension, in the root or beside the test clips.
fn only(place: &Place, extension: &str) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for folder in [&place.root, &place.test] {
        let files = mimus_decode::entries(folder)?.into_iter().filter(|entry| !entry.is_folder);
        found.extend(files.map(|file| file.path).filter(|path| path.extension().is_some_and(|have| have == extension)));
    }
    match found.as_slice() {
        [first, second, ..] => Err(Error::data("is a second file with labels")
            .with("file", second.display())
            .hint(format!("remove it or {}", first.display()))),
        _ => Ok(found.pop()),
    }
}

/// The intervals in UCSD's scripts, which have a line such as `TestVideoFile{end+1}.gt_frame = [5:90, 140:200];` for each clip.
fn script(path: &Path) -> Result<Vec<Vec<[u64; 2]>>> {
    let text = String::from_utf8_lossy(&mimus_decode::bytes(path)?).into_owned();
    let lines = text.lines().filter(|line| line.contains("gt_frame"));
    let parsed = lines.map(|line| {
        interval_list(line).ok_or_else(|| {
            Error::data(format!("has a line that is no list of frames: {line}"))
                .with("file", path.display())
                .hint("expected a line such as TestVideoFile{end+1}.gt_frame = [61:180]; for each clip")
        })
    });
    parsed.collect()
}

fn interval_list(line: &str) -> Option<Vec<[u64; 2]>> {
    let (_, list) = line.split_once('[')?;
    let (list, _) = list.split_once(']')?;
    let parts = list.split([',', ' ', '\t']).filter(|part| !part.is_empty());
    let interval = |part: &str| match part.split_once(':') {
        Some((first, last)) => Some([first.parse().ok()?, last.parse().ok()?]),
        None => part.parse().ok().map(|frame| [frame, frame]),
    };
    parts.map(interval).collect()
}
