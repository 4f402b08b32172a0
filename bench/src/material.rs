//! The samples of one group as one model sees them, the same for all cells.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mimus_core::plugin::{Fill, Group, ModelSpec, OpenDataset, Preprocessing, Sample, SampleInfo, Split};
use mimus_core::random::Stream;
use mimus_core::{Context, Error, Result};
use rayon::prelude::*;

use crate::files;
use crate::flows::{self, Flows};
use crate::images::{Picture, picture};
use crate::input::{Input, Origin};
use crate::network::{ONNX, Open};
use crate::plan::Plan;
use crate::reel::Reel;
use crate::regions::Finder;
use crate::samples::{Footage, Samples, videos};

/// What is learned from, what calibrates, what is judged.
pub(crate) struct Material<'a> {
    pub(crate) fit: Samples<'a>,
    /// Normal images kept apart from training.
    pub(crate) held: Samples<'a>,
    pub(crate) test: Samples<'a>,
    /// Pictures of textures for models that synthesise defects, if the user names any.
    pub(crate) textures: Samples<'a>,
}

impl<'a> Material<'a> {
    /// Finds out what there is of a group for a model; pictures are decoded when they are needed. `say` is told of what takes long.
    ///
    /// # Errors
    /// If the group does not give what the model sees; names the group, and video or file.
    pub(crate) fn load(plan: &'a Plan, group: usize, spec: &ModelSpec, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let input = &plan.config.input;
        let textures = match &plan.config.train.textures {
            Some(folder) => {
                textures(folder, &spec.preprocessing, [input.height, input.width]).context("key", "train.textures")?
            }
            None => Samples::of_length(1, []),
        };
        let open = || plan.session(ONNX);
        let source = Of { data: plan.data.as_ref(), group, spec, input, open: &open };
        let name = &plan.data.index().groups[group].name;
        let [fit, held, test] = source.parts(plan.config.train.holdout, say).context("group", name)?;
        Ok(Self { fit, held, test, textures })
    }
}

/// A group for a model.
struct Of<'a, 's> {
    data: &'a dyn OpenDataset,
    group: usize,
    spec: &'s ModelSpec,
    input: &'s Input,
    /// For networks that find regions or flow.
    open: Open<'s>,
}

impl<'a> Of<'a, '_> {
    fn group(&self) -> &'a Group {
        &self.data.index().groups[self.group]
    }

    /// What is learned from, what is kept apart, what is judged.
    fn parts(&self, holdout: f64, say: &mut dyn FnMut(&str)) -> Result<[Samples<'a>; 3]> {
        let train: Vec<&SampleInfo> = self.group().train.iter().collect();
        let held = held_out(&train, holdout)?;
        let (held, fit): (Vec<usize>, Vec<usize>) = (0..train.len()).partition(|position| held.contains(position));
        let test: Vec<usize> = (0..self.group().test.len()).collect();
        let parts = [(Split::Train, fit), (Split::Train, held), (Split::Test, test)];
        let samples = if self.spec.takes_regions() { self.regions(&parts, say)? } else { self.whole(&parts)? };
        if !takes_flow(self.spec) {
            return Ok(samples);
        }
        let [train, test] = [self.flows(Split::Train, say)?, self.flows(Split::Test, say)?];
        let [fit, held, judged] = samples;
        Ok([fit.with_flows(Arc::clone(&train)), held.with_flows(train), judged.with_flows(test)])
    }

    fn whole(&self, parts: &[(Split, Vec<usize>); 3]) -> Result<[Samples<'a>; 3]> {
        let (data, group) = (self.data, self.group);
        let (preprocessing, size) = (self.spec.preprocessing.clone(), [self.input.height, self.input.width]);
        let decode = move |split, position| {
            let sample = data.read(group, split, position)?;
            picture(&sample.pixels, sample.mask.map(|mask| mask.into_vec()), &preprocessing, size)
        };
        let reel = Arc::new(Reel::new(self.input.memory_mib, decode));
        let part = |(split, taken): &(Split, Vec<usize>)| {
            let footage: Footage<'a, Picture> = Footage { reel: Arc::clone(&reel), group: self.group(), split: *split };
            Samples::whole(footage, taken, &self.spec.clip)
        };
        let [fit, held, test] = parts;
        Ok([part(fit)?, part(held)?, part(test)?])
    }

    fn regions(&self, parts: &[(Split, Vec<usize>); 3], say: &mut dyn FnMut(&str)) -> Result<[Samples<'a>; 3]> {
        let (data, group) = (self.data, self.group);
        let reel = Arc::new(Reel::new(self.input.memory_mib, move |split, position| data.read(group, split, position)));
        let mut find = |split| {
            let mut all = || Finder::new(self.input, split, self.open)?.all(data, (group, split), say);
            all().context("key", "input.regions")
        };
        let [train, test] = [find(Split::Train)?, find(Split::Test)?];
        let part = |(split, taken): &(Split, Vec<usize>)| {
            let footage: Footage<'a, Sample> = Footage { reel: Arc::clone(&reel), group: self.group(), split: *split };
            let found = if *split == Split::Train { &train } else { &test };
            let preprocessing = self.spec.preprocessing.clone();
            Samples::regions(footage, taken, &self.spec.clip, preprocessing, |position| found[position].clone())
        };
        let [fit, held, judged] = parts;
        Ok([part(fit)?, part(held)?, part(judged)?])
    }

    fn flows(&self, split: Split, say: &mut dyn FnMut(&str)) -> Result<Arc<Flows>> {
        let infos: Vec<&SampleInfo> = self.group().samples(split).iter().collect();
        let videos = videos(&infos)?.ok_or_else(|| {
            let error = Error::data("the model takes optical flow, and the data set holds single pictures");
            error.hint("choose a data set of videos, or a model without flow")
        })?;
        let mut load = || {
            let finder = flows::Finder::new(&self.input.flow, split, self.open)?;
            Flows::load(self.data, (self.group, split), &videos, finder, say)
        };
        Ok(Arc::new(load().context("key", "input.flow")?))
    }
}

/// What of the input the samples of a model depend on, as text.
///
/// # Errors
/// If files that the user names cannot be read.
pub(crate) fn key(input: &Input, spec: &ModelSpec) -> Result<String> {
    let mut key = format!("{}x{}", input.height, input.width);
    if spec.takes_regions() {
        let how = serde_json::to_string(&input.proposals).map_err(|error| Error::config(error.to_string()))?;
        key += &match &input.regions {
            Origin::BuiltIn => how,
            Origin::Network(path) => format!("{how}{}{}", input.confidence, files::sha256(path)?),
            Origin::Files(path) => state(path).context("key", "input.regions")?,
        };
    }
    if takes_flow(spec) {
        key += &input.flow.path().map_or(Ok(String::new()), state).context("key", "input.flow")?;
    }
    Ok(key)
}

/// Changes when a file, or a file below a folder, changes.
fn state(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return files::sha256(path);
    }
    let unread = |error: std::io::Error| Error::io("cannot be read", path, &error);
    let mut state = String::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries =
            std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unread)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let about = entry.metadata().map_err(unread)?;
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                state += &format!("{:?} {} {:?}\n", entry.path(), about.len(), about.modified().map_err(unread)?);
            }
        }
    }
    Ok(files::digest(state.as_bytes()))
}

fn takes_flow(spec: &ModelSpec) -> bool {
    spec.inputs.iter().any(|input| matches!(input.fill, Fill::Flow | Fill::FlowAhead))
}

/// All pictures below a folder, in the order of their paths.
fn textures(folder: &Path, preprocessing: &Preprocessing, size: [usize; 2]) -> Result<Samples<'static>> {
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
