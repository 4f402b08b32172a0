//! A session on the CPU: variables by name, planned programs, one arena that they share.

use std::collections::BTreeMap;

use mimus_core::graph::Graph;
use mimus_core::plugin::names::{Variable, Variables, bind, located, no_value};
use mimus_core::plugin::{ProgramId, Session};
use mimus_core::{Context, Dtype, Error, HostTensor, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::{Buffer, View, ViewMut};
use crate::kernels::Operands;
use crate::plan::{Operand, Place, Plan, Step};

/// What the session keeps of a variable.
#[derive(Default)]
struct Held {
    /// Nothing until it is written or assigned.
    value: Option<Buffer>,
    /// Where a program makes its next value; allocated when a program assigns it.
    next: Buffer,
}

/// Memory for the values of a run.
#[derive(Default)]
struct Arena {
    floats: Vec<Buffer>,
    ints: Vec<Buffer>,
}

/// Programs on the CPU.
pub(crate) struct CpuSession {
    pool: ThreadPool,
    variables: Variables<Held>,
    programs: Vec<Plan>,
    arena: Arena,
}

impl CpuSession {
    /// A session that computes on `threads` threads of its own.
    ///
    /// # Errors
    /// If the system refuses them.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("candle-{i}")).build();
        let pool = pool.map_err(|error| Error::backend(format!("cannot start {threads} threads: {error}")))?;
        Ok(Self { pool, variables: Variables::default(), programs: Vec::new(), arena: Arena::default() })
    }
}

impl Session for CpuSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.variables.declare(program)?;
        let plan = Plan::new(program, &self.variables.numbers).context("graph", &program.name)?;
        self.arena.reserve(&plan);
        for assignment in &plan.assignments {
            let Variable { ty, state } = &mut self.variables.list[assignment.variable];
            if state.next.is_empty() {
                state.next = Buffer::zeros(ty.dtype, ty.elements());
            }
        }
        self.programs.push(plan);
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        let held = self.variables.accept(variable, value)?;
        let buffer = held.value.get_or_insert_with(|| Buffer::zeros(value.dtype(), value.len()));
        buffer.view_mut(value.len())?.copy_from(View::from(value))
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        let Variable { ty, state } = self.variables.find(variable)?;
        let value = state.value.as_ref().ok_or_else(|| no_value(variable))?;
        value.view(ty.elements())?.to_host(ty)
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let plan = usize::try_from(program.0).ok().and_then(|i| self.programs.get(i));
        let plan = plan.ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let inputs = bind(&plan.inputs, inputs)?;
        for read in &plan.variables {
            if self.variables.find(&read.name)?.state.value.is_none() {
                return Err(located(no_value(&read.name), "variable", &read.label));
            }
        }
        let mut run = Run { plan, inputs, variables: &mut self.variables.list, arena: &mut self.arena };
        self.pool.install(|| run.all())
    }
}

impl Arena {
    /// Makes room for a program.
    fn reserve(&mut self, plan: &Plan) {
        for (slots, needed, dtype) in
            [(&mut self.floats, &plan.slots.floats, Dtype::F32), (&mut self.ints, &plan.slots.ints, Dtype::I64)]
        {
            for (i, &elements) in needed.iter().enumerate() {
                if i == slots.len() {
                    slots.push(Buffer::default());
                }
                if slots[i].len() < elements {
                    // Given back first, so that old and new never exist together.
                    slots[i] = Buffer::default();
                    slots[i] = Buffer::zeros(dtype, elements);
                }
            }
        }
    }

    fn slot(&self, dtype: Dtype, index: usize) -> &Buffer {
        match dtype {
            Dtype::F32 => &self.floats[index],
            Dtype::I64 => &self.ints[index],
        }
    }

    fn slot_mut(&mut self, dtype: Dtype, index: usize) -> &mut Buffer {
        match dtype {
            Dtype::F32 => &mut self.floats[index],
            Dtype::I64 => &mut self.ints[index],
        }
    }
}

/// One run of a program.
struct Run<'a> {
    plan: &'a Plan,
    inputs: Vec<&'a HostTensor>,
    variables: &'a mut [Variable<Held>],
    arena: &'a mut Arena,
}

impl Run<'_> {
    fn all(&mut self) -> Result<Vec<HostTensor>> {
        let plan = self.plan;
        for step in &plan.steps {
            self.step(step).map_err(|error| located(error, step.op, &step.label))?;
        }
        let outputs =
            plan.outputs.iter().map(|(operand, ty)| self.view(*operand)?.to_host(ty)).collect::<Result<_>>()?;
        for assignment in &plan.assignments {
            if let Some(source) = assignment.copy {
                let mut next = std::mem::take(&mut self.variables[assignment.variable].state.next);
                let copied = self.view(source).and_then(|source| next.view_mut(source.len())?.copy_from(source));
                self.variables[assignment.variable].state.next = next;
                copied?;
            }
        }
        for assignment in &plan.assignments {
            let Variable { ty, state } = &mut self.variables[assignment.variable];
            let last = state.value.replace(std::mem::take(&mut state.next));
            state.next = last.unwrap_or_else(|| Buffer::zeros(ty.dtype, ty.elements()));
        }
        Ok(outputs)
    }

    /// Runs a step on memory that is taken out of its places meanwhile, and put back whatever happens.
    fn step(&mut self, step: &Step) -> Result<()> {
        let written: Vec<Operand> = step.outputs.iter().chain(&step.workspace).copied().collect();
        let mut taken: Vec<Buffer> = Vec::new();
        for operand in &written {
            taken.push(std::mem::take(self.place_mut(operand.place)?));
        }
        let result = self.kernel(step, &mut taken);
        for (operand, buffer) in written.iter().zip(taken) {
            *self.place_mut(operand.place)? = buffer;
        }
        result
    }

    fn kernel(&self, step: &Step, taken: &mut [Buffer]) -> Result<()> {
        let inputs = step.inputs.iter().map(|operand| self.view(*operand)).collect::<Result<Vec<_>>>()?;
        let operands = step.outputs.iter().chain(&step.workspace);
        let views = taken.iter_mut().zip(operands).map(|(buffer, operand)| buffer.view_mut(operand.elements));
        let mut outputs = views.collect::<Result<Vec<_>>>()?;
        let mut workspace = if step.workspace.is_some() { outputs.pop() } else { None };
        let workspace = workspace.as_mut().map(ViewMut::f32).transpose()?.unwrap_or_default();
        step.kernel.run(Operands { inputs: &inputs, outputs: &mut outputs, workspace })
    }

    fn view(&self, operand: Operand) -> Result<View<'_>> {
        match operand.place {
            Place::Input(i) => Ok(View::from(self.inputs[i])),
            Place::Variable(i) => {
                let value = self.variables[i].state.value.as_ref();
                value.ok_or_else(|| Error::backend("a variable has no value"))?.view(operand.elements)
            }
            Place::Next(i) => self.variables[i].state.next.view(operand.elements),
            Place::Constant(i) => self.plan.constants[i].view(operand.elements),
            Place::Slot(dtype, i) => self.arena.slot(dtype, i).view(operand.elements),
        }
    }

    fn place_mut(&mut self, place: Place) -> Result<&mut Buffer> {
        match place {
            Place::Next(i) => Ok(&mut self.variables[i].state.next),
            Place::Slot(dtype, i) => Ok(self.arena.slot_mut(dtype, i)),
            Place::Input(_) | Place::Variable(_) | Place::Constant(_) => {
                Err(Error::backend("a step writes what it may only read: this is a bug of the buffer plan"))
            }
        }
    }
}
