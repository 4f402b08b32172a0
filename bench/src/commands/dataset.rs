//! `mimus dataset`: what is in a data set, and whether every file of it can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mimus_core::metrics::Regions;
use mimus_core::plugin::{Group, Kind, OpenDataset, SampleInfo, Split};
use mimus_core::{Context, Error, Result};
use rayon::prelude::*;

use crate::keys;
use crate::plugins::{self, Places};
use crate::table::Table;
use crate::{exit_code, print};

#[derive(Debug, Subcommand)]
pub(crate) enum Dataset {
    /// Groups with their numbers of images; without a plugin's name, which kinds of data set can be read
    List(Which),
    /// Decode every image and mask, and name each that cannot be used
    Check(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The data set's plugin, such as mvtec
    plugin: Option<String>,
    /// Its folder
    root: Option<PathBuf>,
    /// An option of the plugin, for example --set 'groups=["screw"]'
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Dataset {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        let registry = plugins::discover(places)?;
        let (Self::List(which) | Self::Check(which)) = self;
        let Some(name) = &which.plugin else {
            let mut table = Table::new(&["data set", "what"]);
            let sets = registry.list().into_iter().filter(|listed| listed.winner.info.kind == Kind::Dataset);
            sets.for_each(|set| table.row(vec![set.winner.info.name.clone(), set.winner.info.summary.clone()]));
            print(&table.markdown())?;
            return Ok(ExitCode::SUCCESS);
        };
        let specs = &registry.find(Kind::Dataset, name)?.info.options;
        let options = keys::options(specs, &keys::table(&which.sets)?).context("dataset", name)?;
        let data = registry.dataset(name)?.open(which.root.as_deref(), &options)?;
        match self {
            Self::List(_) => print(&list(&data.index().groups)).map(|()| ExitCode::SUCCESS),
            Self::Check(_) => check(data.as_ref()),
        }
    }
}

fn list(groups: &[Group]) -> String {
    let mut table = Table::new(&["group", "train", "test, normal", "test, anomalous", "masks", "kinds of defects"]);
    for group in groups {
        let mut defects: BTreeMap<&str, usize> = BTreeMap::new();
        group.test.iter().filter(|info| info.anomalous).for_each(|i| *defects.entry(&i.defect).or_default() += 1);
        let anomalous: usize = defects.values().sum();
        let kinds: Vec<String> = defects.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let masks = if group.has_masks { "yes" } else { "no" }.to_owned();
        let counts = [group.train.len(), group.test.len() - anomalous, anomalous].map(|n| n.to_string());
        table.row([vec![group.name.clone()], counts.to_vec(), vec![masks, kinds.join(", ")]].concat());
    }
    table.markdown()
}

/// What was found in one sample.
struct Seen {
    size: [usize; 2],
    channels: usize,
    regions: usize,
}

fn check(data: &dyn OpenDataset) -> Result<ExitCode> {
    let mut table = Table::new(&["group", "images", "sizes", "channels", "8-connected regions", "problems"]);
    let mut problems = Vec::new();
    for (position, group) in data.index().groups.iter().enumerate() {
        let of_split = |split| -> Vec<Result<Seen>> {
            let samples = group.samples(split).par_iter().enumerate();
            samples.map(|(i, info)| look(data, position, split, i, info)).collect()
        };
        let mut seen: Vec<Seen> = Vec::new();
        let mut failed = Vec::new();
        for sample in [Split::Train, Split::Test].into_iter().flat_map(of_split) {
            match sample {
                Ok(sample) => seen.push(sample),
                Err(problem) => failed.push(problem),
            }
        }
        let regions = seen.iter().map(|seen| seen.regions).sum::<usize>().to_string();
        let sizes = distinct(seen.iter().map(|seen| format!("{}x{}", seen.size[1], seen.size[0])));
        let channels = distinct(seen.iter().map(|seen| seen.channels.to_string()));
        let regions = if group.has_masks { regions } else { "no masks".to_owned() };
        let images = (seen.len() + failed.len()).to_string();
        table.row(vec![group.name.clone(), images, sizes, channels, regions, failed.len().to_string()]);
        problems.extend(failed);
    }
    let listed: String = problems.iter().map(|problem| format!("\nproblem: {problem}\n")).collect();
    print(&(table.markdown() + &listed))?;
    Ok(problems.first().map_or(ExitCode::SUCCESS, |problem| exit_code(problem.kind())))
}

fn look(data: &dyn OpenDataset, group: usize, split: Split, position: usize, info: &SampleInfo) -> Result<Seen> {
    let sample = data.read(group, split, position)?;
    let size = [sample.pixels.height, sample.pixels.width];
    let regions = match &sample.mask {
        Some(mask) => Regions::label(size, mask).context("file", info.path.display())?.sizes.len(),
        None => 0,
    };
    if let (Some(path), true, 0) = (&info.mask, info.anomalous, regions) {
        return Err(Error::data("the mask of an anomalous image marks no pixel").with("file", path.display()));
    }
    Ok(Seen { size, channels: sample.pixels.channels, regions })
}

/// The distinct ones, at most five.
fn distinct(values: impl Iterator<Item = String>) -> String {
    let all: BTreeSet<String> = values.collect();
    let shown: Vec<&str> = all.iter().take(5).map(String::as_str).collect();
    let rest = all.len() - shown.len();
    if rest > 0 { format!("{} and {rest} more", shown.join(", ")) } else { shown.join(", ") }
}
