//! Folders in the layout of MVTec AD: the data set itself, others published in the same layout (MPDD, BTAD, VisA's
//! "1cls" conversion), and a user's own photographs.
//!
//! ```text
//! root/<category>/train/good/000.png              normal images to learn from
//! root/<category>/test/good/000.png               normal images to judge
//! root/<category>/test/<defect>/000.png           anomalous images to judge
//! root/<category>/ground_truth/<defect>/000_mask.png   (or 000.png) where the defect is
//! ```
//!
//! - `root` may itself be the one category. Files beside the folders of a category (licence, readme) are not read.
//! - Images are PNG, JPEG, BMP or TIFF with 8 bits a channel, gray or colour, of any size; the content decides, not the extension. An alpha channel
//!   is dropped where it is opaque and refused where it is not. An orientation noted in EXIF is not applied: masks follow the stored pixels.
//! - A mask marks a pixel as anomalous where any channel is not zero, as in MVTec's own evaluation; in a JPEG mask from 128 on, since
//!   lossy compression leaves small values around its regions.
//! - Hidden files and those that file managers leave behind are passed over; anything else out of place is an error.
//!
//! Bergmann et al., "MVTec AD: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection", CVPR 2019.
#![forbid(unsafe_code)]

mod folder;
mod index;
mod masks;
mod survey;
#[cfg(test)]
mod tests;

use std::path::Path;

use mimus_core::plugin::{
    ComponentInfo, Dataset, Index, Kind, OpenDataset, OptionSpec, Options, Sample, Split, groups_option,
};
use mimus_core::{Error, Result};
use mimus_decode::MaskPolicy;

/// Folders in the layout of MVTec AD.
#[derive(Debug)]
pub struct Mvtec;

impl Dataset for Mvtec {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Dataset, "mvtec", "folders in the layout of MVTec AD: MVTec, MPDD, BTAD, your own")
            .with_paper("Bergmann et al., MVTec AD, CVPR 2019")
            .with_option(groups_option())
            .with_option(OptionSpec::texts("normal", &["good", "ok"], "names of the folders that hold normal images"))
            .with_option(OptionSpec::choice(
                "masks",
                "auto",
                &MaskPolicy::WORDS,
                "auto: a category has masks for all of its anomalous images or for none; required: for all; ignore: image level only",
            ))
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        let groups = index::groups(mimus_decode::root(root)?, options)?;
        let fingerprint = survey::fingerprint(&groups)?;
        Ok(Box::new(Folders(Index { groups, fingerprint })))
    }
}

/// An indexed tree.
struct Folders(Index);

impl OpenDataset for Folders {
    fn index(&self) -> &Index {
        &self.0
    }

    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample> {
        let found = self.0.groups.get(group).and_then(|group| group.samples(split).get(sample));
        let info = found.ok_or_else(|| {
            Error::data(format!("group {group} has no sample {sample} in split {split:?}"))
                .hint("read by the index's positions")
        })?;
        let pixels = mimus_decode::read(&info.path)?;
        let mask = info.mask.as_deref().map(|path| masks::read(path, info, &pixels)).transpose()?;
        Ok(Sample { pixels, mask })
    }
}

mimus_core::plugin! { Dataset(Mvtec) }
