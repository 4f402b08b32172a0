//! The pedestrian videos of UCSD: Ped1 and Ped2, as they were published and in the layouts into which others convert them.
//!
//! ```text
//! root/Train/Train001/001.tif     root/training/frames/01/000.jpg      normal frames (or without the folder `frames`)
//! root/Test/Test001/001.tif       root/testing/frames/01/000.jpg       frames to judge
//! root/Test/Test001_gt/001.bmp    root/testing/pixel_masks/01/000.png  where the anomaly is; may be missing for some clips
//! root/Test/UCSDped2.m            root/ped2.mat, root/*.npy            which frames are anomalous
//! ```
//!
//! - `root` may also hold several such folders (`UCSDped1`, `UCSDped2`): a group each.
//! - Clips may be missing where labels name them by number: all forms but `.npy`.
//! - `.m` and `.mat` hold intervals of frame numbers from 1 on; `.npy` one number for each frame of all test clips in their order, 0 or 1.
//!
//! Mahadevan et al., "Anomaly Detection in Crowded Scenes", CVPR 2010.
#![forbid(unsafe_code)]

mod layout;
#[cfg(test)]
mod tests;
mod truth;

use std::path::Path;

use mimus_core::plugin::{
    ComponentInfo, Dataset, Kind, OpenDataset, OptionSpec, Options, groups_option, selected_groups,
};
use mimus_core::{Context, Result};
use mimus_decode::MaskPolicy;
use mimus_video::Cache;

/// The pedestrian videos of UCSD.
#[derive(Debug)]
pub struct Ped2;

impl Dataset for Ped2 {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Dataset, "ped2", "the pedestrian videos of UCSD: Ped1, Ped2")
            .with_paper("Mahadevan et al., Anomaly Detection in Crowded Scenes, CVPR 2010")
            .with_option(groups_option())
            .with_option(OptionSpec::choice(
                "labels",
                "auto",
                &truth::SOURCES.map(|source| source.word),
                "where frame labels come from; auto: the first of the others that is there",
            ))
            .with_option(mimus_video::masks_option())
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        let places = layout::places(mimus_decode::root(root)?)?;
        let wanted = selected_groups(options, places.iter().map(|place| place.name.clone()).collect())?;
        let policy = MaskPolicy::of(options)?;
        let scenes = places.iter().filter(|place| wanted.contains(&place.name));
        let scenes = scenes
            .map(|place| place.scene(options.text("labels")?, policy, &Cache::of_user()).context("group", &place.name));
        mimus_video::open(scenes.collect::<Result<_>>()?)
    }
}

mimus_core::plugin! { Dataset(Ped2) }
