//! HF2-VAD and its two networks alone: the plugin against the official code.

use std::collections::BTreeMap;

use mimus_core::boost::baseline;
use mimus_core::plugin::{ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::{Error, Graph, HostTensor, Result};

use crate::Subject;
use crate::engine::{Engine, load, widened};
use crate::ledger::{Before, Ledger};
use crate::set::Tensors;
use crate::training::{Training, fix, observe, value};

/// Stored array and the output that it is compared with.
type Pairs = &'static [(&'static str, &'static str)];

/// What the data holds of one class.
struct Part {
    class: &'static str,
    /// The plugin's option.
    parts: &'static str,
    /// `eval.`, of the evaluation program.
    eval: Pairs,
    /// `eval.`, of the training program, whose forward pass is that of evaluation but for the latent noise.
    sampled: Pairs,
    /// `train.`, at the first step.
    train: Pairs,
    /// `train.loss.`.
    terms: Pairs,
}

const PARTS: [Part; 3] = [
    Part {
        class: "ML_MemAE_SC",
        parts: "flow",
        eval: &[
            ("recon", "flow_recon"),
            ("feature", "tap/memAE.down_3"),
            ("att3", "att3"),
            ("att2", "att2"),
            ("att1", "att1"),
            ("score", "score"),
            ("sparsity", "entropy"),
        ],
        sampled: &[],
        train: &[("recon", "flow_recon"), ("att3", "att3"), ("att2", "att2"), ("att1", "att1")],
        terms: &[("recon", "loss.flow"), ("sparsity", "loss.entropy"), ("total", "loss")],
    },
    Part {
        class: "VUnet",
        parts: "frame",
        eval: &[
            ("frame_pred", "frame_pred"),
            ("feature", "tap/vunet.bottleneck"),
            ("q_mean_4by4", "posterior0"),
            ("p_mean_4by4", "prior0"),
            ("q_mean_8by8", "posterior1"),
            ("p_mean_8by8", "prior1"),
            ("score", "score"),
            ("loss.kl", "kl"),
            ("loss.frame", "frame"),
            ("loss.gradient", "gradient"),
            ("loss.total", "total"),
        ],
        sampled: &[("frame_pred_sampled", "frame_pred")],
        train: &[],
        terms: &[("kl", "loss.kl"), ("frame", "loss.frame"), ("gradient", "loss.gradient"), ("total", "loss")],
    },
    Part {
        class: "HFVAD",
        parts: "both",
        eval: &[
            ("frame_pred", "frame_pred"),
            ("of_recon", "flow_recon"),
            ("score_flow", "statistics.flow"),
            ("score_frame", "statistics.frame"),
            ("score", "score"),
        ],
        sampled: &[],
        train: &[],
        terms: &[
            ("kl", "loss.kl"),
            ("frame", "loss.frame"),
            ("gradient", "loss.gradient"),
            ("sparsity", "loss.entropy"),
            ("flow", "loss.flow"),
            ("total", "loss"),
        ],
    },
];

fn part(class: &str) -> Option<&'static Part> {
    PARTS.iter().find(|part| part.class == class)
}

/// Whether the class is one of these networks.
pub(crate) fn knows(class: &str) -> bool {
    part(class).is_some()
}

/// Compares evaluation, losses, gradients and optimiser steps.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let part = part(subject.case.class()).ok_or_else(|| Error::data("is of an unknown class"))?;
    let inputs = inputs(&subject.inputs)?;
    let spec = describe(subject, part, &inputs)?;
    let train = &spec.main()?.graph;
    let mut eval = baseline(&spec)?.eval;
    fix_statistics(&mut eval, &subject.inputs);
    let subject = Subject { case: subject.case, plugins: subject.plugins, state: subject.state.clone(), inputs };
    compare(&subject, engine, ledger, eval, part.eval)?;
    if !part.sampled.is_empty() {
        compare(&subject, engine, ledger, train.clone(), part.sampled)?;
    }
    Training { subject: &subject, forward: train, outputs: part.train, terms: part.terms, states: &[] }
        .check(engine, ledger)
}

/// Runs a program once, on those of the inputs that it has.
fn compare(
    subject: &Subject<'_>,
    engine: &mut dyn Engine,
    ledger: &mut Ledger<'_>,
    program: Graph,
    pairs: Pairs,
) -> Result<()> {
    let has = |input: &str| program.inputs().any(|(name, _)| name == input);
    let inputs = subject.inputs.iter().filter(|(name, _)| has(name));
    let inputs = inputs.map(|(name, value)| (name.clone(), value.clone())).collect();
    let program = load(engine, &observe(program)?, &subject.state)?;
    let results = engine.run(program, &inputs)?;
    for (array, output) in pairs {
        ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
    }
    Ok(())
}

/// The plugin's description of the network with the official configuration, which the defaults are, and without dropout.
fn describe(subject: &Subject<'_>, part: &Part, inputs: &Tensors) -> Result<ModelSpec> {
    let model = subject.plugins.model("hf2vad")?;
    let given = [("parts", OptionValue::Text(part.parts.to_owned())), ("dropout", OptionValue::Float(0.0))];
    let given = given.map(|(name, value)| (name.to_owned(), value));
    let options = Options::resolve(&model.info().options, BTreeMap::from(given))?;
    let shape = inputs.get("flow").map(|x| x.shape().to_vec()).unwrap_or_default();
    let [batch, _, height, width] = shape[..] else {
        return Err(Error::data(format!("the flow has shape {shape:?}, expects that of pictures")));
    };
    model.describe(&ModelRequest { options, batch, height, width })
}

/// The data's inputs under the plugin's names: flows, frames with the target last, noise.
fn inputs(given: &Tensors) -> Result<Tensors> {
    let mut inputs = Tensors::new();
    let mut put = |name: &str, value: HostTensor| inputs.insert(name.to_owned(), value);
    for (name, value) in given {
        match name.as_str() {
            "x" | "flows" | "motion" => put("flow", value.clone()),
            "frames" | "eps0" | "eps1" => put(name, value.clone()),
            _ => None,
        };
    }
    if let (Some(past), Some(target)) = (given.get("appearance"), given.get("target")) {
        put("frames", joined(past, target)?);
    }
    Ok(inputs)
}

/// Channels of `a` and `b`, `[N, C, H, W]`, one after the other.
fn joined(a: &HostTensor, b: &HostTensor) -> Result<HostTensor> {
    let mut shape = a.shape().to_vec();
    let samples = shape[0];
    let rows = [a, b].map(|x| (widened(x), x.len() / samples));
    let row = |i: usize| rows.iter().flat_map(move |(values, n)| &values[i * n..][..*n]);
    let values = (0..samples).flat_map(row).map(|x| *x as f32).collect();
    shape[1] += b.shape()[1];
    HostTensor::f32(shape, values)
}

/// Puts mean and deviation of a training set's scores into the program, as the host would measure them.
fn fix_statistics(program: &mut Graph, given: &Tensors) {
    for name in ["flow", "frame"] {
        let Some(scores) = given.get(&format!("stats_{name}")).map(widened) else { continue };
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        fix(program, &format!("statistics.{name}.mean"), mean);
        fix(program, &format!("statistics.{name}.std"), variance.sqrt());
    }
}
