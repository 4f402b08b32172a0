//! The campus videos of ShanghaiTech, for anomaly detection; not the pictures for counting people that have the same name.
//!
//! ```text
//! root/training/videos/01_001.avi           root/training/frames/01_001/000.jpg   normal clips: scene and number
//! root/testing/frames/01_0014/000.jpg                                             clips to judge
//! root/testing/test_frame_mask/01_0014.npy                                        one number for each frame, 1 where anomalous
//! root/testing/test_pixel_mask/01_0014.npy                                        where: frames, height, width; may be missing
//! ```
//!
//! All 13 scenes are one group, as in the literature, or with `scenes = true` a group each; a scene without clips to judge (there is one) is
//! then no group. Clips may be missing.
//!
//! Luo et al., "A Revisit of Sparse Coding Based Anomaly Detection in Stacked RNN Framework", ICCV 2017; Liu et al., "Future Frame
//! Prediction for Anomaly Detection", CVPR 2018.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::plugin::{
    ComponentInfo, Dataset, Kind, OpenDataset, OptionSpec, Options, groups_option, selected_groups,
};
use mimus_core::{Context, Error, Result};
use mimus_decode::MaskPolicy;
use mimus_video::{Cache, Clip, Judged, Scene, Truth, clips, from_masks, from_numbers, numbers, parts, slices};

/// Folders of clips to learn from and to judge.
const PARTS: [[&str; 2]; 3] = [
    ["training/frames", "testing/frames"],
    ["training/videos", "testing/frames"],
    ["training/videosFrame", "testing/frames"],
];
const FRAME_MASKS: &str = "testing/test_frame_mask";
const PIXEL_MASKS: &str = "testing/test_pixel_mask";
/// Folders of the data set for counting people.
const COUNTING: [&str; 4] = ["part_A", "part_B", "part_A_final", "part_B_final"];

/// The campus videos of ShanghaiTech.
#[derive(Debug)]
pub struct ShanghaiTech;

impl Dataset for ShanghaiTech {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Dataset, "shanghaitech", "the campus videos of ShanghaiTech")
            .with_paper("Luo et al., A Revisit of Sparse Coding Based Anomaly Detection, ICCV 2017")
            .with_option(groups_option())
            .with_option(OptionSpec::bool(
                "scenes",
                false,
                "a group, and so a model, for each scene instead of one for all",
            ))
            .with_option(mimus_video::masks_option())
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        open(mimus_decode::root(root)?, options, &Cache::of_user())
    }
}

fn open(root: &Path, options: &Options, cache: &Cache) -> Result<Box<dyn OpenDataset>> {
    if COUNTING.iter().any(|part| root.join(part).is_dir()) {
        return Err(Error::data(
            "is the ShanghaiTech data set for counting people, which has no videos and no anomalies",
        )
        .with("folder", root.display())
        .hint(
            "get the ShanghaiTech Campus data set for anomaly detection, which has the folders training and testing",
        ));
    }
    let [train, test] = parts(root, &PARTS)?;
    let test =
        clips(&test, cache, |_| false)?.into_iter().map(|clip| judged(root, clip)).collect::<Result<Vec<_>>>()?;
    let scenes = grouped(clips(&train, cache, |_| false)?, test, options.bool("scenes")?)?;
    let wanted = selected_groups(options, scenes.iter().map(|scene| scene.name.clone()).collect())?;
    let policy = MaskPolicy::of(options)?;
    let scenes = scenes.into_iter().filter(|scene| wanted.contains(&scene.name));
    mimus_video::open(scenes.map(|scene| scene.with_masks(policy)).collect::<Result<_>>()?)
}

/// A clip with its labels and, where they are there, its masks.
fn judged(root: &Path, clip: Clip) -> Result<Judged> {
    let file = format!("{}.npy", clip.name);
    let (labels, masks) = (root.join(FRAME_MASKS).join(&file), root.join(PIXEL_MASKS).join(&file));
    let read = || {
        let anomalous = from_numbers(&numbers(&labels)?).context("file", labels.display())?;
        let anomalous = from_masks(&clip, anomalous).context("file", labels.display())?;
        let masks = if masks.is_file() { slices(&masks)? } else { Vec::new() };
        Ok(Truth { anomalous, masks, kept: None })
    };
    let truth: Truth = read().context("video", &clip.name)?;
    let (found, frames) = (truth.masks.len(), clip.frames.len());
    if found > 0 && found != frames {
        return Err(Error::data(format!("has {found} masks, but the clip has {frames} frames"))
            .with("file", masks.display())
            .with("video", &clip.name)
            .hint("add the missing frames, or set masks = \"ignore\""));
    }
    Ok(Judged { clip, truth })
}

/// One scene of all clips, or one for each number before the underscore of the clips' names.
fn grouped(train: Vec<Clip>, test: Vec<Judged>, by_scene: bool) -> Result<Vec<Scene>> {
    if !by_scene {
        return Ok(vec![Scene { name: "shanghaitech".to_owned(), train, test }]);
    }
    let mut scenes: BTreeMap<String, Scene> = BTreeMap::new();
    let empty = |name: &String| Scene { name: name.clone(), train: Vec::new(), test: Vec::new() };
    for judged in test {
        let name = scene_of(&judged.clip)?;
        scenes.entry(name.clone()).or_insert_with(|| empty(&name)).test.push(judged);
    }
    for clip in train {
        if let Some(scene) = scenes.get_mut(&scene_of(&clip)?) {
            scene.train.push(clip);
        }
    }
    match scenes.values().find(|scene| scene.train.is_empty()) {
        None => Ok(scenes.into_values().collect()),
        Some(bare) => Err(Error::data(format!("scene {} has clips to judge and none to learn from", bare.name))
            .hint("add its training clips, remove its test clips, or set scenes = false")),
    }
}

fn scene_of(clip: &Clip) -> Result<String> {
    match clip.name.split_once('_') {
        Some((scene, _)) => Ok(scene.to_owned()),
        None => Err(Error::data("does not tell its scene: expects a name such as 01_0014")
            .with("video", &clip.name)
            .with("file", clip.source.display())
            .hint("give it back its published name, or set scenes = false")),
    }
}

mimus_core::plugin! { Dataset(ShanghaiTech) }
