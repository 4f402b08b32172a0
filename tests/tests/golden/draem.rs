//! DRAEM: the plugin's two networks against the official ones, each alone and both in one training step.

use std::collections::BTreeMap;

use mimus_core::boost::baseline;
use mimus_core::graph::{Inlining, Named, inline};
use mimus_core::plugin::{ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::{Builder, Error, Graph, Result, ValueId, ValueType, passes};

use crate::Subject;
use crate::engine::{Engine, run_once};
use crate::ledger::{Before, Ledger};
use crate::set::Case;
use crate::training::{Training, observe, value};

/// What the networks hand on from one to the other.
const RECONSTRUCTION: &str = "reconstruction";

/// In the names of the second network's variables and taps.
const SEGMENT: &str = "_segment";

/// Which of the networks a case has.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Reconstructive,
    Discriminative,
    Both,
}

impl Part {
    fn of(case: &Case) -> Self {
        let has = |network: &str| width(case, network).is_some();
        match (has("encoder"), has("encoder_segment")) {
            (true, true) => Self::Both,
            (true, false) => Self::Reconstructive,
            _ => Self::Discriminative,
        }
    }

    fn has(self, variable: &str) -> bool {
        match self {
            Self::Both => true,
            Self::Reconstructive => !variable.contains(SEGMENT),
            Self::Discriminative => variable.contains(SEGMENT),
        }
    }

    /// Stored array in evaluation, and the output that it is compared with.
    fn evaluation(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Reconstructive => &[("output", RECONSTRUCTION), ("feature", "tap/encoder.block5")],
            Self::Discriminative => &[
                ("output", "logits"),
                ("feature", "tap/encoder_segment.block6"),
                ("map", "score_map"),
                ("map_averaged", "map_averaged"),
                ("score", "score"),
            ],
            Self::Both => &[("reconstruction", RECONSTRUCTION), ("map", "score_map"), ("score", "score")],
        }
    }

    /// The same for the first training step.
    fn outputs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Reconstructive => {
                &[("output", RECONSTRUCTION), ("feature", "tap/encoder.block5"), ("output_minmax", "minmax")]
            }
            Self::Discriminative => &[("output", "logits")],
            Self::Both => &[],
        }
    }

    /// The terms of its loss.
    fn terms(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Reconstructive => &[("l2", "loss.l2"), ("ssim", "loss.ssim"), ("total", "loss")],
            Self::Discriminative => &[("total", "loss")],
            Self::Both => &[("l2", "loss.l2"), ("ssim", "loss.ssim"), ("focal", "loss.focal"), ("total", "loss")],
        }
    }
}

/// Whether the class is one of the networks.
pub(crate) fn knows(class: &str) -> bool {
    ["ReconstructiveSubNetwork", "DiscriminativeSubNetwork"].contains(&class)
}

/// Compares evaluation, losses, gradients and optimiser steps.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let (spec, part) = (describe(subject)?, Part::of(subject.case));
    let eval = averaged(baseline(&spec)?.eval)?;
    let results = run_once(engine, &observe(alone(&eval, part, subject)?)?, &subject.state, &subject.inputs)?;
    for (array, output) in part.evaluation() {
        ledger.compare(&format!("eval.{array}"), value(&results, output)?, Before::All)?;
    }
    let forward = alone(&spec.main()?.graph, part, subject)?;
    Training { subject, forward: &forward, outputs: part.outputs(), terms: part.terms(), states: &[] }
        .check(engine, ledger)
}

/// The plugin's description for the widths and the input of the case; a network that it has not is as small as can be.
fn describe(subject: &Subject<'_>) -> Result<ModelSpec> {
    let Subject { case, plugins, inputs, .. } = subject;
    let model = plugins.model("draem")?;
    let width = |network: &str| OptionValue::Int(width(case, network).unwrap_or(1));
    let given = [("reconstructive_width", width("encoder")), ("discriminative_width", width("encoder_segment"))];
    let given = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let options = Options::resolve(&model.info().options, given)?;
    match inputs.get("x").map(|x| x.shape().to_vec()).unwrap_or_default()[..] {
        [batch, _, height, width] => model.describe(&ModelRequest { options, batch, height, width }),
        ref shape => Err(Error::data(format!("input `x` has shape {shape:?}, expects that of images"))),
    }
}

/// Channels of the first layer of a network.
fn width(case: &Case, network: &str) -> Option<i64> {
    Some(case.shape_of(&format!("{network}.block1.0.weight")).ok()?[0] as i64)
}

/// The map whose maximum is the image score is stored too.
fn averaged(eval: Graph) -> Result<Graph> {
    let map = eval.expect_output("score_map")?;
    let mut b = Builder::extend(eval);
    let averaged = b.avg_pool(map, &[21, 21], &[1, 1], &[10, 10])?;
    b.output("map_averaged", averaged)?;
    Ok(b.finish())
}

/// What belongs to one of the networks, with its own loss. The discriminative one's input is reconstruction and image behind one
/// another.
fn alone(graph: &Graph, part: Part, subject: &Subject<'_>) -> Result<Graph> {
    if part == Part::Both {
        return Ok(graph.clone());
    }
    let mut graph = graph.clone();
    graph.taps.push(Named { name: RECONSTRUCTION.to_owned(), value: graph.expect_output(RECONSTRUCTION)? });
    let mut b = Builder::new("draem");
    let mut bindings = BTreeMap::new();
    let mut given = None;
    if part == Part::Discriminative {
        let shape = subject.inputs.get("x").map(|x| x.shape().to_vec()).unwrap_or_default();
        let x = b.input("x", ValueType::f32(shape.clone()))?;
        let mut channels = |from: usize| {
            let (mut starts, mut ends) = (vec![0; shape.len()], shape.clone());
            (starts[1], ends[1]) = (from, from + 3);
            b.slice(x, &starts, &ends)
        };
        given = Some(channels(0)?);
        let image = channels(3)?;
        bindings = ["x", "target"].map(|name| (name.to_owned(), image)).into();
    }
    let mut redirect =
        |_: &mut Builder, tap: &str, value: ValueId| Ok(given.filter(|_| tap == RECONSTRUCTION).unwrap_or(value));
    let how = Inlining { prefix: "", variable: &|v| v, bindings: &bindings, redirect: &mut redirect };
    let inlined = inline(&mut b, &graph, how)?;
    for named in inlined.assignments.iter().filter(|named| part.has(&named.name)) {
        b.assign(&named.name, named.value)?;
    }
    for (name, value) in inlined.taps.iter().filter(|(name, _)| *name != RECONSTRUCTION && part.has(name)) {
        b.tap(name, *value)?;
    }
    for (name, value) in inlined.outputs.iter().filter(|(name, _)| name.as_str() != "loss") {
        b.output(name, *value)?;
    }
    if inlined.outputs.contains_key("loss") {
        let loss = match part {
            Part::Discriminative => inlined.output("loss.focal")?,
            _ => b.add(inlined.output("loss.l2")?, inlined.output("loss.ssim")?)?,
        };
        b.output("loss", loss)?;
        let minmax = minmax(&mut b, inlined.output(RECONSTRUCTION)?)?;
        b.output("minmax", minmax)?;
    }
    let wanted = |name: &str| {
        let listed = [part.evaluation(), part.outputs(), part.terms()].concat();
        listed.iter().any(|(_, output)| *output == name)
    };
    let mut graph = b.finish();
    graph.outputs.retain(|named| wanted(&named.name));
    passes::remove_dead(&graph)
}

/// The least and the largest value.
fn minmax(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (0..b.shape(x).len()).collect();
    let opposite = b.neg(x)?;
    let opposite = b.max(opposite, &axes)?;
    let ends = [b.neg(opposite)?, b.max(x, &axes)?];
    let ends = [b.reshape(ends[0], [1])?, b.reshape(ends[1], [1])?];
    b.concat(&ends, 0)
}
