//! Which backend trains a cell and which one scores it, and whether the rows of a run may be compared.

use std::collections::BTreeSet;

use mimus_core::{Error, Result};
use serde::Serialize;

use crate::config::Config;
use crate::input::Origin;
use crate::network::ONNX;

/// Names of backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stages {
    #[serde(rename = "train_backend")]
    pub(crate) train: String,
    #[serde(rename = "eval_backend")]
    pub(crate) eval: String,
}

impl Stages {
    /// Those of what no backend computes.
    pub(crate) fn none() -> Self {
        Self { train: "none".to_owned(), eval: "none".to_owned() }
    }

    /// Those of a model's baselines, or of its boosted variants; what is said nearest to the cell counts.
    pub(crate) fn of(config: &Config, model: usize, boosted: bool) -> Self {
        let run = &config.run;
        let own = config.model.get(model).and_then(|model| model.backend.as_ref());
        let student = config.boost.train.as_ref().filter(|_| boosted);
        let train = student.or(own).or(run.train.as_ref()).unwrap_or(&run.backend);
        let eval = own.or(run.eval.as_ref()).unwrap_or(&run.backend);
        Self { train: train.clone(), eval: eval.clone() }
    }
}

impl std::fmt::Display for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.train == self.eval {
            true => f.write_str(&self.train),
            false => write!(f, "{}, scored on {}", self.train, self.eval),
        }
    }
}

/// The stages of all cells, each with what they belong to.
fn all(config: &Config) -> impl Iterator<Item = (String, Stages)> {
    let kinds: &[(&str, bool)] = match config.boost.attention.is_empty() {
        true => &[("baseline", false)],
        false => &[("baseline", false), ("boosted", true)],
    };
    config.model.iter().enumerate().flat_map(move |(i, model)| {
        let of = move |(kind, boosted): &(&str, bool)| {
            (format!("{}, {kind}", model.label()), Stages::of(config, i, *boosted))
        };
        kinds.iter().map(of)
    })
}

/// Names of the backends that the run uses, sorted: those of its stages, and that of networks which find regions or flow.
pub(crate) fn used(config: &Config) -> Vec<String> {
    let mut names: BTreeSet<String> = all(config).flat_map(|(_, stages)| [stages.train, stages.eval]).collect();
    if [&config.input.regions, &config.input.flow].iter().any(|origin| matches!(origin, Origin::Network(_))) {
        names.insert(ONNX.to_owned());
    }
    names.into_iter().collect()
}

/// Refuses to compare cells of different backends, unless the run says that it may.
pub(crate) fn check(config: &Config) -> Result<()> {
    let mut cells = all(config);
    let (Some((first, a)), false) = (cells.next(), config.run.compare_backends) else { return Ok(()) };
    let Some((other, b)) = cells.find(|(_, stages)| *stages != a) else { return Ok(()) };
    let message = format!("cells of different backends would be compared: `{first}` on {a}, `{other}` on {b}");
    Err(Error::config(message)
        .with("key", "run.compare_backends")
        .hint("set run.compare_backends = true to compare them all the same: the tables then name each row's backends"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::SMALL;

    fn parse(sets: &[&str]) -> Result<Config> {
        Config::parse(SMALL, &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_stage_has_the_backend_that_is_named_nearest_to_it() {
        let sets = ["run.backend=a", "run.train=b", "model.backend=c", "boost.train=d", "run.compare_backends=true"];
        let stages = |n: usize, boosted| {
            let Stages { train, eval } = Stages::of(&parse(&sets[..n]).unwrap_or_else(|e| panic!("{e}")), 0, boosted);
            [train, eval].join(" ")
        };
        assert_eq!([stages(0, false), stages(1, true), stages(2, true)], ["candle candle", "a a", "b a"]);
        assert_eq!([stages(3, true), stages(5, false), stages(5, true)], ["c c", "c c", "d c"]);
    }

    #[test]
    fn cells_of_different_backends_are_not_compared_unless_the_run_says_so() {
        let mixed = ["boost.attention=[\"ca\"]", "run.eval=onnx", "boost.train=torch"];
        let error = parse(&mixed).unwrap_err();
        let expected = "`memae, baseline` on candle, scored on onnx, `memae, boosted` on torch, scored on onnx";
        assert_eq!(error.message(), format!("cells of different backends would be compared: {expected}"));
        assert_eq!(error.context_value("key"), Some("run.compare_backends"));
        let allowed = parse(&[&mixed[..], &["run.compare_backends=true"]].concat()).unwrap();
        assert_eq!(used(&allowed), ["candle", "onnx", "torch"]);
        let network = parse(&["input.flow=a/raft.ONNX"]).unwrap();
        assert_eq!(used(&network), ["candle", "onnx"]);
        assert!(parse(&mixed[..2]).is_ok(), "all cells are trained on one backend and scored on another");
    }
}
