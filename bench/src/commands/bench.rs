//! `mimus bench`, `train` and `eval`: the whole run, or one half of it.

use std::process::ExitCode;

use clap::Args;
use mimus_core::Result;

use super::Source;
use crate::folder::Folder;
use crate::plugins::Places;
use crate::sweep::{Cell, Sweep, Work};
use crate::{comparison, exit_code, print, report};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    source: Source,
    /// Write anomaly maps as 32-bit TIFF (eval.maps = true)
    #[arg(long)]
    maps: bool,
    /// Draw anomaly maps over the pictures (eval.overlays = true)
    #[arg(long)]
    overlays: bool,
}

impl Bench {
    pub(crate) fn run(mut self, places: &Places, work: Work) -> Result<ExitCode> {
        for (wanted, key) in [(self.maps, "eval.maps"), (self.overlays, "eval.overlays")] {
            self.source.sets.extend(wanted.then(|| format!("{key}=true")));
        }
        let plan = self.source.plan(places)?;
        let folder = Folder::open(&plan.config)?;
        let cells = Sweep::new(&plan, &folder, work).run();
        let failures = report::failures(&plan, &cells);
        let useless = |cell: &Cell| cell.outcome.is_err() || !plan.variants[cell.variant].recipe.is_trained();
        if cells.iter().all(useless) {
            // Nothing to compare: the cells' errors stand above, and results of an earlier run are not overwritten.
            return Ok(failures.first().map_or(ExitCode::SUCCESS, |failure| exit_code(failure.kind())));
        }
        if work != Work::Train {
            let rows = comparison::rows(&plan, &cells)?;
            let summary = report::write(&plan, &folder, &cells, &rows, &failures)?;
            print(&format!("\n{summary}\nResults: {}\n", folder.path("results.md").display()))?;
        }
        Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
