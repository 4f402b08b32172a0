//! Weights that others trained: files of PyTorch and safetensors, read without running code, and fitted to a model by name.

mod archive;
mod backbone;
mod element;
mod fit;
mod pickle;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use mimus_core::plugin::ModelSpec;
use mimus_core::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::store::Tensors;
pub(crate) use backbone::Backbone;
pub(crate) use fit::{Choice, Fit, first_values, wanted};
pub(crate) use source::Source;

/// Where imported weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// SHA-256 of the file.
    pub(crate) sha256: String,
    /// The dictionary in the file that holds them; empty for the outermost.
    pub(crate) section: String,
    /// What was taken off the front of every name.
    pub(crate) stripped: String,
}

/// A model's variables from a file.
pub(crate) struct Imported {
    pub(crate) origin: Origin,
    pub(crate) variables: Tensors,
    /// How the file was understood.
    pub(crate) summary: String,
}

/// Stands for the group's name in the path of weights.
const GROUP: &str = "{group}";

impl Imported {
    /// Reads the weights of `model` for a group; all of its variables must be there.
    pub(crate) fn load(template: &Path, group: &str, spec: &ModelSpec) -> Result<Self> {
        let path = PathBuf::from(template.to_string_lossy().replace(GROUP, group));
        let mut source = Source::open(&path)?;
        let fit = Fit::new(&source, &wanted(spec), &Choice::default()).context("file", path.display())?;
        if let Some(problem) = fit.problem() {
            return Err(Error::data(problem)
                .with("file", path.display())
                .hint(format!("`mimus import {} RUN.TOML` lists the names", path.display())));
        }
        Ok(Self { variables: fit.read(&mut source)?, origin: fit.origin(&source), summary: fit.summary() })
    }
}
