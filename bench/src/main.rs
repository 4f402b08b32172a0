//! The command `mimus`: an honest benchmark of visual anomaly detectors against their boosted variants.
#![forbid(unsafe_code)]

mod cache;
mod cell;
mod chart;
mod commands;
mod comparison;
mod config;
mod cost;
mod curves;
mod deploy;
mod detections;
mod draw;
mod evaluation;
mod exported;
mod facts;
mod fault;
mod files;
mod floor;
mod flows;
mod folder;
mod images;
mod input;
mod keys;
mod maps;
mod material;
mod native;
mod network;
mod page;
mod parity;
mod plan;
mod plugins;
mod progress;
mod reel;
mod regions;
mod report;
mod samples;
mod score_maps;
mod scorer;
mod stages;
mod statistics;
mod store;
mod sweep;
mod table;
mod trainer;
mod weights;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use mimus_core::abi::Prober;
use mimus_core::{Error, ErrorKind, Result};

/// Boosts visual anomaly detectors, and compares them honestly with their baselines.
///
/// Exit codes: 0 everything done, 1 some cells failed, 2 configuration, 3 plugin, 4 data, 5 backend.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    plugins: plugins::Places,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let [_, command, library] = arguments.as_slice()
        && command == plugins::PROBE
    {
        return finish(Prober::child(Path::new(library), &mut std::io::stdout()).map(|()| ExitCode::SUCCESS));
    }
    let cli = Cli::parse();
    finish(sweep::contained(|| commands::run(cli.command, &cli.plugins)))
}

fn finish(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // Nobody may be there to read it; the exit code tells the same.
        let _ = writeln!(std::io::stderr(), "error: {error}");
        exit_code(error.kind())
    })
}

/// The exit code of a kind of error.
fn exit_code(kind: ErrorKind) -> ExitCode {
    ExitCode::from(match kind {
        ErrorKind::Config => 2,
        ErrorKind::Plugin | ErrorKind::Panicked | ErrorKind::Graph => 3,
        ErrorKind::Data => 4,
        ErrorKind::Backend => 5,
        _ => 1,
    })
}

/// Writes to standard output; a reader that went away (`mimus plugin list | head`) is no failure.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
