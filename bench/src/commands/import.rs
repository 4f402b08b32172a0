//! `mimus import`: whether the weights in a file are those of a model, name by name, and the same weights as safetensors.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mimus_core::{Context, Error, Result};

use super::Source;
use crate::plan::position;
use crate::plugins::Places;
use crate::weights::{self, Choice, Fit};
use crate::{print, store};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A file of torch.save (.pth, .pt) or safetensors
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Which model of the run; the first if none is given
    #[arg(long)]
    model: Option<String>,
    /// Which dictionary of the file holds the weights, for example state_dict
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
    /// Take this off the front of every name in the file, for example module.
    #[arg(long, value_name = "PREFIX")]
    strip: Option<String>,
    /// Write the weights to this file as safetensors, under the names of the model
    #[arg(long, value_name = "FILE.safetensors")]
    out: Option<PathBuf>,
    /// Write the first values of the model for whatever is missing or has another shape
    #[arg(long, requires = "out")]
    partial: bool,
}

impl Import {
    pub(crate) fn run(self, places: &Places) -> Result<ExitCode> {
        let lineup = self.source.lineup(places)?;
        let labels = lineup.models.iter().map(|model| model.label.as_str());
        let model = position("model", self.model.as_deref(), labels)?;
        let spec = lineup.models[model].part.component.describe(&lineup.request(model))?;
        let mut source = weights::Source::open(&self.weights)?;
        let choice = Choice { section: self.section, strip: self.strip };
        let fit = Fit::new(&source, &weights::wanted(&spec), &choice).context("file", self.weights.display())?;
        let table = fit.table().map(|table| table.markdown() + "\n").unwrap_or_default();
        print(&format!("{table}{}\n", fit.summary()))?;
        if let Some(problem) = fit.problem().filter(|_| !self.partial) {
            return Err(Error::data(problem).with("file", self.weights.display()).hint(
                "check that input size and options of the model are those of the file; --partial keeps the model's first values",
            ));
        }
        let tensors = fit.fill(&mut source, &spec)?;
        match self.out {
            Some(out) => {
                store::save(&out, &tensors, &fit.origin(&source))?;
                print(&format!("written: {}\n", out.display()))?;
            }
            None if choice.section.is_some() || choice.strip.is_some() => {
                print("a run cannot be told --section and --strip: write what fits with --out FILE.safetensors\n")?;
            }
            None => print(&format!("use them: weights = \"{}\" below [model]\n", self.weights.display()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
