//! The subcommands, a file each.

mod backend;
mod bench;
mod dataset;
mod doctor;
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
use crate::plan::{Lineup, Plan};
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

/// The threads that decode, resize and resample.
fn use_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| mimus_core::Error::config(error.to_string()).with("key", "run.threads"))
}
