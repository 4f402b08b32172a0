//! Programs on candle's tensors, operator by operator: how a GPU is reached.

mod arithmetic;
mod index;
mod lower;
mod norm;
mod optimizer;
mod window;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use mimus_core::graph::Graph;
use mimus_core::plugin::names::{Read, Variable, Variables, bind, located, no_value};
use mimus_core::plugin::{DeviceInfo, ProgramId, Session};
use mimus_core::{Context, Dtype, Error, HostData, HostTensor, Op, Result, ValueType};

use crate::fuse::with_types;
use lower::{Lowered, lower};

/// The CPU, by candle's tensors.
const TENSORS: &str = "tensors";

/// More GPUs than one machine has.
const MOST_GPUS: usize = 64;

/// The devices that candle reaches.
pub(crate) fn devices() -> Vec<DeviceInfo> {
    let cpu = DeviceInfo {
        name: TENSORS.to_owned(),
        description: "candle's tensors on the CPU, operator by operator: the slow twin of a GPU".to_owned(),
    };
    let gpus = (0..MOST_GPUS).take_while(|i| Device::new_cuda(*i).is_ok());
    let gpu = |i| DeviceInfo { name: format!("cuda:{i}"), description: format!("CUDA device {i}, by candle") };
    std::iter::once(cpu).chain(gpus.map(gpu)).collect()
}

/// Opens one of [`devices`]; `None` for a name that no build with these features has.
pub(crate) fn open(name: &str) -> Option<Result<TensorSession>> {
    let device = match name.strip_prefix("cuda:") {
        None if name == TENSORS => Ok(Device::Cpu),
        Some(number) if cfg!(feature = "cuda") => Device::new_cuda(number.parse().ok()?),
        _ => return None,
    };
    let refused = |error| Error::backend(format!("there is no device `{name}`: {error}"));
    Some(device.map_err(refused).map(TensorSession::new))
}

/// The engine's error in our words.
fn engine(error: candle_core::Error) -> Error {
    match error {
        candle_core::Error::Msg(message) => Error::backend(message),
        other => Error::backend(other.to_string()),
    }
}

fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::I64 => DType::I64,
    }
}

fn to_device(tensor: &HostTensor, device: &Device) -> candle_core::Result<Tensor> {
    match tensor.data() {
        HostData::F32(v) => Tensor::from_slice(v, tensor.shape(), device),
        HostData::I64(v) => Tensor::from_slice(v, tensor.shape(), device),
    }
}

fn to_host(tensor: &Tensor, ty: &ValueType) -> Result<HostTensor> {
    let flat = tensor.flatten_all().map_err(engine)?;
    match ty.dtype {
        Dtype::F32 => HostTensor::f32(ty.shape.clone(), flat.to_vec1().map_err(engine)?),
        Dtype::I64 => HostTensor::i64(ty.shape.clone(), flat.to_vec1().map_err(engine)?),
    }
}

/// Where a node's value comes from.
enum Source {
    Input(usize),
    Variable(usize),
    Constant(Tensor),
    Computed(Lowered),
}

struct Node {
    source: Source,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Values that nothing reads after this node.
    last: Vec<usize>,
    op: &'static str,
    label: String,
}

struct Program {
    nodes: Vec<Node>,
    values: usize,
    inputs: Vec<Read>,
    variables: Vec<Read>,
    outputs: Vec<(usize, ValueType)>,
    assignments: Vec<(usize, usize)>,
}

/// Programs on one of candle's devices.
pub(crate) struct TensorSession {
    device: Device,
    variables: Variables<Option<Tensor>>,
    programs: Vec<Program>,
}

impl TensorSession {
    fn new(device: Device) -> Self {
        Self { device, variables: Variables::default(), programs: Vec::new() }
    }

    fn program(&self, graph: &Graph) -> Result<Program> {
        let kept: Vec<usize> =
            graph.outputs.iter().chain(&graph.assignments).map(|named| named.value.index()).collect();
        let mut last_read = vec![usize::MAX; graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|value| last_read[value.index()] = i);
        }
        let mut program = Program {
            nodes: Vec::new(),
            values: graph.values.len(),
            inputs: Vec::new(),
            variables: Vec::new(),
            outputs: graph.outputs.iter().map(|named| (named.value.index(), graph.ty(named.value).clone())).collect(),
            assignments: Vec::new(),
        };
        for named in &graph.assignments {
            program.assignments.push((self.number(&named.name)?, named.value.index()));
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            let source = self.source(graph, node, &mut program);
            let mut last: Vec<usize> = node.inputs.iter().map(|value| value.index()).collect();
            last.retain(|value| last_read[*value] == i && !kept.contains(value));
            program.nodes.push(Node {
                source: source.map_err(|error| located(error, node.op.name(), &node.label))?,
                inputs: node.inputs.iter().map(|value| value.index()).collect(),
                outputs: node.outputs.iter().map(|value| value.index()).collect(),
                last,
                op: node.op.name(),
                label: node.label.clone(),
            });
        }
        Ok(program)
    }

    fn number(&self, variable: &str) -> Result<usize> {
        let number = self.variables.numbers.get(variable).copied();
        number.ok_or_else(|| Error::graph(format!("variable `{variable}` is not declared")))
    }

    fn source(&self, graph: &Graph, node: &mimus_core::graph::Node, program: &mut Program) -> Result<Source> {
        Ok(match &node.op {
            Op::Input { name, .. } => {
                program.inputs.push(Read::new(graph, node, name));
                Source::Input(program.inputs.len() - 1)
            }
            Op::Variable { name, .. } => {
                program.variables.push(Read::new(graph, node, name));
                Source::Variable(self.number(name)?)
            }
            Op::Constant { value } => Source::Constant(to_device(value, &self.device).map_err(engine)?),
            Op::Fill { value, .. } => {
                let full = HostTensor::full(graph.ty(node.outputs[0]), *value);
                Source::Constant(to_device(&full, &self.device).map_err(engine)?)
            }
            op => Source::Computed(with_types(graph, node, |types| lower(op, types, &self.device)).map_err(engine)?),
        })
    }
}

impl Session for TensorSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.variables.declare(program)?;
        let program = self.program(program).context("graph", &program.name)?;
        self.programs.push(program);
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        let tensor = to_device(value, &self.device).map_err(engine)?;
        *self.variables.accept(variable, value)? = Some(tensor);
        Ok(())
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        let Variable { ty, state } = self.variables.find(variable)?;
        to_host(state.as_ref().ok_or_else(|| no_value(variable))?, ty)
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let program = usize::try_from(program.0)
            .ok()
            .and_then(|i| self.programs.get(i))
            .ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let inputs = bind(&program.inputs, inputs)?;
        let inputs = inputs.into_iter().map(|tensor| to_device(tensor, &self.device).map_err(engine));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        for read in &program.variables {
            if self.variables.find(&read.name)?.state.is_none() {
                return Err(located(no_value(&read.name), "variable", &read.label));
            }
        }
        let mut values: Vec<Option<Tensor>> = vec![None; program.values];
        for node in &program.nodes {
            let results = node.run(&inputs, &self.variables, &values);
            let results = results.map_err(|error| located(error, node.op, &node.label))?;
            for (output, result) in node.outputs.iter().zip(results) {
                values[*output] = Some(result);
            }
            node.last.iter().for_each(|value| values[*value] = None);
        }
        let value = |i: usize| values[i].clone().ok_or_else(|| Error::backend("a value was never computed"));
        let outputs = program.outputs.iter().map(|(i, ty)| to_host(&value(*i)?, ty)).collect::<Result<_>>()?;
        let assigned = program.assignments.iter().map(|(variable, i)| Ok((*variable, value(*i)?)));
        for (variable, tensor) in assigned.collect::<Result<Vec<_>>>()? {
            self.variables.list[variable].state = Some(tensor);
        }
        Ok(outputs)
    }
}

impl Node {
    fn run(
        &self,
        inputs: &[Tensor],
        variables: &Variables<Option<Tensor>>,
        values: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let found = match &self.source {
            Source::Input(i) => inputs.get(*i).cloned(),
            Source::Variable(i) => variables.list[*i].state.clone(),
            Source::Constant(tensor) => Some(tensor.clone()),
            Source::Computed(compute) => {
                let operands: Option<Vec<Tensor>> = self.inputs.iter().map(|i| values[*i].clone()).collect();
                let operands = operands.ok_or_else(|| Error::backend("an operand was never computed"))?;
                return compute(&operands).map_err(engine);
            }
        };
        found.map(|tensor| vec![tensor]).ok_or_else(|| Error::backend("a source has no value"))
    }
}
