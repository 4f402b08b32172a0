//! The pictures of one group as one model sees them, decoded once for all cells.

use std::path::{Path, PathBuf};

use mimus_core::plugin::{Group, Preprocessing, SampleInfo, Split};
use mimus_core::random::Stream;
use mimus_core::{Context, Error, Result};
use rayon::prelude::*;

use crate::images::{Picture, load, picture};
use crate::plan::Plan;

/// Pictures and names for messages.
pub(crate) struct Pictures {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) names: Vec<String>,
}

/// What is learned from, what calibrates, what is judged.
pub(crate) struct Material {
    pub(crate) fit: Pictures,
    /// Normal images kept apart from training.
    pub(crate) held: Pictures,
    pub(crate) test: Pictures,
    /// Pictures of textures for models that synthesise defects, if the user names any.
    pub(crate) textures: Vec<Picture>,
}

impl Material {
    /// Decodes a group.
    pub(crate) fn load(plan: &Plan, group: usize, preprocessing: &Preprocessing) -> Result<Self> {
        let Group { name, train, test, .. } = &plan.data.index().groups[group];
        let size = [plan.config.input.height, plan.config.input.width];
        let held = held_out(train.len(), plan.config.train.holdout).context("group", name)?;
        let read = |split| load(plan.data.as_ref(), group, split, preprocessing, size).context("group", name);
        let [mut fit, mut kept] = [(); 2].map(|()| Pictures { pictures: Vec::new(), names: Vec::new() });
        for (i, (picture, info)) in read(Split::Train)?.into_iter().zip(train).enumerate() {
            let part = if held.contains(&i) { &mut kept } else { &mut fit };
            part.pictures.push(picture);
            part.names.push(path(info));
        }
        let test = Pictures { pictures: read(Split::Test)?, names: test.iter().map(path).collect() };
        let textures = match &plan.config.train.textures {
            Some(folder) => textures(folder, preprocessing, size).context("key", "train.textures")?,
            None => Vec::new(),
        };
        Ok(Self { fit, held: kept, test, textures })
    }
}

/// All pictures below a folder, in the order of their paths.
fn textures(folder: &Path, preprocessing: &Preprocessing, size: [usize; 2]) -> Result<Vec<Picture>> {
    let read = |path: &PathBuf| picture(&mimus_decode::read(path)?, None, preprocessing, size);
    mimus_decode::pictures(folder)?.par_iter().map(read).collect()
}

fn path(info: &SampleInfo) -> String {
    info.path.display().to_string()
}

/// Positions of the images kept apart: the same for every seed and variant, so that all learn from the same images.
pub(crate) fn held_out(images: usize, share: f64) -> Result<Vec<usize>> {
    if share == 0.0 {
        return Ok(Vec::new());
    }
    let count = ((images as f64 * share).round() as usize).max(1);
    if count >= images {
        return Err(Error::data(format!("{images} training images are too few to hold {count} out for calibration"))
            .with("key", "train.holdout")
            .hint("add images, or set train.holdout = 0 and boost.normalize = \"none\""));
    }
    let mut order = Stream::keyed("holdout").permutation(images);
    order.truncate(count);
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_at_least_is_held_out_and_one_at_least_is_left() {
        assert_eq!(held_out(5, 0.1).unwrap().len(), 1);
        assert_eq!(held_out(100, 0.1).unwrap().len(), 10);
        assert!(held_out(10, 0.0).unwrap().is_empty());
        assert_eq!(held_out(1, 0.1).unwrap_err().context_value("key"), Some("train.holdout"));
    }
}
