//! `mimus plugin`: what was found where, what it understands, and the lock.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use mimus_core::abi::{Entry, Registry};
use mimus_core::error::did_you_mean;
use mimus_core::graph::Role;
use mimus_core::plugin::{ComponentInfo, Kind, ModelRequest, Options, Preprocessing};
use mimus_core::{Error, Result};

use crate::plugins::{self, Places};
use crate::print;
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Every component, where it comes from, what it shadows, and which files were refused
    List,
    /// What a component is: paper, options; of a model also taps, losses, inputs
    Show {
        /// Its name, `draem`, or its kind and name, `model-draem`
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

/// By its name, `draem`, or its kind and name, `model-draem`.
pub(super) fn is_called(entry: &Entry, name: &str) -> bool {
    entry.info.name == name || format!("{}-{}", entry.info.kind, entry.info.name) == name
}

fn show(registry: &Registry, name: &str) -> Result<String> {
    let all = registry.list();
    let found: Vec<&Entry> = all.iter().map(|listed| listed.winner).filter(|entry| is_called(entry, name)).collect();
    if found.is_empty() {
        let error = Error::plugin(format!("there is no plugin `{name}`"));
        return Err(match did_you_mean(name, all.iter().map(|listed| listed.winner.info.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`mimus plugin list` shows all"),
        });
    }
    Ok(found.into_iter().map(|entry| describe(registry, entry)).collect::<Vec<_>>().join("\n"))
}

fn describe(registry: &Registry, entry: &Entry) -> String {
    let info = &entry.info;
    let mut text = format!("{} `{}`: {}\n", info.kind, info.name, info.summary);
    text += &info.paper.as_ref().map(|paper| format!("paper: {paper}\n")).unwrap_or_default();
    text += &info.weights.as_ref().map(|weights| format!("published weights: {weights}\n")).unwrap_or_default();
    text += &format!("file: {} ({})\n", entry.place(), entry.origin.name());
    if let Some(library) = &entry.library {
        let m = &library.manifest;
        text += &format!("package: {} {}, built by {} for {}\n", m.name, m.version, m.rustc, m.target);
        text += &format!("sha256: {}\n", library.sha256);
    }
    if info.kind == Kind::Model {
        text += &match network(registry, info) {
            Ok(network) => network,
            Err(error) => format!("with default options and pictures of {SIZE}x{SIZE} it says: {error}\n"),
        };
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

/// Height and width of the pictures for which a model is described.
const SIZE: usize = 256;

/// What a model says of its network with default options.
fn network(registry: &Registry, info: &ComponentInfo) -> Result<String> {
    let options = Options::resolve(&info.options, BTreeMap::new())?;
    let spec = registry.model(&info.name)?.describe(&ModelRequest { options, batch: 2, height: SIZE, width: SIZE })?;
    let parameters = spec.variables().into_iter().filter(|variable| variable.role == Role::Parameter);
    let mut text = format!("parameters: {}\n", parameters.map(|variable| variable.ty.elements()).sum::<usize>());
    let Preprocessing { color, mean, std } = &spec.preprocessing;
    text += &format!("input: {color:?}, (pixel / 255 - {mean:?}) / {std:?}");
    text += &if spec.clip.frames > 1 { format!(", clips of {} frames\n", spec.clip.frames) } else { "\n".to_owned() };
    if let Some(pretrained) = &spec.pretrained {
        text += &format!("begins with (model.backbone): {}\n", pretrained.what);
    }
    for stage in &spec.stages {
        for turn in &stage.turns {
            let terms = turn.graph.outputs.iter().filter_map(|named| named.name.strip_prefix("loss."));
            let what = if turn.trains.is_empty() { "everything".to_owned() } else { turn.trains.join(", ") };
            let terms = terms.collect::<Vec<_>>().join(", ");
            let place = if spec.stages.len() + stage.turns.len() > 2 {
                format!("{}, {}: ", stage.name, turn.name)
            } else {
                String::new()
            };
            let factors = turn.rates.iter().map(|rate| format!(", {} times that for {}", rate.factor, rate.scope));
            let rate = format!("{}{}", turn.learning_rate, factors.collect::<String>());
            text += &format!("training: {place}loss ({terms}), trains {what}, learning rate {rate}\n");
        }
    }
    for (i, tap) in spec.taps.iter().enumerate() {
        let natural = if i == 0 { " (natural)" } else { "" };
        let shape = &spec.eval.ty(spec.eval.expect_tap(&tap.name)?).shape;
        text += &format!("tap: `{}`{natural}, {shape:?} for 2 pictures of {SIZE}x{SIZE}: {}\n", tap.name, tap.help);
    }
    Ok(text)
}
