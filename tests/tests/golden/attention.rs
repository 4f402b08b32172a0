//! The attention modules of the boost on their own: map and gradients of `sum(map * G)`.

use std::collections::BTreeMap;

use mimus_core::autodiff::{differentiate, differentiate_variables};
use mimus_core::graph::{Inlining, inline};
use mimus_core::plugin::{FeatureRequest, OptionValue, Options, attention};
use mimus_core::{Builder, Error, Graph, Phase, Result, ValueType};

use crate::Subject;
use crate::engine::{Engine, load};
use crate::ledger::{Before, Ledger};
use crate::training::{GRADIENT, compare_gradients, value};

/// Class, plugin, and the constructor's argument that is an option of the plugin.
const MODULES: &[(&str, &str, &str, &str)] = &[
    ("ChannelAttention", "ca", "reduction_ratio", "reduction"),
    ("SpatialAttention", "sa", "kernel_size", "kernel"),
    ("SpatioChannelAttention", "sca", "reduction_ratio", "reduction"),
];

/// Whether the class is one of these modules.
pub(crate) fn knows(class: &str) -> bool {
    MODULES.iter().any(|(known, ..)| *known == class)
}

/// Compares map, loss and all gradients.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let program = load(engine, &program(subject, &describe(subject)?)?, &subject.state)?;
    let results = engine.run(program, &subject.inputs)?;
    for array in ["map", "loss", "grad_input/x"] {
        ledger.compare(&format!("eval.{array}"), value(&results, array)?, Before::All)?;
    }
    compare_gradients(subject.case, "eval", &results, ledger)
}

/// The plugin's description of the module that the case's constructor made.
fn describe(subject: &Subject<'_>) -> Result<Graph> {
    let Subject { case, plugins, inputs, .. } = subject;
    let known = MODULES.iter().find(|(class, ..)| *class == case.class());
    let (_, name, argument, option) = known.ok_or_else(|| Error::data("is of an unknown class"))?;
    let given = case.argument(argument).and_then(|text| text.parse().ok());
    let given = given.ok_or_else(|| Error::data(format!("the constructor has no `{argument}`")))?;
    let module = plugins.attention(name)?;
    let given = BTreeMap::from([((*option).to_owned(), OptionValue::Int(given))]);
    let options = Options::resolve(&module.info().options, given)?;
    let shape = inputs.get("x").map(|x| x.shape().to_vec()).unwrap_or_default();
    module.describe(&FeatureRequest { options, student: shape.clone(), teacher: shape, phase: Phase::Eval })
}

/// `loss = sum(map * G)` and its gradients.
fn program(subject: &Subject<'_>, module: &Graph) -> Result<Graph> {
    let Subject { case, inputs, .. } = subject;
    let mut b = Builder::new("attention");
    let mut input = |name: &str| b.input(name, inputs.get(name).map_or(ValueType::f32([]), |x| x.ty()));
    let (x, weights) = (input("x")?, input("G")?);
    let bindings = BTreeMap::from([(attention::INCONSISTENCY.to_owned(), x)]);
    let how = Inlining { prefix: "", variable: &|v| v, bindings: &bindings, redirect: &mut |_, _, value| Ok(value) };
    let map = inline(&mut b, module, how)?.output(attention::MAP)?;
    b.output("map", map)?;
    let product = b.mul(map, weights)?;
    let axes: Vec<usize> = (0..b.shape(product).len()).collect();
    let loss = b.sum(product, &axes)?;
    b.output("loss", loss)?;
    let gradient = differentiate(&mut b, loss, &[x])?[0].ok_or_else(|| Error::data("no gradient reaches the input"))?;
    b.output("grad_input/x", gradient)?;
    let names: Vec<String> = case.params.iter().map(|(name, _)| name.clone()).collect();
    for (name, gradient) in differentiate_variables(&mut b, loss, &names)? {
        b.output(&format!("{GRADIENT}{name}"), gradient)?;
    }
    Ok(b.finish())
}
