//! Trains one system: order of samples, learning rate, steps, checkpoints, and the stop at the first loss that is no number.

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::plugin::{Batch, Fill, Model, ModelRequest, ModelSpec, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::train::{LEARNING_RATE, train_step, warm_up};
use mimus_core::{Context, Error, ErrorKind, Graph, HostTensor, Result, passes};

use crate::config::Train;
use crate::fault;
use crate::images::{Picture, batch};
use crate::store::Checkpoint;

/// What is trained, on what.
pub(crate) struct Training<'a> {
    pub(crate) model: &'static dyn Model,
    pub(crate) request: &'a ModelRequest,
    pub(crate) spec: &'a ModelSpec,
    /// Forward pass with the output `loss`.
    pub(crate) program: &'a Graph,
    pub(crate) options: &'a Train,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
    pub(crate) pictures: &'a [Picture],
    /// Names of the pictures for messages.
    pub(crate) names: &'a [String],
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
        let program = self.training_step()?;
        let mut checkpoint = match Checkpoint::load(path)? {
            Some(checkpoint) => checkpoint,
            None => self.beginning(&program)?,
        };
        let id = session.load(&program)?;
        for variable in &program.variables {
            let value = checkpoint.variables.get(&variable.name).ok_or_else(|| {
                Error::new(ErrorKind::Io, format!("has no variable `{}`", variable.name))
                    .with("file", path.display())
                    .hint("remove the file to train anew")
            })?;
            session.write(&variable.name, value)?;
        }
        while checkpoint.epochs < self.epochs {
            let order =
                Stream::new(self.seed, &format!("order/{}", checkpoint.epochs)).permutation(self.pictures.len());
            let mut epoch = Epoch { training: self, session, id, start: &checkpoint, order };
            let loss = epoch.run().context("epoch", checkpoint.epochs + 1)?;
            for variable in &program.variables {
                checkpoint.variables.insert(variable.name.clone(), session.read(&variable.name)?);
            }
            checkpoint.epochs += 1;
            checkpoint.losses.push(loss);
            checkpoint.save(path)?;
            progress(checkpoint.epochs, loss);
        }
        Ok(checkpoint)
    }

    /// One step as a program: forward pass, gradients, optimiser.
    pub(crate) fn training_step(&self) -> Result<Graph> {
        let optimizer = self.options.optimizer.as_ref().unwrap_or(&self.spec.optimizer);
        passes::optimise(&train_step(self.forward()?, "loss", optimizer)?.program)
    }

    fn beginning(&self, program: &Graph) -> Result<Checkpoint> {
        let value = |variable: &mimus_core::graph::Variable| {
            let value = match self.first.get(&variable.name) {
                Some(value) => value.clone(),
                None => variable.first_value(self.seed)?,
            };
            Ok((variable.name.clone(), value))
        };
        let variables = program.variables.iter().map(value).collect::<Result<_>>()?;
        Ok(Checkpoint { variables, ..Checkpoint::default() })
    }

    /// The pass up to the loss.
    fn forward(&self) -> Result<Graph> {
        passes::keep_outputs(self.program, |name| name == "loss")
    }

    /// What the forward pass is fed: the pictures at the positions `taken`, and noise of the step's own.
    pub(crate) fn inputs(&self, taken: &[usize], step: usize) -> Result<Batch> {
        let known: BTreeMap<&str, &[usize]> =
            self.spec.train.inputs().map(|(name, value)| (name, self.spec.train.ty(value).shape.as_slice())).collect();
        let mut inputs = Batch::new();
        for input in &self.spec.inputs {
            let Some(shape) = known.get(input.name.as_str()) else { continue };
            let value = match input.fill {
                Fill::Image => batch(self.pictures, taken, shape)?,
                Fill::Noise => {
                    let mut stream = Stream::new(self.seed, &format!("noise/{}/{step}", input.name));
                    let n = shape.iter().product();
                    HostTensor::f32(*shape, (0..n).map(|_| stream.normal() as f32).collect())?
                }
                Fill::Prepared => continue,
            };
            inputs.insert(input.name.clone(), value);
        }
        if self.spec.prepares {
            let seed = Stream::new(self.seed, &format!("prepare/{step}")).next_u64();
            inputs = self.model.prepare(self.request, inputs, seed)?;
        }
        Ok(inputs)
    }
}

/// One pass over the data; a last batch that is not full is filled up with the first samples of the epoch's order.
struct Epoch<'a> {
    training: &'a Training<'a>,
    session: &'a mut dyn Session,
    id: ProgramId,
    /// Where the epoch begins.
    start: &'a Checkpoint,
    /// Positions of the pictures in the order in which they are taken.
    order: Vec<usize>,
}

impl Epoch<'_> {
    /// The mean loss.
    fn run(&mut self) -> Result<f64> {
        let mut total = 0.0;
        for step in 0..self.steps() {
            let loss = self.step(step)?;
            if !loss.is_finite() {
                return Err(self.diverged(step, loss)?);
            }
            total += f64::from(loss);
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

    /// Positions of the pictures of a step.
    fn taken(&self, step: usize) -> Vec<usize> {
        let batch = self.training.request.batch;
        (0..batch).map(|i| self.order[(step * batch + i) % self.order.len()]).collect()
    }

    fn step(&mut self, step: usize) -> Result<f32> {
        let Training { options, spec, epochs, .. } = self.training;
        let global = self.global(step);
        let base = options.learning_rate.unwrap_or(spec.learning_rate);
        let lr = base * options.schedule.factor(self.start.epochs, *epochs) * warm_up(global, options.warm_up_steps);
        let mut inputs = self.training.inputs(&self.taken(step), global)?;
        inputs.insert(LEARNING_RATE.to_owned(), HostTensor::scalar(lr as f32));
        let outputs = self.session.run(self.id, &inputs)?;
        Ok(outputs.first().and_then(|loss| loss.as_f32().ok()?.first().copied()).unwrap_or(f32::NAN))
    }

    /// The error of a loss that is no number. The step has spoilt the variables, so the epoch is repeated up to it: the same bits
    /// lead to the same place, and there the forward pass is searched for the layer.
    fn diverged(&mut self, step: usize, loss: f32) -> Result<Error> {
        let (taken, global) = (self.taken(step), self.global(step));
        let names: Vec<&str> = taken.iter().map(|i| self.training.names[*i].as_str()).collect();
        let error = Error::new(ErrorKind::Numeric, format!("the loss is {loss}"));
        self.start.variables.iter().try_for_each(|(name, value)| self.session.write(name, value))?;
        for earlier in 0..step {
            self.step(earlier)?;
        }
        let inputs = self.training.inputs(&taken, global)?;
        let error = fault::locate(self.session, &self.training.forward()?, &inputs, error);
        Ok(error
            .with("batch", names.join(", "))
            .with("step", global + 1)
            .hint("a smaller train.learning_rate usually helps"))
    }
}
