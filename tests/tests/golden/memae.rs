//! MemAE, for clips and for images: the plugin's network against the official one and two unofficial ones.

use std::collections::BTreeMap;

use mimus_core::boost::baseline;
use mimus_core::plugin::{ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::{Error, Result};

use crate::Subject;
use crate::engine::{Engine, load};
use crate::ledger::{Before, Ledger};
use crate::set::{Case, Tensors};
use crate::training::{Training, observe, value};

/// The plugin's component and its layout for a constructor's class.
fn component(class: &str) -> Option<(&'static str, Option<&'static str>)> {
    match class {
        "AutoEncoderCov3DMem" => Some(("memae-video", None)),
        "AutoEncoderCov2DMem" => Some(("memae", Some("mnist"))),
        "MemaeCIFAR" => Some(("memae", Some("same"))),
        _ => None,
    }
}

/// Whether the class is one of these networks.
pub(crate) fn knows(class: &str) -> bool {
    component(class).is_some()
}

/// Compares evaluation, losses, gradients and optimiser steps.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let spec = describe(subject)?;
    let program = load(engine, &observe(baseline(&spec)?.eval)?, &subject.state)?;
    let results = engine.run(program, &subject.inputs)?;
    let evaluation = [
        ("feature", "tap/encoder"),
        ("memory_out", "tap/memory"),
        ("att", "att"),
        ("output", "output"),
        ("score", "score"),
        ("mse", "mse"),
        ("entropy", "entropy"),
    ];
    for (array, output) in evaluation {
        ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
    }
    let training = Training {
        subject,
        forward: &spec.main()?.graph,
        outputs: &[("output", "output"), ("feature", "tap/encoder"), ("att", "att")],
        terms: &[("recon", "loss.recon"), ("entropy", "loss.entropy"), ("total", "loss")],
        states: &[],
    };
    training.check(engine, ledger)
}

/// The plugin's description of the network that the case's constructor made.
fn describe(subject: &Subject<'_>) -> Result<ModelSpec> {
    let Subject { case, plugins, inputs, .. } = subject;
    let (name, layout) = component(case.class()).ok_or_else(|| Error::data("is of an unknown class"))?;
    let model = plugins.model(name)?;
    let mut options = options(case, layout, inputs)?;
    let shape = inputs.get("x").map(|x| x.shape().to_vec()).unwrap_or_default();
    let (frames, height, width) = match shape[..] {
        [_, _, height, width] => (1, height, width),
        [_, _, frames, height, width] => (frames, height, width),
        _ => return Err(Error::data(format!("input `x` has shape {shape:?}, expects that of images or clips"))),
    };
    if shape.len() == 5 {
        options.insert("frames".to_owned(), OptionValue::Int(frames as i64));
    }
    let options = Options::resolve(&model.info().options, options)?;
    model.describe(&ModelRequest { options, batch: shape[0], height, width })
}

/// The constructor's arguments in the plugin's words.
fn options(case: &Case, layout: Option<&str>, inputs: &Tensors) -> Result<BTreeMap<String, OptionValue>> {
    let stages = (0..).map_while(|i| case.shape_of(&format!("encoder.{}.weight", 3 * i)).ok());
    let widths = stages.map(|shape| shape[0] as i64).collect();
    let slots = case.shape_of("mem_rep.memory.weight")?[0] as i64;
    let threshold = ["shrink_thres", "shrink_threshold"].into_iter().find_map(|name| case.argument(name));
    let threshold = threshold.and_then(|text| text.parse().ok());
    let threshold = threshold.ok_or_else(|| Error::data("the constructor has no shrinkage threshold"))?;
    let cosine = case.argument("use_cosine_similarity") == Some("True");
    let gray = inputs.get("x").is_some_and(|x| x.shape().get(1) == Some(&1));
    let text = |word: &str| OptionValue::Text(word.to_owned());
    let options = [
        ("widths", OptionValue::Ints(widths)),
        ("slots", OptionValue::Int(slots)),
        ("shrink_threshold", OptionValue::Float(threshold)),
        ("entropy_weight", OptionValue::Float(case.weight_of("entropy")?)),
        ("addressing", text(if cosine { "cosine" } else { "dot" })),
        ("color", text(if gray { "gray" } else { "rgb" })),
    ];
    let layout = layout.map(|layout| ("layout", text(layout)));
    Ok(options.into_iter().chain(layout).map(|(name, value)| (name.to_owned(), value)).collect())
}
