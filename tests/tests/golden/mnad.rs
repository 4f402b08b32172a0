//! MNAD, predicting and reconstructing: the plugin's network and memory against the official ones.

use std::collections::BTreeMap;

use mimus_core::boost::baseline;
use mimus_core::plugin::{ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::{Error, HostTensor, Result};

use crate::Subject;
use crate::engine::{Engine, Values, load};
use crate::ledger::{Before, Ledger};
use crate::set::Tensors;
use crate::training::{Training, observe, value};

/// The class of both networks.
const CLASS: &str = "convAE";

/// The items' variable.
const ITEMS: &str = "m_items";

/// Whether the class is one of these networks.
pub(crate) fn knows(class: &str) -> bool {
    class == CLASS
}

/// Compares evaluation, scores by sample, memory updates, losses, gradients and optimiser steps.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let mnad = Mnad(prepared(subject)?);
    mnad.check_evaluation(engine, ledger)?;
    mnad.check_samples(engine, ledger)?;
    let spec = mnad.describe(&mnad.0.inputs, 1.0)?;
    let training = Training {
        subject: &mnad.0,
        forward: &spec.main()?.graph,
        outputs: &[("output", "output"), ("feature", "tap/encoder"), ("softmax_memory", "by_item")],
        terms: &[
            ("pixel", "loss.pixel"),
            ("compactness", "loss.compactness"),
            ("separateness", "loss.separateness"),
            ("total", "loss"),
        ],
        states: &[("keys_step", ITEMS)],
    };
    training.check(engine, ledger)
}

/// The subject with the items as a variable, and with the frames that are seen and the one to predict as one clip.
fn prepared<'a>(subject: &Subject<'a>) -> Result<Subject<'a>> {
    let given = |name: &str| subject.inputs.get(name).ok_or_else(|| Error::data(format!("there is no input `{name}`")));
    let mut state = subject.state.clone();
    state.insert(ITEMS.to_owned(), given("keys")?.clone());
    let x = match given("y") {
        Ok(y) => stacked(given("x")?, y)?,
        Err(_) => given("x")?.clone(),
    };
    Ok(Subject { case: subject.case, plugins: subject.plugins, state, inputs: Tensors::from([("x".to_owned(), x)]) })
}

/// `[N, A, H, W]` and `[N, B, H, W]` as `[N, A + B, H, W]`.
fn stacked(x: &HostTensor, y: &HostTensor) -> Result<HostTensor> {
    let (mut shape, n) = (x.shape().to_vec(), x.shape()[0]);
    let (size_x, size_y) = (x.as_f32()?.len() / n, y.as_f32()?.len() / n);
    let samples = x.as_f32()?.chunks_exact(size_x).zip(y.as_f32()?.chunks_exact(size_y));
    let values: Vec<f32> = samples.flat_map(|(x, y)| x.iter().chain(y).copied()).collect();
    shape[1] += y.shape()[1];
    HostTensor::f32(shape, values)
}

/// A case with its frames and items in the plugin's terms.
struct Mnad<'a>(Subject<'a>);

impl Mnad<'_> {
    /// The plugin's description of the network that the case's constructor made, for a batch like `inputs`.
    fn describe(&self, inputs: &Tensors, test_threshold: f64) -> Result<ModelSpec> {
        let length: i64 = self.0.case.argument("t_length").and_then(|text| text.parse().ok()).unwrap_or_default();
        let name = if length == 2 { "mnad-reconstruction" } else { "mnad" };
        let weight = |term| Ok(OptionValue::Float(self.0.case.weight_of(term)?));
        let mut options = BTreeMap::from([
            ("compactness_weight".to_owned(), weight("compactness")?),
            ("separateness_weight".to_owned(), weight("separateness")?),
            ("test_threshold".to_owned(), OptionValue::Float(test_threshold)),
        ]);
        if name == "mnad" {
            options.insert("frames".to_owned(), OptionValue::Int(length));
        }
        let model = self.0.plugins.model(name)?;
        let options = Options::resolve(&model.info().options, options)?;
        let shape = inputs.get("x").map(|x| x.shape().to_vec()).unwrap_or_default();
        let [batch, _, height, width] = shape[..] else {
            return Err(Error::data(format!("input `x` has shape {shape:?}, expects that of pictures")));
        };
        model.describe(&ModelRequest { options, batch, height, width })
    }

    /// Evaluates `inputs` from the initial state, items included: the results and the items that are left.
    fn evaluate(&self, inputs: &Tensors, test_threshold: f64, engine: &mut dyn Engine) -> Result<(Values, Vec<f64>)> {
        let spec = self.describe(inputs, test_threshold)?;
        let program = load(engine, &observe(baseline(&spec)?.eval)?, &self.0.state)?;
        let results = engine.run(program, inputs)?;
        Ok((results, engine.read(ITEMS)?))
    }

    fn check_evaluation(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        let (results, items) = self.evaluate(&self.0.inputs, 1.0, engine)?;
        let evaluation = [
            ("keys", "items"),
            ("eval.output", "output"),
            ("eval.feature", "tap/encoder"),
            ("eval.read", "read"),
            ("eval.softmax_query", "by_query"),
            ("eval.softmax_memory", "by_item"),
        ];
        for (array, output) in evaluation {
            ledger.compare(array, value(&results, output)?, Before::All)?;
        }
        if !ledger.names("eval.top1_index").is_empty() {
            ledger.compare("eval.top1_index", value(&results, "nearest")?, Before::All)?;
        }
        let by_sample = value(&results, "compactness")?;
        let compactness = by_sample.iter().sum::<f64>() / by_sample.len() as f64;
        ledger.compare("eval.compactness", &[compactness], Before::All)?;
        // The rule is the same in training; the queries here are those of evaluation.
        ledger.compare("eval.test_update_all", &items, Before::All)?;
        ledger.compare("eval.train_update_all", &items, Before::All)
    }

    /// Every sample alone, as the official test runs; then the gate, which lets exactly the better one through.
    fn check_samples(&self, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
        const SCORES: [(&str, &str); 4] =
            [("mse", "score"), ("psnr", "psnr"), ("feature_distance", "compactness"), ("point_score", "point_score")];
        let samples = self.samples()?;
        let evaluated = samples.iter().map(|sample| self.evaluate(sample, 1.0, engine)).collect::<Result<Vec<_>>>()?;
        for (array, output) in SCORES {
            let values = evaluated.iter().map(|(results, _)| value(results, output)).collect::<Result<Vec<_>>>()?;
            ledger.compare(&format!("score.{array}"), &values.concat(), Before::All)?;
        }
        let items: Vec<&[f64]> = evaluated.iter().map(|(_, items)| items.as_slice()).collect();
        ledger.compare("score.test_update", &items.concat(), Before::All)?;
        let points = evaluated.iter().map(|(results, _)| Ok(value(results, "point_score")?[0]));
        let points = points.collect::<Result<Vec<f64>>>()?;
        let threshold = points.iter().sum::<f64>() / points.len() as f64;
        for ((sample, point), updated) in samples.iter().zip(points).zip(items) {
            let (_, left) = self.evaluate(sample, threshold, engine)?;
            if (left == updated) != (point < threshold) {
                let message = format!("the gate of {threshold:e} treats the point score {point:e} wrongly");
                return Err(Error::data(message));
            }
        }
        Ok(())
    }

    /// Every sample as a batch of its own.
    fn samples(&self) -> Result<Vec<Tensors>> {
        let x = self.0.inputs.get("x").ok_or_else(|| Error::data("there is no input `x`"))?;
        let shape = [&[1], &x.shape()[1..]].concat();
        let sample =
            |values: &[f32]| Ok(Tensors::from([("x".to_owned(), HostTensor::f32(shape.clone(), values.to_vec())?)]));
        x.as_f32()?.chunks_exact(shape.iter().product()).map(sample).collect()
    }
}
