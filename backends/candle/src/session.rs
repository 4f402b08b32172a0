//! A session on the CPU: variables by name, planned programs, one arena that they share.

use std::collections::BTreeMap;

use mimus_core::graph::Graph;
use mimus_core::plugin::{ProgramId, Session};
use mimus_core::{Context, Dtype, Error, HostTensor, Result, ValueType};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::{Buffer, View, ViewMut};
use crate::kernels::Operands;
use crate::plan::{Operand, Place, Plan, Read, Step};

/// A variable that lives as long as the session.
struct Variable {
    ty: ValueType,
    /// Empty until it is written or assigned.
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
    names: BTreeMap<String, usize>,
    variables: Vec<Variable>,
    programs: Vec<Plan>,
    arena: Arena,
}

impl CpuSession {
    /// A session that computes on `threads` threads of its own.
    ///
    /// # Errors
    /// If `threads` is 0 or the system refuses them.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        if threads == 0 {
            return Err(Error::config("threads is 0, expects 1 or more"));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("candle-{i}")).build();
        let pool = pool.map_err(|error| Error::backend(format!("cannot start {threads} threads: {error}")))?;
        let (names, variables, programs) = Default::default();
        Ok(Self { pool, names, variables, programs, arena: Arena::default() })
    }

    fn declare(&mut self, program: &Graph) -> Result<()> {
        // All are checked before any is added.
        for variable in &program.variables {
            if let Some(known) = self.names.get(&variable.name).map(|i| &self.variables[*i].ty)
                && *known != variable.ty
            {
                let message = format!("variable `{}` is {known}, the program declares {}", variable.name, variable.ty);
                return Err(Error::backend(message).with("graph", &program.name));
            }
        }
        for variable in &program.variables {
            if !self.names.contains_key(&variable.name) {
                self.names.insert(variable.name.clone(), self.variables.len());
                self.variables.push(Variable { ty: variable.ty.clone(), value: None, next: Buffer::empty() });
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str) -> Result<&mut Variable> {
        let index = self.names.get(name).copied();
        index.map(|index| &mut self.variables[index]).ok_or_else(|| {
            Error::backend(format!("no loaded program has a variable `{name}`"))
                .hint("load the program that declares it first")
        })
    }
}

impl Session for CpuSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.declare(program)?;
        let plan = Plan::new(program, &self.names).context("graph", &program.name)?;
        self.arena.reserve(&plan);
        for assignment in &plan.assignments {
            let variable = &mut self.variables[assignment.variable];
            if variable.next.is_empty() {
                variable.next = Buffer::zeros(variable.ty.dtype, variable.ty.elements());
            }
        }
        self.programs.push(plan);
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        let known = self.variable(variable)?;
        if value.ty() != known.ty {
            return Err(Error::backend(format!("variable `{variable}` is {}, given {}", known.ty, value.ty())));
        }
        let n = value.len();
        let buffer = known.value.get_or_insert_with(|| Buffer::zeros(value.dtype(), n));
        buffer.view_mut(n)?.copy_from(View::from(value))
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        let known = self.variable(variable)?;
        let value = known.value.as_ref().ok_or_else(|| no_value(variable))?;
        value.view(known.ty.elements())?.to_host(&known.ty)
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let plan = usize::try_from(program.0).ok().and_then(|i| self.programs.get(i));
        let plan = plan.ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let inputs = bind(plan, inputs)?;
        for read in &plan.variables {
            let known = self.names.get(&read.name).and_then(|i| self.variables[*i].value.as_ref());
            known.ok_or_else(|| no_value(&read.name)).map_err(|error| located(error, "variable", &read.label))?;
        }
        let mut run = Run { plan, inputs, variables: &mut self.variables, arena: &mut self.arena };
        self.pool.install(|| run.all())
    }
}

fn no_value(variable: &str) -> Error {
    Error::backend(format!("variable `{variable}` has no value"))
        .hint("write it before running a program that reads it")
}

/// Adds operator and, if it has a name, layer.
fn located(error: Error, op: &str, label: &str) -> Error {
    let error = error.with("op", op);
    if label.is_empty() { error } else { error.with("layer", label) }
}

/// The host's tensors in the order of the program's inputs.
fn bind<'a>(plan: &Plan, given: &'a BTreeMap<String, HostTensor>) -> Result<Vec<&'a HostTensor>> {
    if let Some(name) = given.keys().find(|name| plan.inputs.iter().all(|input| input.name != **name)) {
        let known: Vec<&str> = plan.inputs.iter().map(|input| input.name.as_str()).collect();
        let error = Error::backend(format!("the program has no input `{name}`; it has: {}", known.join(", ")));
        return Err(error.with("op", "input"));
    }
    let find = |input: &Read| {
        let error = |message: String| Err(located(Error::backend(message), "input", &input.label));
        match given.get(&input.name) {
            None => error(format!("input `{}` has no value", input.name)),
            Some(tensor) if tensor.ty() != input.ty => {
                error(format!("input `{}` is {}, expects {}", input.name, tensor.ty(), input.ty))
            }
            Some(tensor) => Ok(tensor),
        }
    };
    plan.inputs.iter().map(find).collect()
}

impl Arena {
    /// Makes room for a program.
    fn reserve(&mut self, plan: &Plan) {
        for (slots, needed, dtype) in
            [(&mut self.floats, &plan.slots.floats, Dtype::F32), (&mut self.ints, &plan.slots.ints, Dtype::I64)]
        {
            for (i, &elements) in needed.iter().enumerate() {
                if i == slots.len() {
                    slots.push(Buffer::empty());
                }
                if slots[i].len() < elements {
                    // Given back first, so that old and new never exist together.
                    slots[i] = Buffer::empty();
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
    variables: &'a mut [Variable],
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
                let mut next = std::mem::replace(&mut self.variables[assignment.variable].next, Buffer::empty());
                let copied = self.view(source).and_then(|source| next.view_mut(source.len())?.copy_from(source));
                self.variables[assignment.variable].next = next;
                copied?;
            }
        }
        for assignment in &plan.assignments {
            let variable = &mut self.variables[assignment.variable];
            let next = std::mem::replace(&mut variable.next, Buffer::empty());
            let last = variable.value.replace(next);
            variable.next = last.unwrap_or_else(|| Buffer::zeros(variable.ty.dtype, variable.ty.elements()));
        }
        Ok(outputs)
    }

    /// Runs a step on memory that is taken out of its places meanwhile, and put back whatever happens.
    fn step(&mut self, step: &Step) -> Result<()> {
        let written: Vec<Operand> = step.outputs.iter().chain(&step.workspace).copied().collect();
        let mut taken: Vec<Buffer> = Vec::new();
        for operand in &written {
            taken.push(std::mem::replace(self.place_mut(operand.place)?, Buffer::empty()));
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
                let value = self.variables[i].value.as_ref();
                value.ok_or_else(|| Error::backend("a variable has no value"))?.view(operand.elements)
            }
            Place::Next(i) => self.variables[i].next.view(operand.elements),
            Place::Constant(i) => self.plan.constants[i].view(operand.elements),
            Place::Slot(dtype, i) => self.arena.slot(dtype, i).view(operand.elements),
        }
    }

    fn place_mut(&mut self, place: Place) -> Result<&mut Buffer> {
        match place {
            Place::Next(i) => Ok(&mut self.variables[i].next),
            Place::Slot(dtype, i) => Ok(self.arena.slot_mut(dtype, i)),
            Place::Input(_) | Place::Variable(_) | Place::Constant(_) => {
                Err(Error::backend("a step writes what it may only read: this is a bug of the buffer plan"))
            }
        }
    }
}
