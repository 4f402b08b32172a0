//! The subcommands, a file each.

mod backend;
mod bench;
mod dataset;
mod doctor;
mod export;
mod graph;
mod import;
mod parity;
mod plugin;
mod predict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mimus_core::Result;

use crate::config::Config;
use crate::plan::{BASELINE, Lineup, Plan, position};
use crate::plugins::{self, Places};
use crate::sweep::Work;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train and judge the baseline and every boosted variant, and compare them
    Bench(bench::Bench),
    /// Train what a run needs, without judging it
    Train(bench::Bench),
    /// Judge and compare what a run has trained
    Eval(bench::Bench),
    /// Score pictures with a variant that a run has trained
    Predict(predict::Predict),
    /// Write a trained variant as one ONNX file, preprocessing and score included
    Export(export::Export),
    /// Draw a model, or a boosted model, as Graphviz, Mermaid or text
    Graph(graph::Graph),
    /// Check whether weights that were trained elsewhere fit a run's model, and convert them
    Import(import::Import),
    /// Compare every backend with the reference interpreter, node by node
    Parity(parity::ParityCommand),
    /// Which plugins there are
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Which backends there are, and the native libraries that they need
    #[command(subcommand)]
    Backend(backend::Backend),
    /// What a data set holds, and whether it is sound
    #[command(subcommand)]
    Dataset(dataset::Dataset),
    /// Check this installation and say what is missing
    Doctor,
}

pub(crate) fn run(command: Command, places: &Places) -> Result<ExitCode> {
    match command {
        Command::Bench(bench) => bench.run(places, Work::Both),
        Command::Train(bench) => bench.run(places, Work::Train),
        Command::Eval(bench) => bench.run(places, Work::Judge),
        Command::Predict(predict) => predict.run(places),
        Command::Export(export) => export.run(places),
        Command::Graph(graph) => graph.run(places),
        Command::Import(import) => import.run(places),
        Command::Parity(parity) => parity.run(places),
        Command::Plugin(plugin) => plugin.run(places),
        Command::Backend(backend) => backend.run(places),
        Command::Dataset(dataset) => dataset.run(places),
        Command::Doctor => doctor::run(places),
    }
}

/// A configuration and changes to it.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The run's TOML file
    #[arg(value_name = "RUN.TOML")]
    config: PathBuf,
    /// Change a value of the configuration, for example --set train.epochs=10
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Source {
    fn config(&self) -> Result<Config> {
        let config = Config::load(&self.config, &self.sets)?;
        use_threads(config.run.threads())?;
        Ok(config)
    }

    fn lineup(&self, places: &Places) -> Result<Lineup> {
        Lineup::new(self.config()?, &plugins::discover(places)?)
    }

    fn plan(&self, places: &Places) -> Result<Plan> {
        Plan::new(self.lineup(places)?)
    }
}

/// Which cell of a run is meant.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Which variant: baseline, or the name of a boosted one
    #[arg(long, default_value = BASELINE)]
    variant: String,
    /// Which of the run's seeds; the first if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Which group's detector; the first if none is given
    #[arg(long)]
    group: Option<String>,
    /// Which model; the first if none is given
    #[arg(long)]
    model: Option<String>,
}

/// Positions in a plan, and a seed of it.
pub(crate) struct Cell {
    pub(crate) variant: usize,
    pub(crate) seed: u64,
    pub(crate) group: usize,
    pub(crate) model: usize,
}

impl Choice {
    /// The cell in `plan`.
    fn cell(&self, plan: &Plan) -> Result<Cell> {
        let seeds: Vec<String> = plan.config.run.seeds.iter().map(u64::to_string).collect();
        let seed = position("seed", self.seed.map(|s| s.to_string()).as_deref(), seeds.iter().map(String::as_str))?;
        let groups = plan.data.index().groups.iter().map(|group| group.name.as_str());
        let variants = plan.variants.iter().filter(|v| v.recipe.is_trained()).map(|v| v.name.as_str());
        Ok(Cell {
            variant: position("variant", Some(&self.variant), variants)?,
            seed: plan.config.run.seeds[seed],
            group: position("group", self.group.as_deref(), groups)?,
            model: position("model", self.model.as_deref(), plan.models.iter().map(|model| model.label.as_str()))?,
        })
    }
}

/// The threads that decode, resize and resample.
fn use_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| mimus_core::Error::config(error.to_string()).with("key", "run.threads"))
}
