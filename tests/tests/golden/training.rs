//! Gradients and optimiser steps: what every trained case stores.

use mimus_core::train::{LEARNING_RATE, Turn};
use mimus_core::{Builder, Dtype, Error, Graph, Op, Result, passes};

use crate::Subject;
use crate::engine::{Engine, Values, load, widened};
use crate::ledger::{Before, Ledger};
use crate::set::Case;

/// Optimiser steps that a case stores; the losses are stored once more after the last.
const STEPS: usize = 3;

/// Prefix of the outputs that [`observe`] makes of taps.
pub(crate) const TAP: &str = "tap/";

/// Prefix of the outputs that hold gradients.
pub(crate) const GRADIENT: &str = "gradient/";

/// A training program, how to feed it, and under which names its results are stored.
pub(crate) struct Training<'a> {
    pub(crate) subject: &'a Subject<'a>,
    /// Output `loss`.
    pub(crate) forward: &'a Graph,
    /// Stored array (without `train.`) and the output that it is compared with, at the first step.
    pub(crate) outputs: &'a [(&'a str, &'a str)],
    /// Stored array (without `train.loss.`) and the output that it is compared with.
    pub(crate) terms: &'a [(&'a str, &'a str)],
    /// Stored array (without `train.` and the step's number) and the variable that it is compared with after every step: state that
    /// the forward pass leaves, so that the first depends on no optimiser.
    pub(crate) states: &'a [(&'a str, &'a str)],
}

impl Training<'_> {
    /// Takes the steps and compares everything on the way.
    ///
    /// # Errors
    /// If a program cannot be made or run, or a stored array does not fit.
    pub(crate) fn check(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let (optimizer, learning_rate) = self.subject.case.optimizer()?;
        let mut step = Turn::new(self.forward.clone(), optimizer, learning_rate).step()?;
        fix(&mut step.program, LEARNING_RATE, learning_rate);
        self.check_trained(&step.trained)?;
        let forward = load(engine, self.forward, &self.subject.state)?;
        let step = load(engine, &observe(step.program)?, &self.subject.state)?;
        let mut losses = Vec::new();
        for i in 0..STEPS {
            let results = engine.run(step, &self.subject.inputs)?;
            if i == 0 {
                for (array, output) in self.outputs {
                    ledger.compare(&format!("train.{array}"), value(&results, output)?, Before::All)?;
                }
                compare_gradients(self.subject.case, "train", &results, ledger)?;
                self.compare_statistics("train.bn_norm_step1", engine, ledger, Before::All)?;
            }
            for (array, variable) in self.states {
                let before = if i == 0 { Before::All } else { Before::None };
                ledger.compare(&format!("train.{array}{}", i + 1), &engine.read(variable)?, before)?;
            }
            losses.push(results);
        }
        self.compare_parameters(engine, ledger)?;
        self.compare_statistics(&format!("train.bn_norm_step{STEPS}"), engine, ledger, Before::None)?;
        losses.push(engine.run(forward, &self.subject.inputs)?);
        for (array, output) in self.terms {
            let terms = losses.iter().map(|results| value(results, output)).collect::<Result<Vec<_>>>()?.concat();
            ledger.compare(&format!("train.loss.{array}"), &terms, Before::First)?;
        }
        Ok(())
    }

    /// The step trains what the case lists, and nothing else.
    fn check_trained(&self, trained: &[String]) -> Result<()> {
        let case = self.subject.case;
        let reached = |name: &&str| !case.params_without_gradient.iter().any(|unreached| unreached == name);
        let mut expected: Vec<&str> = case.params.iter().map(|(name, _)| name.as_str()).filter(reached).collect();
        let mut found: Vec<&str> = trained.iter().map(String::as_str).collect();
        expected.sort_unstable();
        found.sort_unstable();
        if found == expected {
            return Ok(());
        }
        Err(Error::data(format!("the step trains {}, expects {}", found.join(", "), expected.join(", "))))
    }

    /// A variable's value now; one that no program reads was never changed.
    fn read(&self, engine: &mut dyn Engine, name: &str) -> Result<Vec<f64>> {
        let is_it = |op: &Op| matches!(op, Op::Variable { name: read, .. } if read == name);
        let is_read = passes::remove_dead(self.forward)?.nodes.iter().any(|node| is_it(&node.op));
        if is_read {
            return engine.read(name);
        }
        self.subject.state.get(name).map(widened).ok_or_else(|| Error::data(format!("there is no variable `{name}`")))
    }

    /// Norms of running statistics, in the index's order, if the network has any.
    fn compare_statistics(
        &self,
        array: &str,
        engine: &mut dyn Engine,
        ledger: &mut Ledger<'_>,
        before: Before,
    ) -> Result<()> {
        if self.subject.case.bn_buffers.is_empty() {
            return Ok(());
        }
        let norms = self.subject.case.bn_buffers.iter().map(|name| Ok(norm(&self.read(engine, name)?)));
        ledger.compare(array, &norms.collect::<Result<Vec<_>>>()?, before)
    }

    /// Norms of parameters and of their changes, in the index's order.
    fn compare_parameters(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let (mut norms, mut updates) = (Vec::new(), Vec::new());
        for (name, _) in &self.subject.case.params {
            let now = self.read(engine, name)?;
            let first = self.subject.state.get(name).map(widened).unwrap_or_default();
            norms.push(norm(&now));
            updates.push(norm(&now.iter().zip(first).map(|(now, first)| now - first).collect::<Vec<_>>()));
        }
        ledger.compare_by_parameter("train", &format!("param_norm_step{STEPS}"), &norms, Before::None)?;
        ledger.compare_by_parameter("train", &format!("update_norm_step{STEPS}"), &updates, Before::None)
    }
}

/// Puts a scalar that is an input or a variable into the program, where it is not rounded to single precision: Adam's steps on small
/// gradients, shrinkage behind them, and differences of large scores would show that.
pub(crate) fn fix(program: &mut Graph, scalar: &str, value: f64) {
    let is_it = |op: &Op| matches!(op, Op::Input { name, .. } | Op::Variable { name, .. } if name == scalar);
    for node in program.nodes.iter_mut().filter(|node| is_it(&node.op)) {
        node.op = Op::Fill { dtype: Dtype::F32, shape: vec![], value };
    }
}

/// The program with its taps and, in a training step, the gradients that the optimiser reads as further outputs.
///
/// # Errors
/// If an output has such a name already.
pub(crate) fn observe(program: Graph) -> Result<Graph> {
    let taps = program.taps.iter().map(|tap| (format!("{TAP}{}", tap.name), tap.value));
    let gradients = program.nodes.iter().filter_map(|node| match (&node.op, node.inputs.as_slice()) {
        (Op::Adam { .. } | Op::Sgd { .. }, [parameter, gradient, ..]) => match &program.producer(*parameter).op {
            Op::Variable { name, .. } => Some((format!("{GRADIENT}{name}"), *gradient)),
            _ => None,
        },
        _ => None,
    });
    let observed: Vec<_> = taps.chain(gradients).collect();
    let mut b = Builder::extend(program);
    observed.into_iter().try_for_each(|(name, value)| b.output(&name, value))?;
    Ok(b.finish())
}

/// Compares norms, sums and the gradients that are stored in full.
///
/// # Errors
/// If a gradient is missing.
pub(crate) fn compare_gradients(case: &Case, mode: &str, results: &Values, ledger: &mut Ledger<'_>) -> Result<()> {
    let gradient = |name: &str| value(results, &format!("{GRADIENT}{name}"));
    let of = |name: &String| if case.params_without_gradient.contains(name) { Ok(&[][..]) } else { gradient(name) };
    let all = case.params.iter().map(|(name, _)| of(name)).collect::<Result<Vec<_>>>()?;
    let norms: Vec<f64> = all.iter().map(|gradient| norm(gradient)).collect();
    let sums: Vec<f64> = all.iter().map(|gradient| gradient.iter().sum()).collect();
    ledger.compare_by_parameter(mode, "grad_norm", &norms, Before::All)?;
    ledger.compare_by_parameter(mode, "grad_sum", &sums, Before::All)?;
    let prefix = format!("{mode}.grad/");
    for name in ledger.names(&prefix) {
        ledger.compare(&format!("{prefix}{name}"), gradient(&name)?, Before::All)?;
    }
    Ok(())
}

/// The output called `name`.
///
/// # Errors
/// If there is none.
pub(crate) fn value<'a>(results: &'a Values, name: &str) -> Result<&'a [f64]> {
    let value = results.get(name).map(Vec::as_slice);
    value.ok_or_else(|| Error::data(format!("the program has no output `{name}`")))
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}
