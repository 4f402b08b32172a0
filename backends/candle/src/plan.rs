//! The buffer plan of a program: which steps run, and where every value lives.
//!
//! Shapes are static, so that all memory is known when a program is loaded. A value takes a slot of the session's arena from the
//! step that makes it to the last step that reads it; the value of an assignment is made at once in the variable's second buffer,
//! which takes the first one's place at the end of the run.

use std::collections::BTreeMap;

use mimus_core::graph::{Graph, Node};
use mimus_core::plugin::names::Read;
use mimus_core::{Context, Dtype, Error, Op, Result, ValueId, ValueType};

use crate::buffer::{Buffer, View};
use crate::fuse::{self, Unit};
use crate::kernels::elementwise::{Load, Program};
use crate::kernels::{self, Kernel};
use crate::slots::{self, Lifetime, Slots};

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A tensor that the host gives, by number.
    Input(usize),
    /// A variable's value, by the session's number.
    Variable(usize),
    /// What a variable becomes after the run.
    Next(usize),
    /// A constant of the program.
    Constant(usize),
    /// A slot of the arena for elements of a type.
    Slot(Dtype, usize),
}

/// A value of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) place: Place,
    pub(crate) elements: usize,
}

/// One kernel with its operands.
pub(crate) struct Step {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) inputs: Vec<Operand>,
    pub(crate) outputs: Vec<Operand>,
    pub(crate) workspace: Option<Operand>,
    /// Operator and layer, for errors.
    pub(crate) op: &'static str,
    pub(crate) label: String,
}

/// A variable's change: made in place, or copied from a value that lives elsewhere.
pub(crate) struct Assignment {
    pub(crate) variable: usize,
    pub(crate) copy: Option<Operand>,
}

impl Step {
    fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.inputs.iter().chain(&self.outputs).chain(&self.workspace)
    }
}

/// A loaded program.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) slots: Slots,
    pub(crate) constants: Vec<Buffer>,
    pub(crate) inputs: Vec<Read>,
    pub(crate) variables: Vec<Read>,
    pub(crate) outputs: Vec<(Operand, ValueType)>,
    pub(crate) assignments: Vec<Assignment>,
}

impl Plan {
    /// Plans a well-formed program; `variables` numbers the session's variables.
    ///
    /// # Errors
    /// If the graph was not verified.
    pub(crate) fn new(graph: &Graph, variables: &BTreeMap<String, usize>) -> Result<Self> {
        let mut planner = Planner::new(graph, variables)?;
        let units = fuse::units(graph);
        planner.find_last_reads(&units);
        for (time, unit) in units.iter().enumerate() {
            planner.unit(time, unit)?;
        }
        planner.finish()
    }

    /// What is read after the last step.
    fn results(&self) -> impl Iterator<Item = &Operand> {
        let copied = self.assignments.iter().filter_map(|assignment| assignment.copy.as_ref());
        self.outputs.iter().map(|(operand, _)| operand).chain(copied)
    }

    fn operands_mut(&mut self) -> impl Iterator<Item = &mut Operand> {
        let steps = self.steps.iter_mut();
        let used = steps.flat_map(|step| step.inputs.iter_mut().chain(&mut step.outputs).chain(&mut step.workspace));
        let copied = self.assignments.iter_mut().filter_map(|assignment| assignment.copy.as_mut());
        used.chain(self.outputs.iter_mut().map(|(operand, _)| operand)).chain(copied)
    }
}

struct Planner<'a> {
    graph: &'a Graph,
    numbers: &'a BTreeMap<String, usize>,
    /// For every value the one whose memory it shares: itself, but for reshapes and the like.
    owner: Vec<ValueId>,
    /// The place of every owner that has one.
    places: Vec<Option<Place>>,
    /// The last unit that reads each owner; the number of units if it is needed after the run.
    last_read: Vec<usize>,
    /// Type and number of elements of every value that needs a slot, by number, until slots are shared.
    values: Vec<(Dtype, usize)>,
    plan: Plan,
}

/// Whether a node's value is its input's memory under another type.
fn shares_memory(graph: &Graph, node: &Node) -> bool {
    let same = || node.inputs.first().is_some_and(|x| graph.ty(*x) == graph.ty(node.outputs[0]));
    match node.op {
        Op::Reshape { .. } | Op::StopGradient {} => true,
        Op::Cast { .. } => same(),
        _ => false,
    }
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, numbers: &'a BTreeMap<String, usize>) -> Result<Self> {
        let mut owner: Vec<ValueId> = (0..graph.values.len() as u32).map(ValueId).collect();
        for node in graph.nodes.iter().filter(|node| shares_memory(graph, node)) {
            owner[node.outputs[0].index()] = owner[node.inputs[0].index()];
        }
        let plan = Plan {
            steps: Vec::new(),
            slots: Slots::default(),
            constants: Vec::new(),
            inputs: Vec::new(),
            variables: Vec::new(),
            outputs: Vec::new(),
            assignments: Vec::new(),
        };
        let n = graph.values.len();
        let mut planner =
            Self { graph, numbers, owner, places: vec![None; n], last_read: vec![0; n], values: Vec::new(), plan };
        planner.assign_in_place()?;
        Ok(planner)
    }

    fn owner(&self, value: ValueId) -> usize {
        self.owner[value.index()].index()
    }

    fn number(&self, variable: &str) -> Result<usize> {
        let number = self.numbers.get(variable).copied();
        number.ok_or_else(|| Error::graph(format!("variable `{variable}` is not declared")))
    }

    /// Lets the values of assignments be made where the variables will find them.
    fn assign_in_place(&mut self) -> Result<()> {
        for named in &self.graph.assignments {
            let (variable, owner) = (self.number(&named.name)?, self.owner(named.value));
            let computed = !matches!(
                self.graph.nodes[self.graph.values[owner].node].op,
                Op::Input { .. } | Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. }
            );
            if computed && self.places[owner].is_none() {
                self.places[owner] = Some(Place::Next(variable));
            }
        }
        Ok(())
    }

    fn find_last_reads(&mut self, units: &[Unit]) {
        for (time, unit) in units.iter().enumerate() {
            let nodes = match unit {
                Unit::Single(node) => std::slice::from_ref(node),
                Unit::Group(nodes) => nodes,
            };
            for value in nodes.iter().flat_map(|node| &self.graph.nodes[*node].inputs) {
                let owner = self.owner(*value);
                self.last_read[owner] = time;
            }
        }
        for named in self.graph.outputs.iter().chain(&self.graph.assignments) {
            let owner = self.owner(named.value);
            self.last_read[owner] = units.len();
        }
    }

    fn unit(&mut self, time: usize, unit: &Unit) -> Result<()> {
        let Some(last) = unit.last() else { return Ok(()) };
        let graph = self.graph;
        let node = &graph.nodes[last];
        let step = match unit {
            Unit::Group(nodes) => Some(self.group(time, nodes)?),
            Unit::Single(_) => match &node.op {
                Op::Input { name, .. } => {
                    self.places[node.outputs[0].index()] = Some(Place::Input(self.plan.inputs.len()));
                    self.plan.inputs.push(Read::new(graph, node, name));
                    None
                }
                Op::Variable { name, .. } => {
                    self.places[node.outputs[0].index()] = Some(Place::Variable(self.number(name)?));
                    self.plan.variables.push(Read::new(graph, node, name));
                    None
                }
                // Made when something reads them from memory.
                Op::Constant { .. } | Op::Fill { .. } => None,
                _ if shares_memory(graph, node) => None,
                _ => Some(self.single(time, node)?),
            },
        };
        self.plan.steps.extend(step);
        Ok(())
    }

    fn single(&mut self, time: usize, node: &Node) -> Result<Step> {
        let kernel = fuse::with_types(self.graph, node, |types| kernels::prepare(&node.op, types));
        let kernel = kernel.context("op", node.op.name()).context("layer", &node.label)?;
        let mut inputs = node.inputs.iter().map(|value| self.operand(*value)).collect::<Result<Vec<_>>>()?;
        if let Some(i) = kernel.in_place().filter(|i| self.is_spent(time, node.inputs[*i], *i, &inputs)) {
            self.take(node.outputs[0], &mut inputs, i);
        }
        let outputs = node.outputs.iter().map(|value| self.allocate(*value)).collect();
        let workspace = match kernel.workspace() {
            0 => None,
            elements => Some(Operand { place: self.slot(Dtype::F32, elements), elements }),
        };
        Ok(Step { kernel, inputs, outputs, workspace, op: node.op.name(), label: node.label.clone() })
    }

    fn group(&mut self, time: usize, nodes: &[usize]) -> Result<Step> {
        let node = &self.graph.nodes[nodes[nodes.len() - 1]];
        let mut fused = fuse::lower(self.graph, nodes);
        let mut inputs = fused.values.iter().map(|value| self.operand(*value)).collect::<Result<Vec<_>>>()?;
        let spent = |i: &usize| fused.loads[*i] == Load::Same && self.is_spent(time, fused.values[*i], *i, &inputs);
        if let Some(i) = (0..inputs.len()).find(spent)
            && self.take(node.outputs[0], &mut inputs, i)
        {
            fused.loads[i] = Load::InPlace;
        }
        let outputs = vec![self.allocate(node.outputs[0])];
        let kernel = Box::new(Program::new(fused.loads, fused.instructions));
        Ok(Step { kernel, inputs, outputs, workspace: None, op: node.op.name(), label: node.label.clone() })
    }

    /// Whether the memory of input `i`, `value`, is read for the last time by this unit, and only once.
    fn is_spent(&self, time: usize, value: ValueId, i: usize, inputs: &[Operand]) -> bool {
        matches!(inputs[i].place, Place::Slot(..))
            && self.last_read[self.owner(value)] == time
            && inputs.iter().filter(|other| other.place == inputs[i].place).count() == 1
    }

    /// Makes `output` in the memory of input `i`, which is then no input any more; not if the output has a place already.
    fn take(&mut self, output: ValueId, inputs: &mut Vec<Operand>, i: usize) -> bool {
        let place = &mut self.places[output.index()];
        let free = place.is_none();
        if free {
            *place = Some(inputs.remove(i).place);
        }
        free
    }

    /// Where to read a value.
    fn operand(&mut self, value: ValueId) -> Result<Operand> {
        let owner = self.owner(value);
        let elements = self.graph.ty(value).elements();
        if self.places[owner].is_none() {
            self.places[owner] = Some(self.constant(owner)?);
        }
        let place = self.places[owner];
        place.map(|place| Operand { place, elements }).ok_or_else(|| Error::graph(format!("value {value} is not made")))
    }

    fn constant(&mut self, value: usize) -> Result<Place> {
        let ty = &self.graph.values[value].ty;
        let mut buffer = Buffer::zeros(ty.dtype, ty.elements());
        let full;
        let tensor = match &self.graph.nodes[self.graph.values[value].node].op {
            Op::Constant { value } => value,
            Op::Fill { value, .. } => {
                full = mimus_core::HostTensor::full(ty, *value);
                &full
            }
            op => return Err(Error::graph("is read before it is made").with("op", op.name())),
        };
        buffer.view_mut(ty.elements())?.copy_from(View::from(tensor))?;
        self.plan.constants.push(buffer);
        Ok(Place::Constant(self.plan.constants.len() - 1))
    }

    /// A place for a value that a step makes.
    fn allocate(&mut self, value: ValueId) -> Operand {
        let ty = self.graph.ty(value);
        let elements = ty.elements();
        let place = match self.places[value.index()] {
            Some(place) => place,
            None => self.slot(ty.dtype, elements),
        };
        self.places[value.index()] = Some(place);
        Operand { place, elements }
    }

    /// Memory for a new value.
    fn slot(&mut self, dtype: Dtype, elements: usize) -> Place {
        self.values.push((dtype, elements));
        Place::Slot(dtype, self.values.len() - 1)
    }

    fn finish(mut self) -> Result<Plan> {
        for named in &self.graph.outputs {
            let operand = self.operand(named.value)?;
            self.plan.outputs.push((operand, self.graph.ty(named.value).clone()));
        }
        for named in &self.graph.assignments {
            let (variable, operand) = (self.number(&named.name)?, self.operand(named.value)?);
            let copy = (operand.place != Place::Next(variable)).then_some(operand);
            self.plan.assignments.push(Assignment { variable, copy });
        }
        self.share_slots();
        Ok(self.plan)
    }

    /// From a slot for each value to few that they share.
    fn share_slots(&mut self) {
        let mut times = vec![(usize::MAX, 0); self.values.len()];
        let mut seen = |operand: &Operand, time: usize| {
            if let Place::Slot(_, value) = operand.place {
                times[value] = (time.min(times[value].0), time.max(times[value].1));
            }
        };
        for (time, step) in self.plan.steps.iter().enumerate() {
            step.operands().for_each(|operand| seen(operand, time));
        }
        self.plan.results().for_each(|operand| seen(operand, self.plan.steps.len()));
        let lifetimes = self.values.iter().zip(times);
        let lifetimes = lifetimes.map(|(&(dtype, elements), (first, last))| Lifetime { dtype, elements, first, last });
        let (chosen, slots) = slots::share(&lifetimes.collect::<Vec<_>>());
        self.plan.slots = slots;
        self.plan.operands_mut().for_each(|operand| {
            if let Place::Slot(_, value) = &mut operand.place {
                *value = chosen[*value];
            }
        });
    }
}
