//! A generator of surveillance video: people walk along lanes through a still scene, and in test clips somebody runs, goes the wrong way,
//! loiters, or comes with a bicycle or a cart.
//!
//! Every frame is a pure function of (seed, group, split, clip, frame): a larger data set holds a smaller one, longer clips continue
//! shorter ones, and threads cannot differ. `height` changes the resolution, not the scene. Every frame is a sample, anomalous if it shows a
//! pixel at least of an agent that is or behaves otherwise; its mask is those pixels. Clips take turns: one for each kind
//! of anomaly, then one without.
//!
//! For what is not in a sample there is [`Videos`]: the exact motion of every pixel between any two frames of a clip
//! ([`Clip::flow`]), and the boxes of all agents ([`Clip::boxes`]). Agents are made of rigid parts, legs and arms
//! that turn about their joints too, so that the motion is exact everywhere.
#![forbid(unsafe_code)]

mod agent;
mod backdrop;
mod body;
mod clip;
mod design;
mod shot;
#[cfg(test)]
mod tests;
mod traffic;

use std::path::{Path, PathBuf};

use mimus_core::plugin::{
    ComponentInfo, Dataset, Group, Index, Kind, OpenDataset, OptionSpec, Options, Sample, SampleInfo, Split,
    groups_option, selected_groups,
};
use mimus_core::random::fnv1a64;
use mimus_core::{Error, Result};

pub use agent::AgentKind;
pub use clip::{AgentBox, Clip, Flow};
pub use traffic::Anomaly;

use clip::{Scene, Size};
use design::DESIGNS;
use traffic::{SPAN, Traffic};

/// The label of normal samples.
const GOOD: &str = "good";

/// Generated surveillance video.
#[derive(Debug)]
pub struct SyntheticVideo;

impl Dataset for SyntheticVideo {
    fn info(&self) -> ComponentInfo {
        let int = |name, default, bounds, help| OptionSpec::int(name, default, bounds, help);
        ComponentInfo::new(
            Kind::Dataset,
            "synthetic-video",
            "generated surveillance video with four kinds of anomalies, with masks",
        )
        .with_option(groups_option())
        .with_option(int("height", 128, [32, 1024], "height of the frames in pixels"))
        .with_option(int("width", 128, [32, 2048], "width of the frames in pixels, up to twice the height"))
        .with_option(int("train", 8, [1, 10_000], "normal clips to learn from, in each group"))
        .with_option(int(
            "test",
            10,
            [1, 10_000],
            "clips to judge, in each group; in turn with each kind of anomaly and without",
        ))
        .with_option(int("frames", 2 * SPAN, [SPAN, 9_999], "frames of a clip; anomalies come every 48 frames"))
        .with_option(int("agents", 5, [1, 50], "how many people are to be seen on average"))
        .with_option(int("seed", 0, [0, i64::MAX], "another seed is another data set of the same kind"))
        .with_option(OptionSpec::float("difficulty", 0.5, [0.0, 1.0], "1 makes anomalies weak, 0 strong"))
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        if root.is_some() {
            return Err(Error::config("is given, but the frames are generated")
                .with("key", "root")
                .hint("remove the key"));
        }
        Ok(Box::new(Videos::new(options)?))
    }
}

/// The data set with its options resolved: what the plugin gives, and what is exactly true of it.
pub struct Videos {
    scenes: Vec<Scene>,
    frames: u32,
    seed: u64,
    agents: f64,
    difficulty: f64,
    index: Index,
}

impl Videos {
    /// Draws the scenes and lists the samples. `options` are those of [`SyntheticVideo`], resolved.
    ///
    /// # Errors
    /// If there is no such group, or the frames are too wide.
    pub fn new(options: &Options) -> Result<Self> {
        let names = selected_groups(options, DESIGNS.iter().map(|design| design.name.to_owned()).collect())?;
        let size = Size { height: options.usize("height")?, width: options.usize("width")? };
        if size.width > 2 * size.height {
            return Err(Error::config(format!("is {}, more than twice the height of {}", size.width, size.height))
                .with("key", "width")
                .hint(format!("set it to {} at most", 2 * size.height)));
        }
        let seed = options.usize("seed")? as u64;
        let designs = DESIGNS.iter().filter(|design| names.iter().any(|name| name == design.name));
        let mut videos = Self {
            scenes: designs.map(|design| Scene::new(design, size, seed)).collect(),
            frames: options.usize("frames")? as u32,
            seed,
            agents: options.usize("agents")? as f64,
            difficulty: options.float("difficulty")?,
            index: Index::default(),
        };
        let (train, test) = (options.usize("train")?, options.usize("test")?);
        videos.index.groups = videos.scenes.iter().map(|scene| videos.group(scene, train, test)).collect();
        videos.index.fingerprint = videos.fingerprint(options);
        Ok(videos)
    }

    /// A clip: `group` is a position in the index, `clip` the number of a clip of the split. Clips beyond those of the index are made too.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn clip(&self, group: usize, split: Split, clip: usize) -> Result<Clip<'_>> {
        let scene = self.scenes.get(group).ok_or_else(|| {
            Error::data(format!("there is no group {group}")).hint(format!("there are {} groups", self.scenes.len()))
        })?;
        Ok(self.clip_of(scene, split, clip))
    }

    fn clip_of<'a>(&self, scene: &'a Scene, split: Split, clip: usize) -> Clip<'a> {
        let design = scene.design;
        let anomaly = match split {
            Split::Train => None,
            Split::Test => Anomaly::ALL.get(clip % (Anomaly::ALL.len() + 1)).map(|(_, anomaly)| *anomaly),
        };
        let key = format!("{}/{}/{clip}", design.name, folder(split));
        let (seed, aspect, agents, difficulty) = (self.seed, scene.size.aspect(), self.agents, self.difficulty);
        Clip::new(scene, Traffic { design, seed, key, aspect, agents, difficulty, anomaly })
    }

    fn group(&self, scene: &Scene, train: usize, test: usize) -> Group {
        let samples = |split, clips: usize| (0..clips).flat_map(|clip| self.samples(scene, split, clip)).collect();
        let test: Vec<SampleInfo> = samples(Split::Test, test);
        let has_masks = test.iter().any(|info| info.anomalous);
        Group { name: scene.design.name.to_owned(), train: samples(Split::Train, train), test, has_masks }
    }

    /// The frames of a clip; places the agents of each, to know whether it shows an anomaly.
    fn samples(&self, scene: &Scene, split: Split, number: usize) -> Vec<SampleInfo> {
        let clip = self.clip_of(scene, split, number);
        let kind = Anomaly::ALL.iter().find(|(_, kind)| Some(*kind) == clip.anomaly()).map_or(GOOD, |(name, _)| name);
        let name = format!("{number:03}");
        let info = |frame: u32| {
            let anomalous = clip.anomalous(frame);
            let below = |part: &str| format!("{part}/{name}/{frame:04}");
            let path = |part: &str| PathBuf::from(format!("synthetic-video/{}/{}", scene.design.name, below(part)));
            SampleInfo {
                id: below(folder(split)),
                path: path(folder(split)),
                defect: if anomalous { kind } else { GOOD }.to_owned(),
                anomalous,
                mask: anomalous.then(|| path("ground_truth")),
                frame: Some((name.clone(), u64::from(frame))),
            }
        };
        (0..self.frames).map(info).collect()
    }

    /// Follows the options and, by small frames of everything that there is, the generator itself.
    fn fingerprint(&self, options: &Options) -> String {
        let mut content: Vec<u8> =
            options.iter().flat_map(|(key, value)| format!("{key}={value} ").into_bytes()).collect();
        for scene in &self.scenes {
            let small = Scene::new(scene.design, Size { height: 32, width: 32 }, self.seed);
            for clip in 0..=Anomaly::ALL.len() {
                let sample = self.clip_of(&small, Split::Test, clip).sample(SPAN as u32 / 2);
                content.extend_from_slice(&sample.pixels.bytes);
                content.extend(sample.mask.into_iter().flatten());
            }
        }
        format!("{:016x}", fnv1a64(&content))
    }
}

impl OpenDataset for Videos {
    fn index(&self) -> &Index {
        &self.index
    }

    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample> {
        let known = self.index.groups.get(group).is_some_and(|group| sample < group.samples(split).len());
        if !known {
            return Err(Error::data(format!("group {group} has no sample {sample} in split {split:?}"))
                .hint("read by the index's positions"));
        }
        let frames = self.frames as usize;
        Ok(self.clip(group, split, sample / frames)?.sample((sample % frames) as u32))
    }
}

/// What a split is called in ids.
fn folder(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "test",
    }
}

mimus_core::plugin! { Dataset(SyntheticVideo) }
