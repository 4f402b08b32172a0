//! `mimus graph`: how a person checks what a boost does to a model.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use mimus_core::plugin::Kind;
use mimus_core::train::Turn;
use mimus_core::{Error, Result};

use super::Source;
use super::plugin::is_called;
use crate::config::Config;
use crate::plan::{Lineup, Recipe, position};
use crate::plugins::{self, Places};
use crate::{draw, print};

#[derive(Debug, Args)]
#[command(
    after_help = "In place of RUN.TOML, the name of a model draws it with its defaults: mimus graph draem --boost sca"
)]
pub(crate) struct Graph {
    #[command(flatten)]
    source: Source,
    /// Draw the model boosted by this variant; without a name, by the first
    #[arg(long, visible_alias = "boost", value_name = "VARIANT", num_args = 0..=1, default_missing_value = "")]
    boosted: Option<String>,
    /// Which model; the first if none is given
    #[arg(long)]
    model: Option<String>,
    /// Draw one box for all layers whose names begin with the same so many parts; 0 for a box for each layer
    #[arg(long, default_value_t = 2)]
    depth: usize,
    /// Which program
    #[arg(long, value_enum, default_value_t = Program::Eval)]
    program: Program,
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Format::Dot)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    /// Forward pass with the losses
    Train,
    /// Forward pass with the scores
    Eval,
    /// A whole training step: forward, gradients, optimiser
    Step,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Graphviz, a box for each part
    Dot,
    /// Mermaid, a box for each part
    Mermaid,
    /// Every operator, in the form that parses back
    Text,
}

impl Graph {
    /// The run that the argument names; or, where it is no file but a model, a run of that model as it is, boosted by one attention module.
    fn lineup(&self, places: &Places) -> Result<Lineup> {
        let Some(name) = self.source.config.to_str().filter(|_| !self.source.config.exists()) else {
            return self.source.lineup(places);
        };
        let registry = plugins::discover(places)?;
        let mut listed = registry.list().into_iter().map(|listed| listed.winner);
        let Some(model) = listed.find(|entry| entry.info.kind == Kind::Model && is_called(entry, name)) else {
            let hint = "give a run's TOML file, or a model of `mimus plugin list`";
            return self.source.lineup(places).map_err(|error| error.hint(hint));
        };
        let attention = self.boosted.as_deref().filter(|name| !name.is_empty()).unwrap_or("sca");
        // No picture is read: any data set that needs no folder does.
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let run = format!(
            "run.name = \"graph\"\ndataset.plugin = \"synthetic\"\nmodel.plugin = {}\nboost.attention = [{}]\n",
            quoted(&model.info.name),
            quoted(attention)
        );
        Lineup::new(Config::parse(&run, &self.source.sets)?, &registry)
    }

    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        let lineup = self.lineup(places)?;
        let model = position("model", self.model.as_deref(), lineup.models.iter().map(|model| model.label.as_str()))?;
        let specs = lineup.specs(model, lineup.config.train.batch)?;
        let recipe = match self.boosted.as_deref() {
            None => &Recipe::Baseline,
            Some(name) => {
                let wanted = Some(name).filter(|name| !name.is_empty());
                let boosted: Vec<_> =
                    lineup.variants.iter().filter(|v| matches!(v.recipe, Recipe::Boosted(_))).collect();
                let at = position("boosted variant", wanted, boosted.iter().map(|v| v.name.as_str()))?;
                let none = || {
                    Error::config("the run has no boosted variant").hint("--set 'boost.attention=[\"sca\"]' adds one")
                };
                &boosted.get(at).ok_or_else(none)?.recipe
            }
        };
        let programs = recipe.programs(&specs, &lineup.config.boost)?;
        let graph = match self.program {
            Program::Train => programs.main()?.graph.clone(),
            Program::Eval => programs.eval,
            Program::Step => {
                let turn = programs.main()?.clone();
                let optimizer = lineup.config.train.optimizer.clone().unwrap_or(turn.optimizer);
                Turn { optimizer, ..turn }.step()?.program
            }
        };
        let depth = Some(self.depth).filter(|depth| *depth > 0);
        print(&match self.format {
            Format::Dot => draw::dot(&graph, depth),
            Format::Mermaid => draw::mermaid(&graph, depth),
            Format::Text => graph.to_string(),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
