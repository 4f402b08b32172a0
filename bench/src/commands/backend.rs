//! `mimus backend`: which backends can compute on what, and the native libraries that they need.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mimus_core::native::{Found, Place};
use mimus_core::{Error, Result};

use crate::native::{self, Installed, Order, health};
use crate::plugins::{self, Places};
use crate::print;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Backend {
    /// Every backend with its devices, and every native library with its version
    List,
    /// Install a native library, `torch` or `onnxruntime`, or the program `ffmpeg`; needs python3 with pip
    Install {
        #[command(flatten)]
        which: Which,
        /// With the libraries for NVIDIA GPUs: several gigabytes
        #[arg(long)]
        cuda: bool,
    },
    /// Remove a native library
    Remove(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Name of the native library
    name: String,
    /// In your data folder, for all projects, instead of `.mimus` in this folder
    #[arg(long)]
    user: bool,
}

impl Which {
    fn place(&self) -> Place {
        if self.user { Place::User } else { Place::Project }
    }
}

impl Backend {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        match self {
            Self::List => print(&list(places)?)?,
            Self::Install { which, cuda } => install(which, *cuda)?,
            Self::Remove(which) => {
                let (known, _) = native::recipe(&which.name)?;
                let folder = native::remove(known, which.place())?;
                print(&format!("removed {}\n", folder.display()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(places: &Places) -> Result<String> {
    let registry = plugins::discover(places)?;
    let mut backends = Table::new(&["backend", "devices", "what to do"]);
    let refused = health::refused(&registry).into_iter().map(|(file, health)| (format!("refused: {file}"), health));
    for (name, health) in health::backends(&registry).into_iter().chain(refused) {
        let [found, advice] = health.cells();
        backends.row(vec![name, found, advice]);
    }
    let mut libraries = Table::new(&["native library", "place", "version", "what to do"]);
    for (name, place, health) in health::natives() {
        let [found, advice] = health.cells();
        libraries.row(vec![name.to_owned(), place, found, advice]);
    }
    Ok(format!("{}\n{}", backends.markdown(), libraries.markdown()))
}

fn install(which: &Which, cuda: bool) -> Result<()> {
    let (known, recipe) = native::recipe(&which.name)?;
    let order = Order { known, recipe, place: which.place(), cuda };
    let installed = order.run(&mut |step| {
        writeln!(std::io::stderr(), "{}: {step}", known.name).map_err(|error| {
            Error::new(mimus_core::ErrorKind::Io, format!("standard error cannot be written: {error}"))
        })
    })?;
    let said =
        |found: &Found, word| format!("{} {} {word} in {}\n", known.title, found.version, found.folder.display());
    print(&match &installed {
        Installed::Before(found) => said(found, "is installed already"),
        Installed::Now(found) => said(found, "is installed"),
    })?;
    match recipe.builds {
        Some((package, folder))
            if Path::new("Cargo.toml").exists() && Path::new(folder).join("Cargo.toml").exists() =>
        {
            print(&format!("build the backend with it: cargo build --release -p {package}\n"))
        }
        _ => Ok(()),
    }
}
