//! `mimus import`: whether the weights in a file are those of a model, name by name, and the same weights as safetensors.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mimus_core::{Context, Error, Result};

use super::Source;
use crate::plan::position;
use crate::plugins::Places;
use crate::weights::{self, Choice, Fit, Origin};
use crate::{print, store};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files of torch.save (.pth, .pt) or safetensors; of several each holds a part of the model
    #[arg(value_name = "WEIGHTS", required = true)]
    weights: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Which model of the run; the first if none is given
    #[arg(long)]
    model: Option<String>,
    /// Which dictionary of each file holds the weights, for example state_dict
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
    /// Take this off the front of every name in each file, for example module.
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
        let choice = Choice { section: self.section, strip: self.strip };
        let mut sources = self.weights.iter().map(|path| weights::Source::open(path)).collect::<Result<Vec<_>>>()?;
        let wanted = weights::wanted(&spec);
        let fit = |source: &weights::Source| Fit::new(source, &wanted, &choice).context("file", source.path.display());
        let fits = sources.iter().map(fit).collect::<Result<Vec<_>>>()?;
        let files = self.weights.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let fit = Fit::joined(&fits).context("file", &files)?;
        let table = fit.table().map(|table| table.markdown() + "\n").unwrap_or_default();
        if let [_, _, ..] = &fits[..] {
            for (fit, source) in fits.iter().zip(&sources) {
                print(&format!("{}: {}\n", source.path.display(), fit.summary()))?;
            }
        }
        print(&format!("{table}{}\n", fit.summary()))?;
        if let Some(problem) = fit.problem().filter(|_| !self.partial) {
            return Err(Error::data(problem).with("file", files).hint(
                "check that input size and options of the model are those of the file; --partial keeps the model's first values",
            ));
        }
        let mut tensors = weights::first_values(&spec)?;
        for (fit, source) in fits.iter().zip(&mut sources) {
            tensors.extend(fit.read(source)?);
        }
        match self.out {
            Some(out) => {
                let origins: Vec<Origin> = fits.iter().zip(&sources).map(|(fit, source)| fit.origin(source)).collect();
                store::save(&out, &tensors, &origins)?;
                print(&format!("written: {}\n", out.display()))?;
            }
            None if choice.section.is_some() || choice.strip.is_some() => {
                print("a run cannot be told --section and --strip: write what fits with --out FILE.safetensors\n")?;
            }
            None if fits.len() > 1 => {
                print("a run takes one file: write what fits with --out FILE.safetensors\n")?;
            }
            None => print(&format!("use them: weights = \"{}\" below [model]\n", files))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
