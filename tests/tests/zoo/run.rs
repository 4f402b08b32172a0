//! Trains a system on a backend, from its first values through a few steps of every stage, and scores a batch.

use std::collections::BTreeMap;

use mimus_core::boost::Programs;
use mimus_core::plugin::{Backend, BackendRequest, Batch, Options, Session};
use mimus_core::train::{LEARNING_RATE, STATE_PREFIX};
use mimus_core::{Context, Error, Graph, HostTensor, Phase, Result, passes};
use mimus_tests::training_step;

use crate::feed::Feed;

/// Steps of every stage.
pub(crate) const STEPS: usize = 2;

/// Named values of variables.
pub(crate) type State = BTreeMap<String, HostTensor>;

/// What a training left.
#[derive(PartialEq)]
pub(crate) struct Trained {
    /// Of every turn of every step, in order.
    pub(crate) losses: Vec<f32>,
    pub(crate) state: State,
    /// The batch's scores after the last step.
    pub(crate) scores: Vec<f32>,
}

/// A fresh session on the CPU.
///
/// # Errors
/// If the backend refuses.
fn open(backend: &dyn Backend) -> Result<Box<dyn Session>> {
    let options = Options::resolve(&backend.info().options, BTreeMap::new())?;
    backend.open(&BackendRequest { device: "cpu".to_owned(), threads: 1, options })
}

/// The first value of a variable of any program.
///
/// # Errors
/// None for a variable of a well-formed graph.
pub(crate) fn first_values<'a>(graphs: impl IntoIterator<Item = &'a Graph>) -> Result<State> {
    let variables = graphs.into_iter().flat_map(|graph| &graph.variables);
    variables.map(|variable| Ok((variable.name.clone(), variable.first_value(0)?))).collect()
}

/// Trains and scores.
///
/// # Errors
/// If a program cannot be made or run.
pub(crate) fn train(backend: &dyn Backend, feed: Feed<'_>, programs: &Programs) -> Result<Trained> {
    let (mut state, mut losses) = (State::new(), Vec::new());
    for stage in &programs.stages {
        let steps = stage.turns.iter().map(training_step).collect::<Result<Vec<_>>>().context("stage", &stage.name)?;
        let mut begun = first_values(&steps)?;
        state.retain(|name, _| !name.starts_with(STATE_PREFIX));
        begun.extend(state);
        state = begun;
        let mut session = open(backend)?;
        let ids = steps.iter().map(|step| load(session.as_mut(), step, &state)).collect::<Result<Vec<_>>>()?;
        let graphs: Vec<&Graph> = stage.turns.iter().map(|turn| &turn.graph).collect();
        for number in 0..STEPS {
            let batch = feed.batch(&graphs, Phase::Train, number)?;
            for ((turn, step), id) in stage.turns.iter().zip(&steps).zip(&ids) {
                let rate = HostTensor::scalar(turn.learning_rate as f32);
                let inputs = fitting(step, batch.iter().chain([(&LEARNING_RATE.to_owned(), &rate)]));
                let results = session.run(*id, &inputs)?;
                losses.extend_from_slice(results.first().map_or(Ok(&[][..]), HostTensor::as_f32)?);
            }
        }
        for variable in steps.iter().flat_map(|step| &step.variables) {
            state.insert(variable.name.clone(), session.read(&variable.name)?);
        }
    }
    let scores = score(backend, feed, &programs.eval, &state)?;
    Ok(Trained { losses, state, scores })
}

/// The scores of one batch, with the given variables; others as they begin.
///
/// # Errors
/// If the program cannot be run.
pub(crate) fn score(backend: &dyn Backend, feed: Feed<'_>, eval: &Graph, state: &State) -> Result<Vec<f32>> {
    let program = passes::optimise(&passes::keep_outputs(eval, |name| name == "score")?)?;
    let mut values = first_values([&program])?;
    values.extend(state.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut session = open(backend)?;
    let id = load(session.as_mut(), &program, &values)?;
    let batch = feed.batch(&[&program], Phase::Eval, STEPS)?;
    let results = session.run(id, &batch)?;
    let score = results.first().ok_or_else(|| Error::backend("the program has no score"))?;
    Ok(score.as_f32()?.to_vec())
}

fn load(session: &mut dyn Session, program: &Graph, state: &State) -> Result<mimus_core::plugin::ProgramId> {
    let id = session.load(program)?;
    for variable in &program.variables {
        if let Some(value) = state.get(&variable.name) {
            session.write(&variable.name, value)?;
        }
    }
    Ok(id)
}

/// Those that the program reads.
fn fitting<'a>(program: &Graph, inputs: impl Iterator<Item = (&'a String, &'a HostTensor)>) -> Batch {
    let read = |name: &str| program.inputs().any(|(known, _)| known == name);
    inputs.filter(|(name, _)| read(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}
