//! A session: variables by name on the device, programs that run on them.

use std::collections::BTreeMap;

use mimus_core::graph::Graph;
use mimus_core::plugin::names::{Variables, bind, located, no_value};
use mimus_core::plugin::{ProgramId, Session};
use mimus_core::{Context, Error, HostTensor, Result};
use tch::Tensor;

use crate::device::{Settings, channels_last, copy, to_device, to_host};
use crate::error::{Failure, engine};
use crate::lower::Group;
use crate::program::{Program, Source, Step, Update};

/// Programs on one of libtorch's devices.
pub(crate) struct TorchSession {
    settings: Settings,
    variables: Variables<Option<Tensor>>,
    /// How often variables were written, by the host or by programs.
    writes: u64,
    programs: Vec<Loaded>,
}

/// A program and what it computed from variables alone.
struct Loaded {
    program: Program,
    prepared: Option<Prepared>,
}

/// Values that hold as long as no variable is written.
struct Prepared {
    writes: u64,
    values: Vec<(usize, Tensor)>,
}

impl TorchSession {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, variables: Variables::default(), writes: 0, programs: Vec::new() }
    }
}

impl Session for TorchSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.settings.apply();
        self.variables.declare(program)?;
        let program = Program::new(program, &self.variables.numbers, self.settings).context("graph", &program.name)?;
        self.programs.push(Loaded { program, prepared: None });
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        let state = self.variables.accept(variable, value)?;
        *state = Some(to_device(value, self.settings.device).map_err(|error| engine(&error))?);
        self.writes += 1;
        Ok(())
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        let found = self.variables.find(variable)?;
        to_host(found.state.as_ref().ok_or_else(|| no_value(variable))?, &found.ty)
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let loaded = usize::try_from(program.0).ok().and_then(|i| self.programs.get_mut(i));
        let loaded = loaded.ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let program = &loaded.program;
        let inputs = bind(&program.inputs, inputs)?;
        for read in &program.variables {
            if self.variables.find(&read.name)?.state.is_none() {
                return Err(located(no_value(&read.name), "variable", &read.label));
            }
        }
        self.settings.apply();
        let mut run = Run { program, inputs, values: (0..program.values).map(|_| None).collect() };
        tch::no_grad(|| {
            let known = loaded.prepared.take().filter(|prepared| prepared.writes == self.writes);
            let known = match known {
                Some(known) => known,
                None => Prepared { writes: self.writes, values: run.prepare(&self.variables)? },
            };
            let known = loaded.prepared.insert(known);
            known.values.iter().for_each(|(value, tensor)| run.values[*value] = Some(tensor.shallow_clone()));
            if !program.assignments.is_empty() || !program.updates.is_empty() {
                self.writes += 1;
            }
            run.all(&mut self.variables)
        })
    }
}

/// One run of a program.
struct Run<'a> {
    program: &'a Program,
    inputs: Vec<&'a HostTensor>,
    values: Vec<Option<Tensor>>,
}

impl Run<'_> {
    /// Runs the steps that need nothing but variables, and gives what the others need of them.
    fn prepare(&mut self, variables: &Variables<Option<Tensor>>) -> Result<Vec<(usize, Tensor)>> {
        let program = self.program;
        self.steps(&program.steps[..program.prepared], variables)?;
        if program.settings.channels_last {
            for filter in &program.filters {
                let packed = channels_last(self.value(*filter)?);
                self.values[*filter] = Some(packed.map_err(|error| engine(&error))?);
            }
        }
        let values = self.values.iter_mut().enumerate();
        Ok(values.filter_map(|(value, tensor)| tensor.take().map(|tensor| (value, tensor))).collect())
    }

    fn steps(&mut self, steps: &[Step], variables: &Variables<Option<Tensor>>) -> Result<()> {
        for step in steps {
            let results = self.step(step, variables).map_err(|failure| step.location.error(failure))?;
            for (place, result) in step.outputs.iter().zip(results) {
                if let Some(value) = place {
                    self.values[*value] = Some(result);
                }
            }
        }
        Ok(())
    }

    /// Runs the other steps and what is done at the end.
    fn all(mut self, variables: &mut Variables<Option<Tensor>>) -> Result<Vec<HostTensor>> {
        let program = self.program;
        self.steps(&program.steps[program.prepared..], variables)?;
        let outputs = program.outputs.iter().map(|(value, ty)| to_host(self.value(*value)?, ty));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let mut assigned = Vec::new();
        for assignment in &program.assignments {
            let value = self.value(assignment.value)?;
            let value = if assignment.copy { copy(value) } else { value.f_contiguous() };
            assigned.push((assignment.variable, value.map_err(|error| engine(&error))?));
        }
        for update in &program.updates {
            self.update(update, variables).map_err(|failure| update.location.error(failure))?;
        }
        for (variable, value) in assigned {
            variables.list[variable].state = Some(value);
        }
        Ok(outputs)
    }

    fn value(&self, value: usize) -> Result<&Tensor> {
        self.values[value].as_ref().ok_or_else(|| Error::backend("a value was never computed"))
    }

    fn step(&mut self, step: &Step, variables: &Variables<Option<Tensor>>) -> Result<Vec<Tensor>, Failure> {
        let found = match &step.source {
            Source::Input(i) => {
                let settings = self.program.settings;
                let tensor = to_device(self.inputs[*i], settings.device)?;
                if settings.channels_last { channels_last(&tensor)? } else { tensor }
            }
            Source::Variable(i) => variable(variables, *i)?,
            Source::Constant(tensor) => tensor.shallow_clone(),
            Source::Computed(kernel) => {
                let mut operands = Vec::with_capacity(step.inputs.len());
                for (value, _) in &step.inputs {
                    operands.push(self.value(*value)?.shallow_clone());
                }
                for (value, _) in step.inputs.iter().filter(|(_, last)| *last) {
                    self.values[*value] = None;
                }
                return kernel(operands);
            }
        };
        Ok(vec![found])
    }

    fn update(&self, update: &Update, variables: &Variables<Option<Tensor>>) -> Result<(), Failure> {
        let mut group = Group::default();
        for ([parameter, first, second], gradient) in &update.parameters {
            group.parameters.push(variable(variables, *parameter)?);
            group.first.push(variable(variables, *first)?);
            group.second.push(variable(variables, *second)?);
            group.gradients.push(self.value(*gradient)?.shallow_clone());
        }
        let [lr, step] = update.scalars;
        Ok(update.constants.step(&mut group, self.value(lr)?, self.value(step)?)?)
    }
}

/// The tensor of a variable.
fn variable(variables: &Variables<Option<Tensor>>, number: usize) -> Result<Tensor> {
    let state = variables.list[number].state.as_ref();
    Ok(state.ok_or_else(|| Error::backend("a variable has no value"))?.shallow_clone())
}
