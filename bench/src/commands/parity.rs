//! `mimus parity`: every backend that is there against the reference interpreter, on the programs of a run.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use mimus_core::abi::Registry;
use mimus_core::plugin::{BackendRequest, Kind, Session};
use mimus_core::{Context, Error, ErrorKind, Result};

use super::Source;
use crate::config::Config;
use crate::folder::root;
use crate::keys::{self, Table};
use crate::parity::{Finding, Open, Parity, cases};
use crate::plan::Lineup;
use crate::plugins::{self, Places};
use crate::{files, print};

/// The backend that the others are compared with.
const REFERENCE: &str = "reference";

#[derive(Debug, Args)]
pub(crate) struct ParityCommand {
    #[command(flatten)]
    source: Source,
    /// A backend to compare, which must then be there; without one, every backend that is there
    #[arg(long = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Largest difference of a node alone or of an output, as a part of the largest value there
    #[arg(long, default_value_t = 1e-4)]
    tolerance: f64,
    /// Height and width of the inputs; without it those of the run, at most 64: the reference is slow
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Images at once
    #[arg(long, default_value_t = 2)]
    batch: usize,
}

/// A backend that can be opened.
struct Candidate {
    name: String,
    open: Box<dyn Fn() -> Result<Box<dyn Session>>>,
}

impl ParityCommand {
    pub(crate) fn run(mut self, places: &Places) -> Result<ExitCode> {
        self.source.sets.push(format!("train.batch={}", self.batch));
        let mut config = self.source.config()?;
        for extent in [&mut config.input.height, &mut config.input.width] {
            *extent = self.size.unwrap_or_else(|| 64.min(*extent));
        }
        let rules = [
            (self.size != Some(0), "--size", "must be 1 at least"),
            (self.tolerance >= 0.0, "--tolerance", "must be 0 or more"),
        ];
        if let Some((_, option, rule)) = rules.iter().find(|(holds, ..)| !holds) {
            return Err(Error::config(*rule).with("option", option));
        }
        let registry = plugins::discover(places)?;
        let (candidates, not_available) = self.candidates(&registry, &config)?;
        let lineup = Lineup::new(config, &registry)?;
        let opens: Vec<&Open<'_>> = candidates.iter().map(|candidate| candidate.open.as_ref()).collect();
        let mut findings = Vec::new();
        for case in cases(&lineup)? {
            for (candidate, walked) in candidates.iter().zip(case.walk(&opens).context("program", &case.name)?) {
                findings.push(Finding::new(&candidate.name, &case, walked, self.tolerance));
            }
        }
        let config = &lineup.config;
        let inputs = [config.train.batch, config.input.height, config.input.width];
        let (tolerance, mimus) = (self.tolerance, env!("CARGO_PKG_VERSION"));
        let parity = Parity { format: 1, mimus, tolerance, inputs, findings, not_available };
        let json =
            serde_json::to_string_pretty(&parity).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        let folder = root(config);
        files::write(&folder.join("parity.json"), (json + "\n").as_bytes())?;
        files::write(&folder.join("parity.md"), parity.page().as_bytes())?;
        print(&format!("{}\nEverything: {}\n", parity.summary(), folder.join("parity.md").display()))?;
        Ok(if parity.findings.iter().all(Finding::within) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The backends to compare, and why others cannot be; one that was named must be there.
    fn candidates(&self, registry: &Registry, config: &Config) -> Result<(Vec<Candidate>, BTreeMap<String, String>)> {
        let found = registry.list().into_iter().map(|listed| &listed.winner.info);
        let found = found.filter(|info| info.kind == Kind::Backend && info.name != REFERENCE);
        let names: Vec<String> = match self.backends.is_empty() {
            true => found.map(|info| info.name.clone()).collect(),
            false => self.backends.clone(),
        };
        let (mut candidates, mut missing) = (Vec::new(), BTreeMap::new());
        for name in names {
            match candidate(registry, config, &name).and_then(|found| (found.open)().map(|_| found)) {
                Ok(found) => candidates.push(found),
                Err(error) if self.backends.is_empty() => drop(missing.insert(name, error.to_string())),
                Err(error) => return Err(error.with("option", format!("--backend {name}"))),
            }
        }
        if self.backends.is_empty() {
            let refused =
                registry.refused.iter().map(|(_, path, error)| (path.display().to_string(), error.to_string()));
            missing.extend(refused);
        }
        Ok((candidates, missing))
    }
}

fn candidate(registry: &Registry, config: &Config, name: &str) -> Result<Candidate> {
    let empty = Table::new();
    let entry = registry.find(Kind::Backend, name)?;
    let options = keys::options(&entry.info.options, config.backend.get(name).unwrap_or(&empty))?;
    let request = BackendRequest { device: config.run.device.clone(), threads: config.run.threads(), options };
    let backend = registry.backend(name)?;
    let open = move || backend.open(&request);
    Ok(Candidate { name: name.to_owned(), open: Box::new(open) })
}
