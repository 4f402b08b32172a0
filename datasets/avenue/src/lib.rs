//! The videos of CUHK Avenue.
//!
//! ```text
//! root/training_videos/01.avi    root/training/frames/01/0000.jpg    normal clips
//! root/testing_videos/01.avi     root/testing/frames/01/0000.jpg     clips to judge
//! root/ground_truth_demo/testing_label_mask/1_label.mat              where the anomaly is: a cell array `volLabel`
//! root/avenue.mat                                                    which frames are anomalous: a cell array `gt`
//! ```
//!
//! Two conventions of frame labels are in use, and their results are not comparable: a frame is anomalous where its published mask marks
//! a pixel (3712 of 15324 frames), or within the intervals of Hasan et al. and Liu et al. (3867). With intervals there are no masks, since
//! the published ones contradict them. Clips may be missing.
//!
//! Lu et al., "Abnormal Event Detection at 150 FPS in MATLAB", ICCV 2013.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::path::Path;

use mimus_core::plugin::{ComponentInfo, Dataset, Kind, OpenDataset, OptionSpec, Options};
use mimus_core::{Context, Error, Result};
use mimus_decode::MaskPolicy;
use mimus_video::{Cache, Clip, Judged, Scene, Truth, clips, intervals, labels_by_number, mask_volume, parts};

/// Folders of clips to learn from and to judge.
const PARTS: [[&str; 2]; 3] =
    [["training_videos", "testing_videos"], ["training/frames", "testing/frames"], ["training", "testing"]];
/// Folders of masks.
const MASKS: [&str; 2] = ["ground_truth_demo/testing_label_mask", "testing_label_mask"];
/// The file of intervals.
const INTERVALS: &str = "avenue.mat";

/// The videos of CUHK Avenue.
#[derive(Debug)]
pub struct Avenue;

impl Dataset for Avenue {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Dataset, "avenue", "the videos of CUHK Avenue")
            .with_paper("Lu et al., Abnormal Event Detection at 150 FPS in MATLAB, ICCV 2013")
            .with_option(OptionSpec::choice(
                "labels",
                "masks",
                &["masks", "intervals"],
                "masks: a frame is anomalous where its mask marks a pixel; intervals: as avenue.mat says, without masks",
            ))
            .with_option(mimus_video::masks_option())
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        open(mimus_decode::root(root)?, options, &Cache::of_user())
    }
}

fn open(root: &Path, options: &Options, cache: &Cache) -> Result<Box<dyn OpenDataset>> {
    let [train, test] = parts(root, &PARTS)?;
    let (train, test) = (clips(&train, cache, |_| false)?, clips(&test, cache, |_| false)?);
    let truths = match options.text("labels")? {
        "intervals" => from_intervals(root, &test)?,
        _ => test.iter().map(|clip| masks_of(root, clip, cache)).collect::<Result<_>>()?,
    };
    let test = test.into_iter().zip(truths).map(|(clip, truth)| Judged { clip, truth }).collect();
    let scene = Scene { name: "avenue".to_owned(), train, test };
    mimus_video::open(vec![scene.with_masks(MaskPolicy::of(options)?)?])
}

fn from_intervals(root: &Path, clips: &[Clip]) -> Result<Vec<Truth>> {
    let path = root.join(INTERVALS);
    let labels = labels_by_number(&path, clips, &intervals(&path, "gt")?)?;
    Ok(labels.into_iter().map(|anomalous| Truth { anomalous, masks: Vec::new(), kept: None }).collect())
}

fn masks_of(root: &Path, clip: &Clip, cache: &Cache) -> Result<Truth> {
    let name = format!("{}_label.mat", clip.number()?);
    let path = MASKS.iter().map(|folder| root.join(folder).join(&name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| {
        Error::data(format!("has no masks: {}/{name} is missing", MASKS[0]))
            .with("video", &clip.name)
            .with("folder", root.display())
            .hint("add the ground truth that the data set was published with, or set labels = \"intervals\" for avenue.mat")
    })?;
    let truth = mask_volume(&path, "volLabel", cache).context("video", &clip.name)?;
    match (truth.anomalous.len(), clip.frames.len()) {
        (masks, frames) if masks == frames => Ok(truth),
        (masks, frames) => Err(Error::data(format!("has {masks} masks, but the clip has {frames} frames"))
            .with("file", path.display())
            .with("video", &clip.name)
            .hint("decode the video anew, every frame once, or take the ground truth of the same release")),
    }
}

mimus_core::plugin! { Dataset(Avenue) }
