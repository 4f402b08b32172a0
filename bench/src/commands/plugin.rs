//! `mimus plugin`: what was found where, what it understands, and the lock.

use std::process::ExitCode;

use clap::Subcommand;
use mimus_core::abi::{Entry, Registry};
use mimus_core::error::did_you_mean;
use mimus_core::{Error, Result};

use crate::plugins::{self, Places};
use crate::print;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Every component, where it comes from, what it shadows, and which files were refused
    List,
    /// What a component is and which options it understands
    Show {
        /// Its name
        name: String,
    },
    /// Pin the SHA-256 of every library in `mimus.lock`, for --locked
    Lock,
}

impl Plugin {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        let registry = plugins::discover(places)?;
        match self {
            Self::List => print(&list(&registry))?,
            Self::Show { name } => print(&show(&registry, name)?)?,
            Self::Lock => {
                let pinned = plugins::write_lock(&registry)?;
                print(&format!("{} pins {pinned} libraries\n", plugins::LOCK))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(registry: &Registry) -> String {
    let mut table = Table::new(&["kind", "name", "what", "found in", "file", "shadows"]);
    for listed in registry.list() {
        let Entry { info, origin, .. } = listed.winner;
        let shadows: Vec<String> = listed.shadowed.iter().map(|entry| entry.place()).collect();
        let (kind, found, place) = (info.kind.to_string(), origin.name().to_owned(), listed.winner.place());
        table.row(vec![kind, info.name.clone(), info.summary.clone(), found, place, shadows.join(", ")]);
    }
    let refused = registry.refused.iter().map(|(origin, _, error)| format!("\nrefused ({}): {error}\n", origin.name()));
    table.markdown() + &refused.collect::<String>()
}

fn show(registry: &Registry, name: &str) -> Result<String> {
    let all = registry.list();
    let found: Vec<&Entry> = all.iter().map(|listed| listed.winner).filter(|entry| entry.info.name == name).collect();
    if found.is_empty() {
        let error = Error::plugin(format!("there is no plugin `{name}`"));
        return Err(match did_you_mean(name, all.iter().map(|listed| listed.winner.info.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`mimus plugin list` shows all"),
        });
    }
    Ok(found.into_iter().map(describe).collect::<Vec<_>>().join("\n"))
}

fn describe(entry: &Entry) -> String {
    let info = &entry.info;
    let mut text = format!("{} `{}`: {}\n", info.kind, info.name, info.summary);
    text += &info.paper.as_ref().map(|paper| format!("paper: {paper}\n")).unwrap_or_default();
    text += &format!("file: {} ({})\n", entry.place(), entry.origin.name());
    if let Some(library) = &entry.library {
        let m = &library.manifest;
        text += &format!("package: {} {}, built by {} for {}\n", m.name, m.version, m.rustc, m.target);
        text += &format!("sha256: {}\n", library.sha256);
    }
    if info.options.is_empty() {
        return text + "options: none\n";
    }
    let mut table = Table::new(&["option", "default", "takes", "what"]);
    for option in &info.options {
        let default = option.default.as_ref().map_or_else(|| "(required)".to_owned(), ToString::to_string);
        table.row(vec![option.name.clone(), default, option.kind.to_string(), option.help.clone()]);
    }
    text + "\n" + &table.markdown()
}
