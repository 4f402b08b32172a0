//! A program made ready to run many times: kernels in order, what each reads and frees, and what is done at the end.

use std::collections::BTreeMap;

use mimus_core::graph::{Graph, Node};
use mimus_core::plugin::names::Read;
use mimus_core::{Error, HostTensor, Op, Result, ValueId, ValueType};
use tch::Tensor;

use crate::device::{Settings, to_device};
use crate::error::{Location, engine};
use crate::fuse::{self, Task, Work};
use crate::lifetime::Lifetimes;
use crate::lower::{Adam, Kernel, Site, lower};

/// Where a value comes from.
pub(crate) enum Source {
    /// The host's tensor of this number.
    Input(usize),
    /// The variable of this number.
    Variable(usize),
    Constant(Tensor),
    Computed(Kernel),
}

/// One task.
pub(crate) struct Step {
    pub(crate) source: Source,
    /// Values read, and whether for the last time.
    pub(crate) inputs: Vec<(usize, bool)>,
    /// Values made; `None` for those that nobody reads.
    pub(crate) outputs: Vec<Option<usize>>,
    pub(crate) location: Location,
}

/// `variable := value` at the end of a run.
pub(crate) struct Assignment {
    pub(crate) variable: usize,
    pub(crate) value: usize,
    /// The value's memory is not the variable's alone.
    pub(crate) copy: bool,
}

/// Parameters that Adam steps in their own memory at the end of a run, all with the same constants.
pub(crate) struct Update {
    pub(crate) constants: Adam,
    /// Values of learning rate and number of the step.
    pub(crate) scalars: [usize; 2],
    /// For each parameter the variables that hold it and its moments, and the value of its gradient.
    pub(crate) parameters: Vec<([usize; 3], usize)>,
    pub(crate) location: Location,
}

/// A program ready to run.
pub(crate) struct Program {
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
    /// The first steps, as many, read constants and variables alone, and the program writes no variable.
    pub(crate) prepared: usize,
    /// Values of those steps that are the filters of convolutions and nothing else.
    pub(crate) filters: Vec<usize>,
    pub(crate) values: usize,
    pub(crate) inputs: Vec<Read>,
    pub(crate) variables: Vec<Read>,
    pub(crate) outputs: Vec<(usize, ValueType)>,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) updates: Vec<Update>,
}

impl Program {
    /// Prepares a well-formed graph whose variables have these numbers.
    ///
    /// # Errors
    /// If the engine has no memory for the constants.
    pub(crate) fn new(graph: &Graph, numbers: &BTreeMap<String, usize>, settings: Settings) -> Result<Self> {
        let mut program = Self {
            settings,
            steps: Vec::new(),
            prepared: 0,
            filters: Vec::new(),
            values: graph.values.len(),
            inputs: Vec::new(),
            variables: Vec::new(),
            outputs: graph.outputs.iter().map(|named| (named.value.index(), graph.ty(named.value).clone())).collect(),
            assignments: Vec::new(),
            updates: Vec::new(),
        };
        let number = |name: &str| {
            let number = numbers.get(name).copied();
            number.ok_or_else(|| Error::graph(format!("variable `{name}` is not declared")))
        };
        let in_place = in_place_updates(graph);
        let mut kept: Vec<ValueId> = graph.outputs.iter().map(|named| named.value).collect();
        for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| in_place[*i]) {
            program.update(graph, i, node, &number)?;
            kept.extend([node.inputs[1], node.inputs[4], node.inputs[5]]);
        }
        let stays = |value: ValueId| !in_place[graph.values[value.index()].node];
        kept.extend(graph.assignments.iter().map(|named| named.value).filter(|value| stays(*value)));
        let mut tasks = fuse::tasks(graph, settings.fuses_activations());
        tasks.retain(|task| !in_place[task.node]);
        let fixed = fixed_values(graph, &tasks);
        tasks.sort_by_key(|task| !fixed[task.outputs[0].index()]);
        program.prepared = tasks.iter().take_while(|task| fixed[task.outputs[0].index()]).count();
        program.filters = filters(&tasks, &fixed, &kept);
        let lifetimes = Lifetimes::new(graph, &tasks, &kept, fixed);
        for (i, task) in tasks.iter().enumerate() {
            let node = &graph.nodes[task.node];
            let source = program.source(graph, task, &lifetimes.free(graph, task, i), &number, settings)?;
            let inputs = task.inputs.iter().map(|value| (value.index(), lifetimes.ends(*value, i))).collect();
            let outputs = task.outputs.iter().map(|v| (!lifetimes.ends(*v, i)).then_some(v.index())).collect();
            let location = Location::new(node, &task.inputs.iter().map(|v| graph.ty(*v)).collect::<Vec<_>>());
            program.steps.push(Step { source, inputs, outputs, location });
        }
        for (i, named) in graph.assignments.iter().enumerate().filter(|(_, named)| stays(named.value)) {
            let twice = graph.assignments[..i].iter().any(|other| other.value == named.value);
            let copy = twice || lifetimes.is_shared(named.value);
            let (variable, value) = (number(&named.name)?, named.value.index());
            program.assignments.push(Assignment { variable, value, copy });
        }
        Ok(program)
    }

    fn source(
        &mut self,
        graph: &Graph,
        task: &Task<'_>,
        free: &[bool],
        number: &impl Fn(&str) -> Result<usize>,
        settings: Settings,
    ) -> Result<Source> {
        let node = &graph.nodes[task.node];
        let constant = |value: &HostTensor| to_device(value, settings.device).map_err(|error| engine(&error));
        Ok(match &node.op {
            Op::Input { name, .. } => {
                self.inputs.push(Read::new(graph, node, name));
                Source::Input(self.inputs.len() - 1)
            }
            Op::Variable { name, .. } => {
                self.variables.push(Read::new(graph, node, name));
                Source::Variable(number(name)?)
            }
            Op::Constant { value } => Source::Constant(constant(value)?),
            Op::Fill { dtype, shape, value } => {
                // One element, seen everywhere.
                let element = constant(&HostTensor::full(&ValueType::new(*dtype, []), *value))?;
                let everywhere = element.f_expand(crate::lower::extents(shape), false);
                Source::Constant(everywhere.map_err(|error| engine(&error))?)
            }
            op => {
                let types = |values: &[ValueId]| values.iter().map(|value| graph.ty(*value)).collect::<Vec<_>>();
                let site = Site { inputs: &types(&task.inputs), outputs: &types(&task.outputs), free, settings };
                let kernel = lower(task.work, site);
                Source::Computed(kernel.ok_or_else(|| Error::graph(format!("{} is a source", op.name())))?)
            }
        })
    }

    /// Notes that an Adam node is done at the end, with others of the same constants.
    fn update(&mut self, graph: &Graph, i: usize, node: &Node, number: &impl Fn(&str) -> Result<usize>) -> Result<()> {
        let Op::Adam { beta1, beta2, eps, weight_decay, decoupled } = graph.nodes[i].op else { return Ok(()) };
        let constants = Adam { beta1, beta2, eps, weight_decay, decoupled };
        let scalars = [node.inputs[4].index(), node.inputs[5].index()];
        let variable = |i: usize| match &graph.producer(node.inputs[i]).op {
            Op::Variable { name, .. } => number(name),
            _ => Err(Error::graph("Adam steps a value that is no variable")),
        };
        let entry = ([variable(0)?, variable(2)?, variable(3)?], node.inputs[1].index());
        match self.updates.iter_mut().find(|known| known.constants == constants && known.scalars == scalars) {
            Some(known) => known.parameters.push(entry),
            None => {
                let location = Location::new(node, &[graph.ty(node.inputs[0])]);
                self.updates.push(Update { constants, scalars, parameters: vec![entry], location });
            }
        }
        Ok(())
    }
}

/// The Adam nodes that read three variables and whose results go to the same three and nowhere else.
fn in_place_updates(graph: &Graph) -> Vec<bool> {
    let mut read = vec![false; graph.values.len()];
    let inputs = graph.nodes.iter().flat_map(|node| &node.inputs);
    inputs.chain(graph.outputs.iter().map(|named| &named.value)).for_each(|value| read[value.index()] = true);
    let goes_back = |operand: ValueId, result: ValueId| {
        let Op::Variable { name, .. } = &graph.producer(operand).op else { return false };
        let targets: Vec<&str> =
            graph.assignments.iter().filter(|a| a.value == result).map(|a| a.name.as_str()).collect();
        !read[result.index()] && targets == [name.as_str()]
    };
    let is_in_place = |node: &Node| {
        matches!(node.op, Op::Adam { .. })
            && [0, 2, 3].iter().zip(&node.outputs).all(|(i, result)| goes_back(node.inputs[*i], *result))
    };
    graph.nodes.iter().map(is_in_place).collect()
}

/// For every value whether it stays the same until the host writes a variable.
fn fixed_values(graph: &Graph, tasks: &[Task<'_>]) -> Vec<bool> {
    let mut fixed = vec![false; graph.values.len()];
    if !graph.assignments.is_empty() {
        return fixed;
    }
    for task in tasks {
        let is_fixed = match graph.nodes[task.node].op {
            Op::Input { .. } => false,
            _ => task.inputs.iter().all(|value| fixed[value.index()]),
        };
        task.outputs.iter().for_each(|value| fixed[value.index()] = is_fixed);
    }
    fixed
}

/// The fixed values that convolutions read as filters and nobody reads otherwise.
fn filters(tasks: &[Task<'_>], fixed: &[bool], kept: &[ValueId]) -> Vec<usize> {
    let mut filters = vec![false; fixed.len()];
    let mut others = vec![false; fixed.len()];
    for task in tasks {
        let convolves = matches!(task.work, Work::Op(Op::Conv { .. } | Op::ConvTranspose { .. }) | Work::Activated(..));
        for (i, value) in task.inputs.iter().enumerate() {
            let of = if convolves && i == 1 { &mut filters } else { &mut others };
            of[value.index()] = true;
        }
    }
    kept.iter().for_each(|value| others[value.index()] = true);
    (0..fixed.len()).filter(|value| fixed[*value] && filters[*value] && !others[*value]).collect()
}
