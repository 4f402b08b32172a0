//! The samples of one group as one model sees them, decoded once for all cells.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mimus_core::plugin::{Group, ModelSpec, Preprocessing, SampleInfo, Split};
use mimus_core::random::Stream;
use mimus_core::{Context, Error, Result};
use rayon::prelude::*;

use crate::images::{Picture, load, picture};
use crate::plan::Plan;
use crate::samples::{Samples, videos};

/// What is learned from, what calibrates, what is judged.
pub(crate) struct Material {
    pub(crate) fit: Samples,
    /// Normal images kept apart from training.
    pub(crate) held: Samples,
    pub(crate) test: Samples,
    /// Pictures of textures for models that synthesise defects, if the user names any.
    pub(crate) textures: Samples,
}

impl Material {
    /// Decodes a group for a model.
    pub(crate) fn load(plan: &Plan, group: usize, spec: &ModelSpec) -> Result<Self> {
        let Group { name, train, test, .. } = &plan.data.index().groups[group];
        let (preprocessing, size) = (&spec.preprocessing, [plan.config.input.height, plan.config.input.width]);
        let train: Vec<&SampleInfo> = train.iter().collect();
        let held = held_out(&train, plan.config.train.holdout).context("group", name)?;
        let read = |split| load(plan.data.as_ref(), group, split, preprocessing, size).context("group", name);
        let [mut fit, mut kept] = [(); 2].map(|()| (Vec::new(), Vec::new()));
        for (i, (picture, info)) in read(Split::Train)?.into_iter().zip(train).enumerate() {
            let part = if held.contains(&i) { &mut kept } else { &mut fit };
            part.0.push(picture);
            part.1.push(info);
        }
        let samples = |(frames, infos): (Vec<Picture>, Vec<&SampleInfo>)| {
            Samples::new(frames, &infos, &spec.clip).context("group", name)
        };
        let (fit, held) = (samples(fit)?, samples(kept)?);
        let test = samples((read(Split::Test)?, test.iter().collect()))?;
        let textures = match &plan.config.train.textures {
            Some(folder) => textures(folder, preprocessing, size).context("key", "train.textures")?,
            None => Samples::of_length(1, []),
        };
        Ok(Self { fit, held, test, textures })
    }
}

/// All pictures below a folder, in the order of their paths.
fn textures(folder: &Path, preprocessing: &Preprocessing, size: [usize; 2]) -> Result<Samples> {
    let files = mimus_decode::pictures(folder)?;
    let read = |path: &PathBuf| picture(&mimus_decode::read(path)?, None, preprocessing, size);
    let pictures = files.par_iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(Samples::of_length(1, pictures.into_iter().zip(files.iter().map(|path| path.display().to_string()))))
}

/// Positions of the samples kept apart: the same for every seed and variant, so that all learn from the same ones. Of videos whole
/// ones, so that no frame is on both sides; of a single video its end.
pub(crate) fn held_out(train: &[&SampleInfo], share: f64) -> Result<BTreeSet<usize>> {
    if share == 0.0 {
        return Ok(BTreeSet::new());
    }
    let units: Vec<Range<usize>> = match videos(train)? {
        Some(videos) if videos.len() > 1 => videos.into_iter().map(|(_, range)| range).collect(),
        Some(_) => {
            let first = train.len() - ((train.len() as f64 * share).round() as usize).clamp(1, train.len());
            return Ok((first..train.len()).collect());
        }
        None => (0..train.len()).map(|i| i..i + 1).collect(),
    };
    let count = ((units.len() as f64 * share).round() as usize).max(1);
    if count >= units.len() {
        let message = format!("{} training images are too few to hold {count} out for calibration", units.len());
        return Err(Error::data(message)
            .with("key", "train.holdout")
            .hint("add images, or set train.holdout = 0 and boost.normalize = \"none\""));
    }
    let order = Stream::keyed("holdout").permutation(units.len());
    Ok(order.into_iter().take(count).flat_map(|unit| units[unit].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos(count: usize, frame: impl Fn(usize) -> Option<(String, u64)>) -> Vec<SampleInfo> {
        let info = |i| SampleInfo {
            id: String::new(),
            path: PathBuf::new(),
            defect: String::new(),
            anomalous: false,
            mask: None,
            frame: frame(i),
        };
        (0..count).map(info).collect()
    }

    fn held(infos: &[SampleInfo], share: f64) -> Result<Vec<usize>> {
        Ok(held_out(&infos.iter().collect::<Vec<_>>(), share)?.into_iter().collect())
    }

    #[test]
    fn one_image_at_least_is_held_out_and_one_at_least_is_left() {
        let images = |count| infos(count, |_| None);
        assert_eq!(held(&images(5), 0.1).unwrap().len(), 1);
        assert_eq!(held(&images(100), 0.1).unwrap().len(), 10);
        assert!(held(&images(10), 0.0).unwrap().is_empty());
        assert_eq!(held(&images(1), 0.1).unwrap_err().context_value("key"), Some("train.holdout"));
    }

    #[test]
    fn videos_are_held_out_whole_and_of_one_video_its_end() {
        let three = infos(12, |i| Some(((i / 4).to_string(), i as u64)));
        let found = held(&three, 0.3).unwrap();
        assert!(found.len() == 4 && found[0].is_multiple_of(4) && found[3] == found[0] + 3, "{found:?}");
        assert_eq!(held(&infos(10, |i| Some(("a".to_owned(), i as u64))), 0.2).unwrap(), [8, 9]);
    }
}
