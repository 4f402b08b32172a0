//! The part of a model that is trained elsewhere: variables that begin with the values of a file.

use std::path::PathBuf;

use mimus_core::plugin::{ModelSpec, Pretrained};
use mimus_core::{Context, Error, Result};

use super::fit::Wanted;
use super::{Choice, Fit, Source};
use crate::store::Tensors;

/// The word by which a user says that random weights will do.
const RANDOM: &str = "random";

/// First values of a model's pretrained variables.
#[derive(Default)]
pub(crate) struct Backbone {
    /// SHA-256 of the file; none for random weights.
    pub(crate) sha256: Option<String>,
    /// Under the names of the model.
    pub(crate) variables: Tensors,
}

impl Backbone {
    /// Reads what `model.backbone` names.
    ///
    /// # Errors
    /// If the model needs pretrained weights and none are named, or it needs none and they are; if the file lacks a variable.
    pub(crate) fn load(named: Option<&str>, spec: &ModelSpec) -> Result<Self> {
        let Pretrained { prefix, what } = match (&spec.pretrained, named) {
            (Some(pretrained), _) => pretrained,
            (None, None) => return Ok(Self::default()),
            (None, Some(_)) => return Err(Error::config("the model has no pretrained part").hint("remove the key")),
        };
        let Some(named) = named else {
            let hint = format!("name the file, or \"{RANDOM}\" to begin with random weights all the same");
            return Err(Error::config(format!("the model begins with pretrained weights: {what}")).hint(hint));
        };
        if named == RANDOM {
            return Ok(Self::default());
        }
        let path = PathBuf::from(named);
        let mut source = Source::open(&path)?;
        let front = format!("{prefix}.");
        let own = |name: &str| name.strip_prefix(&front).filter(|name| !name.ends_with(COUNTER)).map(str::to_owned);
        let wanted: Wanted =
            spec.variables().iter().filter_map(|variable| Some((own(&variable.name)?, variable.ty.clone()))).collect();
        let fit = Fit::new(&source, &wanted, &Choice::default()).context("file", path.display())?;
        if let Some(problem) = fit.problem() {
            let hint = format!("the model expects {what}");
            return Err(Error::data(problem).with("file", path.display()).hint(hint));
        }
        let read = fit.read(&mut source)?;
        let variables = read.into_iter().map(|(name, value)| (format!("{front}{name}"), value)).collect();
        Ok(Self { sha256: Some(source.sha256), variables })
    }

    /// The part of weights that are there already.
    pub(crate) fn of(variables: &Tensors, spec: &ModelSpec) -> Self {
        let Some(Pretrained { prefix, .. }) = &spec.pretrained else { return Self::default() };
        let front = format!("{prefix}.");
        let own = variables.iter().filter(|(name, _)| name.starts_with(&front));
        Self { sha256: None, variables: own.map(|(name, value)| (name.clone(), value.clone())).collect() }
    }
}

/// Batch norm's counter, which older files lack and no network reads.
const COUNTER: &str = "num_batches_tracked";
