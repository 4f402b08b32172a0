//! Trains one system: stages and their turns, order of samples, learning rate, checkpoints, and the stop at the first loss that is no
//! number.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use mimus_core::plugin::{Batch, Fill, Model, ModelRequest, ModelSpec, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::train::{LEARNING_RATE, LOSS, STATE_PREFIX, Stage, Turn, warm_up};
use mimus_core::{Context, Error, ErrorKind, Graph, HostTensor, Result, passes};

use crate::config::Train;
use crate::fault;
use crate::samples::Samples;
use crate::store::Checkpoint;

/// What is trained, on what.
pub(crate) struct Training<'a> {
    pub(crate) model: &'static dyn Model,
    pub(crate) request: &'a ModelRequest,
    pub(crate) spec: &'a ModelSpec,
    /// In the order of training.
    pub(crate) stages: &'a [Stage],
    pub(crate) options: &'a Train,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
    pub(crate) samples: &'a Samples<'a>,
    /// Pictures of textures, empty if the user gives none.
    pub(crate) textures: &'a Samples<'a>,
    /// Values that replace the declared first ones.
    pub(crate) first: &'a BTreeMap<String, HostTensor>,
}

impl Training<'_> {
    /// Trains, or goes on where `path` says that it stopped. Calls `progress` after each epoch.
    pub(crate) fn run(
        &self,
        session: &mut dyn Session,
        path: &Path,
        progress: &mut dyn FnMut(usize, f64),
    ) -> Result<Checkpoint> {
        let course = course(self.stages, self.epochs)?;
        let mut checkpoint = Checkpoint::load(path)?.unwrap_or_default();
        for (stage, span) in self.stages.iter().zip(course) {
            if checkpoint.epochs >= span.end {
                continue;
            }
            let programs = stage.turns.iter().map(|turn| self.step_of(turn)).collect::<Result<Vec<_>>>()?;
            if checkpoint.epochs == span.start {
                self.begin(&programs, &mut checkpoint)?;
            }
            let turns = load(session, &programs, &checkpoint).map_err(|error| error.with("file", path.display()))?;
            while checkpoint.epochs < span.end {
                let order =
                    Stream::new(self.seed, &format!("order/{}", checkpoint.epochs)).permutation(self.samples.len());
                let span = span.clone();
                let mut epoch =
                    Epoch { training: self, stage, span, session, turns: &turns, start: &checkpoint, order };
                let loss = epoch.run().context("epoch", checkpoint.epochs + 1).context("stage", &stage.name)?;
                for variable in programs.iter().flat_map(|program| &program.variables) {
                    checkpoint.variables.insert(variable.name.clone(), session.read(&variable.name)?);
                }
                checkpoint.epochs += 1;
                checkpoint.losses.push(loss);
                checkpoint.save(path)?;
                progress(checkpoint.epochs, loss);
            }
        }
        Ok(checkpoint)
    }

    /// One step of a turn as a program: forward pass, gradients, optimiser.
    pub(crate) fn step_of(&self, turn: &Turn) -> Result<Graph> {
        let optimizer = self.options.optimizer.as_ref().unwrap_or(&turn.optimizer).clone();
        let graph = forward(turn)?;
        passes::optimise(&Turn { graph, optimizer, ..turn.clone() }.step()?.program)
    }

    /// Of what earlier stages trained everything stays but the optimiser's state; the rest begins as it is given or declared.
    fn begin(&self, programs: &[Graph], checkpoint: &mut Checkpoint) -> Result<()> {
        checkpoint.variables.retain(|name, _| !name.starts_with(STATE_PREFIX));
        for variable in programs.iter().flat_map(|program| &program.variables) {
            if !checkpoint.variables.contains_key(&variable.name) {
                let value = match self.first.get(&variable.name) {
                    Some(value) => value.clone(),
                    None => variable.first_value(self.seed)?,
                };
                checkpoint.variables.insert(variable.name.clone(), value);
            }
        }
        Ok(())
    }

    /// The learning rate of a turn before schedule and warm-up. One that the user gives is that of the detector's own turn of the
    /// first stage; the other turns keep their published ratio to it.
    pub(crate) fn rate(&self, turn: &Turn) -> Result<f64> {
        let first = self.stages.first().ok_or_else(|| Error::plugin("the model has no stage of training"))?.main()?;
        Ok(self
            .options
            .learning_rate
            .map_or(turn.learning_rate, |rate| rate * turn.learning_rate / first.learning_rate))
    }

    /// What the graphs of a stage are fed: the samples at the positions `taken`, and noise of the step's own.
    pub(crate) fn inputs(&self, stage: &Stage, taken: &[usize], step: usize) -> Result<Batch> {
        // A model that prepares its batches makes them of what evaluation sees.
        let judged = self.spec.prepares.then_some(&self.spec.eval);
        let graphs = judged.into_iter().chain(stage.turns.iter().map(|turn| &turn.graph));
        let known: BTreeMap<&str, &[usize]> =
            graphs.flat_map(|g| g.inputs().map(|(name, value)| (name, g.ty(value).shape.as_slice()))).collect();
        let mut inputs = Batch::new();
        for input in &self.spec.inputs {
            let Some(shape) = known.get(input.name.as_str()) else { continue };
            let value = match self.samples.input(input.fill, taken, shape)? {
                Some(value) => value,
                None if input.fill == Fill::Noise => {
                    let mut stream = Stream::new(self.seed, &format!("noise/{}/{step}", input.name));
                    HostTensor::f32(*shape, stream.normals(shape.iter().product()))?
                }
                // These are made further down.
                None => continue,
            };
            inputs.insert(input.name.clone(), value);
        }
        if !self.spec.prepares {
            return Ok(inputs);
        }
        self.textures(&mut inputs, taken.len(), step)?;
        let seed = Stream::new(self.seed, &format!("prepare/{step}")).next_u64();
        let mut inputs = self.model.prepare(self.request, inputs, seed)?;
        inputs.retain(|name, _| known.contains_key(name.as_str()));
        Ok(inputs)
    }

    /// Textures drawn for the samples of a step, if the model takes them and the user gives them.
    fn textures(&self, inputs: &mut Batch, samples: usize, step: usize) -> Result<()> {
        let wanted = self.spec.inputs.iter().find(|input| input.fill == Fill::Texture);
        let (Some(input), false) = (wanted, self.textures.len() == 0) else { return Ok(()) };
        let mut stream = Stream::new(self.seed, &format!("textures/{step}"));
        let taken: Vec<usize> = (0..samples).map(|_| stream.below(self.textures.len() as u64) as usize).collect();
        let channels = self.spec.preprocessing.color.channels();
        let shape = [samples, channels, self.request.height, self.request.width];
        inputs.insert(input.name.clone(), self.textures.batch(&taken, &shape)?);
        Ok(())
    }
}

/// The epochs of each stage, in their order: `epochs` shared out, the ends rounded.
///
/// # Errors
/// If there are so few that a stage would have none.
fn course(stages: &[Stage], epochs: usize) -> Result<Vec<Range<usize>>> {
    let (mut start, mut share) = (0, 0.0);
    let mut spans = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        share += stage.share;
        let end = if i + 1 == stages.len() { epochs } else { (share * epochs as f64).round() as usize };
        if end <= start && epochs > 0 {
            let message = format!("{epochs} epochs leave none for the stage `{}`, one of {}", stage.name, stages.len());
            return Err(Error::config(message).with("key", "train.epochs").hint("raise train.epochs"));
        }
        spans.push(start..end);
        start = end;
    }
    Ok(spans)
}

/// The pass up to the loss.
fn forward(turn: &Turn) -> Result<Graph> {
    passes::keep_outputs(&turn.graph, |name| name == LOSS)
}

/// Loads the programs of a stage's turns and gives all variables their values.
fn load(session: &mut dyn Session, programs: &[Graph], checkpoint: &Checkpoint) -> Result<Vec<ProgramId>> {
    let ids = programs.iter().map(|program| session.load(program)).collect::<Result<_>>()?;
    for variable in programs.iter().flat_map(|program| &program.variables) {
        let value = checkpoint.variables.get(&variable.name).ok_or_else(|| {
            let error = Error::new(ErrorKind::Io, format!("has no variable `{}`", variable.name));
            error.hint("remove the file to train anew")
        })?;
        session.write(&variable.name, value)?;
    }
    Ok(ids)
}

/// One pass over the data; a last batch that is not full is filled up with the first samples of the epoch's order.
struct Epoch<'a> {
    training: &'a Training<'a>,
    stage: &'a Stage,
    /// The epochs of the stage.
    span: Range<usize>,
    session: &'a mut dyn Session,
    /// The loaded programs of the stage's turns.
    turns: &'a [ProgramId],
    /// Where the epoch begins.
    start: &'a Checkpoint,
    /// Positions of the samples in the order in which they are taken.
    order: Vec<usize>,
}

impl Epoch<'_> {
    /// The mean loss of the detector's own turn.
    fn run(&mut self) -> Result<f64> {
        let mut total = 0.0;
        for step in 0..self.steps() {
            let losses = self.step(step, self.turns.len())?;
            if let Some(turn) = losses.iter().position(|loss| !loss.is_finite()) {
                return Err(self.diverged(step, turn, losses[turn])?);
            }
            total += losses.last().copied().map_or(0.0, f64::from);
        }
        Ok(total / self.steps() as f64)
    }

    fn steps(&self) -> usize {
        self.order.len().div_ceil(self.training.request.batch)
    }

    /// The number of a step among those of all epochs.
    fn global(&self, step: usize) -> usize {
        self.start.epochs * self.steps() + step
    }

    /// Positions of the samples of a step.
    fn taken(&self, step: usize) -> Vec<usize> {
        let batch = self.training.request.batch;
        (0..batch).map(|i| self.order[(step * batch + i) % self.order.len()]).collect()
    }

    /// Runs the first `turns` turns; their losses.
    fn step(&mut self, step: usize, turns: usize) -> Result<Vec<f32>> {
        let Training { options, .. } = self.training;
        let global = self.global(step);
        let schedule = options.schedule.as_ref().unwrap_or(&self.stage.schedule);
        let factor = schedule.factor(self.start.epochs - self.span.start, self.span.len())
            * warm_up(global, options.warm_up_steps);
        let all = self.training.inputs(self.stage, &self.taken(step), global)?;
        let mut losses = Vec::new();
        for (turn, id) in self.stage.turns.iter().zip(self.turns).take(turns) {
            let mut inputs = of(&turn.graph, &all);
            let rate = self.training.rate(turn)? * factor;
            inputs.insert(LEARNING_RATE.to_owned(), HostTensor::scalar(rate as f32));
            let outputs = self.session.run(*id, &inputs).context("turn", &turn.name)?;
            losses.push(outputs.first().and_then(|loss| loss.as_f32().ok()?.first().copied()).unwrap_or(f32::NAN));
        }
        Ok(losses)
    }

    /// The error of a loss that is no number. The step has spoilt the variables, so the epoch is repeated up to it: the same bits
    /// lead to the same place, and there the forward pass is searched for the layer.
    fn diverged(&mut self, step: usize, turn: usize, loss: f32) -> Result<Error> {
        let (taken, global) = (self.taken(step), self.global(step));
        let samples = self.training.samples;
        let names: Vec<String> = taken.iter().map(|i| samples.name(samples.place(*i).0)).collect();
        let error = Error::new(ErrorKind::Numeric, format!("the loss is {loss}"));
        self.start.variables.iter().try_for_each(|(name, value)| self.session.write(name, value))?;
        for earlier in 0..step {
            self.step(earlier, self.turns.len())?;
        }
        self.step(step, turn)?;
        let inputs = self.training.inputs(self.stage, &taken, global)?;
        let graph = forward(&self.stage.turns[turn])?;
        let error = fault::locate(self.session, &graph, &of(&graph, &inputs), error);
        Ok(error
            .with("batch", names.join(", "))
            .with("step", global + 1)
            .hint("a smaller train.learning_rate usually helps"))
    }
}

/// Those of the inputs that a graph has.
fn of(graph: &Graph, inputs: &Batch) -> Batch {
    let own = |name: &str| inputs.get(name).map(|value| (name.to_owned(), value.clone()));
    graph.inputs().filter_map(|(name, _)| own(name)).collect()
}

#[cfg(test)]
mod tests {
    use mimus_core::Builder;
    use mimus_core::train::OptimizerSpec;

    use super::*;

    fn stages(shares: &[f64]) -> Vec<Stage> {
        let graph = Builder::new("empty").finish();
        let stage = |share: &f64| Stage { share: *share, ..Stage::single(graph.clone(), OptimizerSpec::adam(), 1.0) };
        shares.iter().map(stage).collect()
    }

    #[test]
    fn epochs_are_shared_out_and_none_is_lost() {
        assert_eq!(course(&stages(&[0.5, 0.5]), 7).unwrap(), [0..4, 4..7]);
        assert_eq!(course(&stages(&[1.0 / 3.0; 3]), 10).unwrap(), [0..3, 3..7, 7..10]);
        assert_eq!(course(&stages(&[0.5, 0.5]), 0).unwrap(), [0..0, 0..0]);
        let error = course(&stages(&[0.1, 0.9]), 2).unwrap_err();
        assert_eq!(error.message(), "2 epochs leave none for the stage `train`, one of 2");
    }
}
