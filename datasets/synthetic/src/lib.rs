//! A generator of textures and objects with defects and exact masks: data for trials and tests that needs no download.
//!
//! Sample `k` of a split is a pure function of (seed, group, split, k): a larger data set holds a smaller one, and threads cannot
//! differ. `size` changes the resolution, not the picture. A mask marks the pixels of which the
//! defect replaces half at least, or that it visibly changes: it is computed with the picture, not annotated afterwards.
#![forbid(unsafe_code)]

mod design;
mod flaw;
mod object;
mod region;
mod scene;
#[cfg(test)]
mod tests;
mod texture;

use std::path::{Path, PathBuf};

use mimus_core::plugin::{
    ComponentInfo, Dataset, Group, Index, Kind, OpenDataset, OptionSpec, Options, Sample, SampleInfo, Split,
    groups_option, selected_groups,
};
use mimus_core::random::fnv1a64;
use mimus_core::{Error, Result};

use design::{DESIGNS, Design};
use flaw::FlawKind;
use scene::Key;

/// The label of normal samples.
const GOOD: &str = "good";

/// Generated textures and objects.
#[derive(Debug)]
pub struct Synthetic;

impl Dataset for Synthetic {
    fn info(&self) -> ComponentInfo {
        let count = |name, default, least, help| OptionSpec::int(name, default, [least, 100_000], help);
        ComponentInfo::new(
            Kind::Dataset,
            "synthetic",
            "generated textures and objects with six kinds of defects, with masks",
        )
        .with_option(groups_option())
        .with_option(OptionSpec::int("size", 128, [32, 2048], "height and width of the pictures in pixels"))
        .with_option(count("train", 100, 1, "normal pictures to learn from, in each group"))
        .with_option(count("test_good", 30, 0, "normal pictures to judge, in each group"))
        .with_option(count(
            "test_per_defect",
            6,
            0,
            "anomalous pictures to judge, for each kind of defect in each group",
        ))
        .with_option(OptionSpec::int("seed", 0, [0, i64::MAX], "another seed is another data set of the same kind"))
        .with_option(OptionSpec::float(
            "difficulty",
            0.5,
            [0.0, 1.0],
            "1 makes defects small and faint, 0 large and strong",
        ))
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        if root.is_some() {
            return Err(Error::config("is given, but the pictures are generated")
                .with("key", "root")
                .hint("remove the key"));
        }
        Ok(Box::new(Generator::new(options)?))
    }
}

/// A data set with its options resolved.
struct Generator {
    designs: Vec<&'static Design>,
    size: usize,
    seed: u64,
    difficulty: f64,
    index: Index,
}

impl Generator {
    fn new(options: &Options) -> Result<Self> {
        let names = selected_groups(options, DESIGNS.iter().map(|design| design.name.to_owned()).collect())?;
        let designs = DESIGNS.iter().filter(|design| names.iter().any(|name| name == design.name)).collect();
        let [train, good, flawed] = ["train", "test_good", "test_per_defect"].map(|name| options.usize(name));
        let (train, good, flawed) = (train?, good?, flawed?);
        if good + flawed == 0 {
            return Err(Error::config("leaves nothing to judge")
                .with("key", "test_good")
                .hint("set it or test_per_defect to 1 at least"));
        }
        let groups = names.into_iter().map(|name| group(name, train, good, flawed)).collect();
        let mut generator = Self {
            designs,
            size: options.usize("size")?,
            seed: options.usize("seed")? as u64,
            difficulty: options.float("difficulty")?,
            index: Index { groups, fingerprint: String::new() },
        };
        generator.index.fingerprint = generator.fingerprint(options);
        Ok(generator)
    }

    /// Follows the options and, by small pictures of everything that there is, the generator itself.
    fn fingerprint(&self, options: &Options) -> String {
        let mut content: Vec<u8> =
            options.iter().flat_map(|(key, value)| format!("{key}={value} ").into_bytes()).collect();
        let flaws = FlawKind::ALL.iter().map(|(_, flaw)| Some(*flaw));
        for flaw in flaws.chain([None]) {
            for design in &self.designs {
                let key = Key { seed: self.seed, group: design.name, id: "fingerprint" };
                let sample = scene::sample(design, 32, flaw, self.difficulty, &key);
                content.extend_from_slice(&sample.pixels.bytes);
                content.extend(sample.mask.into_iter().flatten());
            }
        }
        format!("{:016x}", fnv1a64(&content))
    }
}

impl OpenDataset for Generator {
    fn index(&self) -> &Index {
        &self.index
    }

    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample> {
        let found = self.index.groups.get(group).zip(self.designs.get(group));
        let found = found.and_then(|(group, design)| Some((group.samples(split).get(sample)?, design)));
        let (info, design) = found.ok_or_else(|| {
            Error::data(format!("group {group} has no sample {sample} in split {split:?}"))
                .hint("read by the index's positions")
        })?;
        let flaw = FlawKind::ALL.iter().find(|(name, _)| *name == info.defect).map(|(_, flaw)| *flaw);
        let key = Key { seed: self.seed, group: design.name, id: &info.id };
        Ok(scene::sample(design, self.size, flaw, self.difficulty, &key))
    }
}

fn group(name: String, train: usize, good: usize, flawed: usize) -> Group {
    let samples = |part: &str, defect: &str, count: usize| -> Vec<SampleInfo> {
        let info = |k| {
            let id = format!("{part}/{defect}/{k:03}");
            let path = PathBuf::from(format!("synthetic/{name}/{id}"));
            let mask = PathBuf::from(format!("synthetic/{name}/ground_truth/{defect}/{k:03}"));
            let anomalous = defect != GOOD;
            SampleInfo { id, path, defect: defect.to_owned(), anomalous, mask: anomalous.then_some(mask), frame: None }
        };
        (0..count).map(info).collect()
    };
    let mut test = samples("test", GOOD, good);
    for (defect, _) in FlawKind::ALL {
        test.extend(samples("test", defect, flawed));
    }
    Group { train: samples("train", GOOD, train), test, has_masks: flawed > 0, name }
}

mimus_core::plugin! { Dataset(Synthetic) }
