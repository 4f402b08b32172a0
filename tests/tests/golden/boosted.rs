//! The whole boost around the small autoencoder of the golden data: teacher, student, attention, losses, fused scores.

use std::collections::BTreeMap;

use mimus_core::boost::{BoostOptions, Programs, baseline, boost};
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Options};
use mimus_core::{Error, Phase, Result};

use crate::Subject;
use crate::autoencoder::{self, TAP as BOTTLENECK};
use crate::engine::{Engine, Values, load};
use crate::ledger::{Before, Ledger};
use crate::training::{Training, observe, value};

/// The class of the authors' framework.
const CLASS: &str = "FeatureMimickingFramework";

/// Whether the class is the authors' framework.
pub(crate) fn knows(class: &str) -> bool {
    class == CLASS
}

/// Compares the baseline, evaluation, fused scores, losses, gradients and optimiser steps.
///
/// # Errors
/// If a plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    subject.check_teacher(engine, ledger)?;
    subject.check_evaluation(engine, ledger)?;
    subject.check_losses_in_evaluation(engine, ledger)?;
    let programs = subject.programs(Phase::Train, 0.5)?;
    let training = Training {
        subject,
        forward: &programs.main()?.graph,
        outputs: &[
            ("att_map", &format!("tap/map.{BOTTLENECK}")),
            ("output", &format!("tap/student.{}", autoencoder::OUTPUT)),
        ],
        terms: &[("L_fea", "loss.mimicking"), ("L_o", "loss.task"), ("total", "loss")],
        states: &[],
    };
    training.check(engine, ledger)
}

impl Subject<'_> {
    /// The boosted programs, the losses in `phase`; the sum of scores is raw, as in the golden data.
    fn programs(&self, phase: Phase, lambda: f64) -> Result<Programs> {
        let spec = autoencoder::spec(self.case, &self.inputs, phase)?;
        let name = self.case.argument("attention_type").unwrap_or_default().to_lowercase();
        let (module, head) = (self.plugins.attention(&name)?, self.plugins.head("mse")?);
        let attention = |shape: &[usize], phase| module.describe(&request(&module.info(), shape, phase)?);
        let mimicking = |shape: &[usize], phase| head.describe(&request(&head.info(), shape, phase)?);
        let options = BoostOptions {
            taps: vec![BOTTLENECK.to_owned()],
            lambda,
            mimicking_weight: 1.0,
            standardise: false,
            train_attention: true,
        };
        boost(&spec, &attention, Some(&mimicking), &options)
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
        ledger.compare("eval.teacher_output", value(&results, &output)?, Before::All)?;
        ledger.compare("eval.S_teacher", value(&results, "score")?, Before::All)
    }

    /// Features, map, parts of the score, and the sum for every stored weight.
    fn check_evaluation(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        for lambda in ledger.names("eval.S_total_") {
            let weight = lambda.parse().map_err(|_| Error::data(format!("`{lambda}` is no number")))?;
            let results = self.evaluate(weight, engine)?;
            ledger.compare(&format!("eval.S_total_{lambda}"), value(&results, "score")?, Before::All)?;
        }
        let results = self.evaluate(0.5, engine)?;
        let inner = [("fea_t", "teacher"), ("fea_s", "student"), ("fea_i", "inconsistency"), ("fea_r", "refined")];
        for (array, tap) in inner.into_iter().chain([("att_map", "map")]) {
            let tap = format!("tap/{tap}.{BOTTLENECK}");
            ledger.compare(&format!("eval.{array}"), value(&results, &tap)?, Before::All)?;
        }
        let output = format!("tap/student.{}", autoencoder::OUTPUT);
        for (array, output) in [("output", output.as_str()), ("S_o", "task.score"), ("S_fea", "mimicking.score")] {
            ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
        }
        Ok(())
    }

    fn check_losses_in_evaluation(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let program = load(engine, &self.programs(Phase::Eval, 0.5)?.main()?.graph, &self.state)?;
        let results = engine.run(program, &self.inputs)?;
        for (array, output) in [("L_fea", "loss.mimicking"), ("L_o", "loss.task"), ("L_total", "loss")] {
            ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
        }
        Ok(())
    }
}

/// A fragment's request with its default options, which are the authors'.
fn request(info: &ComponentInfo, shape: &[usize], phase: Phase) -> Result<FeatureRequest> {
    let options = Options::resolve(&info.options, BTreeMap::new())?;
    Ok(FeatureRequest { options, student: shape.to_vec(), teacher: shape.to_vec(), phase })
}
