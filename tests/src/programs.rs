//! Programs that tests and measurements train: MemAE for images, alone or boosted; and how a program begins.

use std::collections::BTreeMap;

use mimus_core::abi::Registry;
use mimus_core::boost::{self, BoostOptions, Programs};
use mimus_core::plugin::{FeatureRequest, Kind, ModelRequest, ModelSpec, Options, ProgramId, Session};
use mimus_core::train::{LOSS, Turn};
use mimus_core::{Graph, Result, passes};

/// The defaults of a component's options.
///
/// # Errors
/// If there is no such component.
pub fn defaults(plugins: &Registry, kind: Kind, name: &str) -> Result<Options> {
    Options::resolve(&plugins.find(kind, name)?.info.options, BTreeMap::new())
}

/// MemAE under `options` and its training step, optimised as for a run: input `x` or as the model calls it, the learning rate,
/// output `loss`.
///
/// # Errors
/// If a plugin is not there or refuses.
pub fn memae(
    plugins: &Registry,
    options: Options,
    attention: Option<&str>,
    [batch, size]: [usize; 2],
) -> Result<(ModelSpec, Graph)> {
    let request = ModelRequest { options, batch, height: size, width: size };
    let spec = plugins.model("memae")?.describe(&request)?;
    let program = training_step(programs(plugins, &spec, attention)?.main()?)?;
    Ok((spec, program))
}

/// The training step of a turn, optimised as for a run.
///
/// # Errors
/// If the loss has no gradient.
pub fn training_step(turn: &Turn) -> Result<Graph> {
    let graph = passes::keep_outputs(&turn.graph, |name| name == LOSS)?;
    passes::optimise(&Turn { graph, ..turn.clone() }.step()?.program)
}

/// Loads a program and gives its variables their first values under seed 0.
///
/// # Errors
/// If the session refuses.
pub fn begin(session: &mut dyn Session, program: &Graph) -> Result<ProgramId> {
    let id = session.load(program)?;
    for variable in &program.variables {
        session.write(&variable.name, &variable.first_value(0)?)?;
    }
    Ok(id)
}

fn programs(plugins: &Registry, spec: &ModelSpec, attention: Option<&str>) -> Result<Programs> {
    let Some(attention) = attention else { return boost::baseline(spec) };
    let module = |asked: FeatureRequest| {
        let options = defaults(plugins, Kind::Attention, attention)?;
        plugins.attention(attention)?.describe(&FeatureRequest { options, ..asked })
    };
    let head = |asked: FeatureRequest| {
        plugins.head("mse")?.describe(&FeatureRequest { options: defaults(plugins, Kind::Head, "mse")?, ..asked })
    };
    let options =
        BoostOptions { taps: Vec::new(), lambda: 0.5, mimicking_weight: 1.0, standardise: true, train_attention: true };
    boost::boost(spec, spec, &module, Some(&head), &options)
}
