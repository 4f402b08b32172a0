//! The whole boost around the small autoencoder of the golden data: teacher, student, attention, losses, fused scores.

use std::collections::BTreeMap;

use mimus_core::boost::{BoostOptions, Programs, baseline, boost};
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Options};
use mimus_core::{Builder, Error, Graph, Phase, Result};

use crate::Subject;
use crate::autoencoder::{self, TAP as BOTTLENECK};
use crate::engine::{Engine, Values, load};
use crate::ledger::{Before, Ledger};
use crate::training::{Training, observe, value};

/// What the data says of a version of the authors' framework.
struct Framework {
    /// Class, or what the index says in its place.
    class: &'static str,
    /// The attention, where the constructor does not name it.
    attention: Option<&'static str>,
    /// The mimicking loss in the description of the total, where it has a weight.
    mimicking: Option<&'static str>,
}

const FRAMEWORKS: [Framework; 2] = [
    Framework { class: "FeatureMimickingFramework", attention: None, mimicking: None },
    Framework {
        class: "teacher and student as in boosted_sca; attention = FeatureInconsistencyAttention",
        attention: Some("fia"),
        mimicking: Some("mse(fea_t"),
    },
];

/// Name of the output that holds the attention's own loss without its weight.
const ATTENTION_LOSS: &str = "attention's own";

fn framework(class: &str) -> Option<&'static Framework> {
    FRAMEWORKS.iter().find(|framework| framework.class == class)
}

/// Whether the class is a version of the authors' framework.
pub(crate) fn knows(class: &str) -> bool {
    framework(class).is_some()
}

/// Compares the baseline, evaluation, fused scores, losses, gradients and optimiser steps.
///
/// # Errors
/// If a plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    subject.check_teacher(engine, ledger)?;
    subject.check_evaluation(engine, ledger)?;
    subject.check_losses_in_evaluation(engine, ledger)?;
    let (map, output) = (format!("tap/map.{BOTTLENECK}"), format!("tap/student.{}", autoencoder::OUTPUT));
    let outputs = [("att_map", map.as_str()), ("output", output.as_str())];
    let terms = [("L_fea", "loss.mimicking"), ("L_o", "loss.task"), ("L_att", ATTENTION_LOSS), ("total", "loss")];
    let training = Training {
        subject,
        forward: &subject.training(Phase::Train)?,
        outputs: &stored(ledger, "train.", &outputs),
        terms: &stored(ledger, "train.loss.", &terms),
        states: &[],
    };
    training.check(engine, ledger)
}

/// Those that the case stores: what it stores beyond them the ledger tells.
fn stored<'a>(ledger: &Ledger<'_>, prefix: &str, known: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let names = ledger.names(prefix);
    known.iter().copied().filter(|(array, _)| names.iter().any(|name| name == array)).collect()
}

impl Subject<'_> {
    fn framework(&self) -> Result<&'static Framework> {
        framework(self.case.class()).ok_or_else(|| Error::data("is of an unknown class"))
    }

    /// The name of the attention module.
    fn attention(&self) -> Result<String> {
        let named = || self.case.argument("attention_type").unwrap_or_default().to_lowercase();
        Ok(self.framework()?.attention.map_or_else(named, str::to_owned))
    }

    /// The boosted programs, the losses in `phase`; the sum of scores is raw, as in the golden data.
    fn programs(&self, phase: Phase, lambda: f64) -> Result<Programs> {
        let spec = autoencoder::spec(self.case, &self.inputs, phase)?;
        let (module, head) = (self.plugins.attention(&self.attention()?)?, self.plugins.head("mse")?);
        let attention = |asked: FeatureRequest| {
            // Where the losses are those of evaluation, so is the module.
            let phase = if phase == Phase::Eval { phase } else { asked.phase };
            module.describe(&FeatureRequest { options: defaults(&module.info())?, phase, ..asked })
        };
        let mimicking =
            |asked: FeatureRequest| head.describe(&FeatureRequest { options: defaults(&head.info())?, ..asked });
        let options = BoostOptions {
            taps: vec![BOTTLENECK.to_owned()],
            lambda,
            mimicking_weight: self.framework()?.mimicking.map_or(Ok(1.0), |term| self.case.weight_of(term))?,
            standardise: false,
            train_attention: true,
        };
        boost(&spec, &spec, &attention, Some(&mimicking), &options)
    }

    /// The training graph; where the attention has a loss of its own, that without its weight as a further output.
    fn training(&self, phase: Phase) -> Result<Graph> {
        let graph = self.programs(phase, 0.5)?.main()?.graph.clone();
        let Some(weighted) = graph.output("loss.attention") else { return Ok(graph) };
        let module = self.plugins.attention(&self.attention()?)?;
        let weight = defaults(&module.info())?.float("loss_weight")?;
        let mut b = Builder::extend(graph);
        let own = b.affine(weighted, 1.0 / weight, 0.0)?;
        b.output(ATTENTION_LOSS, own)?;
        Ok(b.finish())
    }

    fn evaluate(&self, lambda: f64, engine: &mut dyn Engine) -> Result<Values> {
        let program = load(engine, &observe(self.programs(Phase::Train, lambda)?.eval)?, &self.state)?;
        engine.run(program, &self.inputs)
    }

    /// The teacher alone is the baseline; its variables have no prefix there.
    fn check_teacher(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let own = |(name, value): (&String, &_)| Some((name.strip_prefix("teacher.")?.to_owned(), Clone::clone(value)));
        let state = self.state.iter().filter_map(own).collect();
        let spec = autoencoder::spec(self.case, &self.inputs, Phase::Train)?;
        let program = load(engine, &observe(baseline(&spec)?.eval)?, &state)?;
        let results = engine.run(program, &self.inputs)?;
        let output = format!("tap/{}", autoencoder::OUTPUT);
        for (array, output) in stored(ledger, "eval.", &[("teacher_output", &output), ("S_teacher", "score")]) {
            ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
        }
        Ok(())
    }

    /// Features, map, parts of the score, and the sum for every stored weight.
    fn check_evaluation(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        for lambda in ledger.names("eval.S_total_") {
            let weight = lambda.parse().map_err(|_| Error::data(format!("`{lambda}` is no number")))?;
            let results = self.evaluate(weight, engine)?;
            ledger.compare(&format!("eval.S_total_{lambda}"), value(&results, "score")?, Before::All)?;
        }
        let results = self.evaluate(0.5, engine)?;
        let inner = [
            ("fea_t", "teacher"),
            ("fea_s", "student"),
            ("fea_i", "inconsistency"),
            ("fea_r", "refined"),
            ("att_map", "map"),
            ("gate", "map"),
        ];
        for (array, tap) in stored(ledger, "eval.", &inner) {
            let tap = format!("tap/{tap}.{BOTTLENECK}");
            ledger.compare(&format!("eval.{array}"), value(&results, &tap)?, Before::All)?;
        }
        let output = format!("tap/student.{}", autoencoder::OUTPUT);
        let outputs = [("output", output.as_str()), ("S_o", "task.score"), ("S_fea", "mimicking.score")];
        for (array, output) in stored(ledger, "eval.", &outputs) {
            ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
        }
        Ok(())
    }

    fn check_losses_in_evaluation(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let program = load(engine, &self.training(Phase::Eval)?, &self.state)?;
        let results = engine.run(program, &self.inputs)?;
        let terms = [
            ("L_fea", "loss.mimicking"),
            ("L_o", "loss.task"),
            ("L_att", ATTENTION_LOSS),
            ("L_total", "loss"),
            ("total", "loss"),
        ];
        for (array, output) in stored(ledger, "eval.", &terms) {
            ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
        }
        Ok(())
    }
}

/// A fragment's default options, which are the authors'.
fn defaults(info: &ComponentInfo) -> Result<Options> {
    Options::resolve(&info.options, BTreeMap::new())
}
