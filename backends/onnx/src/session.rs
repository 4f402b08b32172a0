//! A session: variables on the device, programs as compiled models, runs through bound memory.

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::graph::Graph;
use mimus_core::plugin::names::{Read, Variable, Variables, bind, located, no_value};
use mimus_core::plugin::{FileOutput, LoadedFile, ProgramId, Session};
use mimus_core::{Context, Dtype, Error, HostTensor, Op, Result, ValueType};
use ort::memory::MemoryInfo;
use ort::session::IoBinding;
use ort::value::{DynTensor, Outlet, TensorElementType};

use crate::device::{Device, read_host, read_open, write_host};
use crate::error::engine;
use crate::file;
use crate::lower::{Check, lower};

/// What the session keeps of a variable.
#[derive(Default)]
struct Held {
    /// Nothing until it is written or assigned.
    value: Option<DynTensor>,
    /// Where a program makes its next value; allocated when a program that assigns it runs.
    next: Option<DynTensor>,
    /// Counts the values that it has had.
    version: u64,
}

/// A program and its model.
struct Program {
    graph: Graph,
    inputs: Vec<Read>,
    variables: Vec<Read>,
    /// Variables that the program reads and never assigns: constants of its model, which the engine folds and prepares.
    constants: Vec<String>,
    compiled: Option<Compiled>,
}

/// A model in the engine and the memory that its runs use.
struct Compiled {
    session: ort::session::Session,
    binding: IoBinding,
    /// The constants' versions that are in the model.
    versions: Vec<u64>,
    inputs: Vec<(String, DynTensor)>,
    outputs: Vec<Output>,
    checks: Vec<(Check, DynTensor)>,
    /// Numbers and ONNX names of variables that are inputs.
    read: Vec<(usize, String)>,
    /// Numbers and ONNX names of assigned variables.
    assigned: Vec<(usize, String)>,
}

/// Where an output of a run is found.
enum Output {
    /// In memory of the host's that all runs share.
    Fixed(DynTensor, ValueType),
    /// In memory of the engine's, since its extents are known when it is computed.
    Open { name: String, dtype: Dtype },
}

/// Programs on one device of ONNX Runtime.
pub(crate) struct OnnxSession {
    device: Device,
    variables: Variables<Held>,
    programs: Vec<Program>,
}

impl OnnxSession {
    pub(crate) fn new(device: Device) -> Self {
        Self { device, variables: Variables::default(), programs: Vec::new() }
    }
}

impl Session for OnnxSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.variables.declare(program)?;
        let mut program = Program::new(program);
        if program.constants.is_empty() {
            program.compile(&self.device, &mut self.variables)?;
        }
        self.programs.push(program);
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        let held = self.variables.accept(variable, value)?;
        let mut tensor = match held.value.take() {
            Some(tensor) => tensor,
            None => self.device.allocate(&value.ty())?,
        };
        let written = self.device.write(&mut tensor, value);
        held.value = Some(tensor);
        held.version += 1;
        written
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        let Variable { ty, state } = self.variables.find(variable)?;
        self.device.read(state.value.as_ref().ok_or_else(|| no_value(variable))?, ty)
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let found = usize::try_from(program.0).ok().and_then(|i| self.programs.get_mut(i));
        let program = found.ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let inputs = bind(&program.inputs, inputs)?;
        for read in &program.variables {
            if self.variables.find(&read.name)?.state.value.is_none() {
                return Err(located(no_value(&read.name), "variable", &read.label));
            }
        }
        let versions = program.versions(&mut self.variables)?;
        if program.compiled.as_ref().is_none_or(|compiled| compiled.versions != versions) {
            program.compile(&self.device, &mut self.variables)?;
        }
        let compiled = program.compiled.as_mut().ok_or_else(|| Error::backend("a program was not compiled"))?;
        compiled.run(&self.device, &mut self.variables.list, &inputs).context("graph", &program.graph.name)
    }

    fn load_file(&mut self, bytes: &[u8]) -> Result<LoadedFile> {
        let session = self.device.compile(bytes)?;
        let inputs = session.inputs().iter().map(input).collect::<Result<Vec<_>>>()?;
        let outputs = session.outputs().iter().map(declared).collect::<Result<Vec<_>>>()?;
        let metadata = metadata(&session)?;
        // The model alone counts: there is no graph of ours, and nothing that would have to be compiled again.
        let reads = inputs.iter().map(|(name, ty)| Read { name: name.clone(), ty: ty.clone(), label: String::new() });
        let program = Program {
            graph: Graph { name: "file".to_owned(), ..Graph::default() },
            inputs: reads.collect(),
            variables: Vec::new(),
            constants: Vec::new(),
            compiled: Some(Compiled::bound(session, &self.device, &inputs, &outputs)?),
        };
        self.programs.push(program);
        Ok(LoadedFile { program: ProgramId(self.programs.len() as u64 - 1), inputs, outputs, metadata })
    }
}

/// What a model says of an input or output.
fn declared(outlet: &Outlet) -> Result<FileOutput> {
    let (Some(element), Some(shape)) = (outlet.dtype().tensor_type(), outlet.dtype().tensor_shape()) else {
        return Err(refused(outlet, "a tensor"));
    };
    let dtype = match element {
        TensorElementType::Float32 => Dtype::F32,
        TensorElementType::Int64 => Dtype::I64,
        _ => return Err(refused(outlet, "f32 or i64 elements")),
    };
    let shape = shape.iter().map(|extent| usize::try_from(*extent).ok()).collect();
    Ok(FileOutput { name: outlet.name().to_owned(), dtype, shape })
}

/// Name and type of a model's input.
fn input(outlet: &Outlet) -> Result<(String, ValueType)> {
    let FileOutput { name, dtype, shape } = declared(outlet)?;
    let extents = shape.into_iter().collect::<Option<Vec<usize>>>();
    Ok((name, ValueType::new(dtype, extents.ok_or_else(|| refused(outlet, "fixed extents"))?)))
}

fn refused(outlet: &Outlet, expected: &str) -> Error {
    let message = format!("`{}` is {}, expects {expected}", outlet.name(), outlet.dtype());
    Error::backend(message).with("graph", "file")
}

/// The texts that a model carries.
fn metadata(session: &ort::session::Session) -> Result<BTreeMap<String, String>> {
    let metadata = session.metadata().map_err(engine)?;
    let keys = metadata.custom_keys().map_err(engine)?;
    Ok(keys.into_iter().filter_map(|key| metadata.custom(&key).map(|value| (key, value))).collect())
}

impl Program {
    fn new(graph: &Graph) -> Self {
        let assigned: BTreeSet<&str> = graph.assignments.iter().map(|named| named.name.as_str()).collect();
        let (mut inputs, mut variables) = (Vec::new(), Vec::new());
        for node in &graph.nodes {
            match &node.op {
                Op::Input { name, .. } => inputs.push(Read::new(graph, node, name)),
                Op::Variable { name, .. } => variables.push(Read::new(graph, node, name)),
                _ => {}
            }
        }
        let constants: BTreeSet<&str> =
            variables.iter().map(|read| read.name.as_str()).filter(|name| !assigned.contains(name)).collect();
        let constants = constants.into_iter().map(str::to_owned).collect();
        Self { graph: graph.clone(), inputs, variables, constants, compiled: None }
    }

    fn versions(&self, variables: &mut Variables<Held>) -> Result<Vec<u64>> {
        self.constants.iter().map(|name| Ok(variables.find(name)?.state.version)).collect()
    }

    /// Makes the model from the constants' present values.
    fn compile(&mut self, device: &Device, variables: &mut Variables<Held>) -> Result<()> {
        let mut constants = BTreeMap::new();
        for name in &self.constants {
            let Variable { ty, state } = variables.find(name)?;
            let value = state.value.as_ref().ok_or_else(|| no_value(name))?;
            constants.insert(name.clone(), device.read(value, ty)?);
        }
        let versions = self.versions(variables)?;
        // Given back first, so that old and new never exist together.
        self.compiled = None;
        let compiled = Compiled::new(&self.graph, &constants, versions, device, &variables.numbers);
        self.compiled = Some(compiled.context("graph", &self.graph.name)?);
        Ok(())
    }
}

impl Compiled {
    fn new(
        graph: &Graph,
        constants: &BTreeMap<String, HostTensor>,
        versions: Vec<u64>,
        device: &Device,
        numbers: &BTreeMap<String, usize>,
    ) -> Result<Self> {
        let lowered = lower(graph, constants)?;
        let session = device.compile(&file::encode(lowered.graph, &BTreeMap::new())?)?;
        let typed = |names: Vec<String>, types: Vec<ValueType>| names.into_iter().zip(types).collect::<Vec<_>>();
        let inputs = typed(lowered.inputs, graph.inputs().map(|(_, value)| graph.ty(value).clone()).collect());
        let outputs = lowered.outputs.into_iter().zip(&graph.outputs).map(|(name, named)| {
            let ty = graph.ty(named.value);
            FileOutput { name, dtype: ty.dtype, shape: ty.shape.iter().copied().map(Some).collect() }
        });
        let mut compiled = Self::bound(session, device, &inputs, &outputs.collect::<Vec<_>>())?;
        for check in lowered.checks {
            let tensor = compiled.bind_host(device, &check.output, &ValueType::i64([1]))?;
            compiled.checks.push((check, tensor));
        }
        let number = |(name, onnx): (String, String)| {
            let number = numbers.get(&name).copied();
            number.map(|number| (number, onnx)).ok_or_else(|| no_value(&name))
        };
        compiled.read = lowered.variables.into_iter().map(number).collect::<Result<_>>()?;
        compiled.assigned = lowered.assignments.into_iter().map(number).collect::<Result<_>>()?;
        compiled.versions = versions;
        Ok(compiled)
    }

    /// A model that neither reads nor assigns variables, with memory for its inputs and outputs.
    fn bound(
        session: ort::session::Session,
        device: &Device,
        inputs: &[(String, ValueType)],
        outputs: &[FileOutput],
    ) -> Result<Self> {
        let binding = session.create_binding().map_err(engine)?;
        let inputs = inputs.iter().map(|(name, ty)| Ok((name.clone(), device.host(ty)?))).collect::<Result<_>>()?;
        let mut compiled = Self {
            session,
            binding,
            versions: Vec::new(),
            inputs,
            outputs: Vec::new(),
            checks: Vec::new(),
            read: Vec::new(),
            assigned: Vec::new(),
        };
        for FileOutput { name, dtype, shape } in outputs {
            let output = match shape.iter().copied().collect::<Option<Vec<usize>>>() {
                Some(extents) => {
                    let ty = ValueType::new(*dtype, extents);
                    Output::Fixed(compiled.bind_host(device, name, &ty)?, ty)
                }
                None => Output::Open { name: name.clone(), dtype: *dtype },
            };
            compiled.outputs.push(output);
        }
        Ok(compiled)
    }

    /// Memory of the host's into which runs write an output.
    fn bind_host(&mut self, device: &Device, name: &str, ty: &ValueType) -> Result<DynTensor> {
        let mut tensor = device.host(ty)?;
        self.binding.bind_output(name, &mut tensor).map_err(engine)?;
        Ok(tensor)
    }

    fn run(
        &mut self,
        device: &Device,
        variables: &mut [Variable<Held>],
        inputs: &[&HostTensor],
    ) -> Result<Vec<HostTensor>> {
        for ((name, tensor), value) in self.inputs.iter_mut().zip(inputs) {
            write_host(tensor, value)?;
            self.binding.bind_input(name.as_str(), tensor).map_err(engine)?;
        }
        for (number, name) in &self.read {
            let value = variables[*number].state.value.as_ref();
            let value = value.ok_or_else(|| Error::backend("a variable has no value"))?;
            self.binding.bind_input(name.as_str(), value).map_err(engine)?;
        }
        for (number, name) in &self.assigned {
            let Variable { ty, state } = &mut variables[*number];
            let mut next = match state.next.take() {
                Some(next) => next,
                None => device.allocate(ty)?,
            };
            let bound = self.binding.bind_output(name.as_str(), &mut next).map_err(engine);
            state.next = Some(next);
            bound?;
        }
        for output in &self.outputs {
            if let Output::Open { name, .. } = output {
                // Bound anew: the engine would write into the memory of the run before, whatever its extents.
                self.binding.bind_output_to_device(name.as_str(), &MemoryInfo::default()).map_err(engine)?;
            }
        }
        self.binding.synchronize_inputs().map_err(engine)?;
        let found = self.session.run_binding(&self.binding).map_err(engine)?;
        self.binding.synchronize_outputs().map_err(engine)?;
        for (check, tensor) in &self.checks {
            check.verify(tensor)?;
        }
        let read = |output: &Output| match output {
            Output::Fixed(tensor, ty) => read_host(tensor, ty),
            Output::Open { name, dtype } => {
                let tensor = found.get(name).ok_or_else(|| Error::backend(format!("the run gave no `{name}`")))?;
                read_open(tensor, *dtype)
            }
        };
        let outputs = self.outputs.iter().map(read).collect::<Result<_>>()?;
        for (number, _) in &self.assigned {
            let state = &mut variables[*number].state;
            std::mem::swap(&mut state.value, &mut state.next);
            state.version += 1;
        }
        Ok(outputs)
    }
}

impl Check {
    /// That the index which the model found is within its range.
    fn verify(&self, tensor: &DynTensor) -> Result<()> {
        let found = tensor.try_extract_tensor::<i64>().map_err(engine)?.1.first().copied().unwrap_or(-1);
        if usize::try_from(found).is_ok_and(|index| index < self.rows) {
            return Ok(());
        }
        Err(located(Error::backend(format!("index {found} is outside 0..{}", self.rows)), self.op, &self.label))
    }
}

#[cfg(test)]
#[allow(clippy::print_stderr, reason = "says why a test was skipped")]
mod tests {
    use super::*;
    use crate::model::{DimDef, GraphDef, NodeDef, ShapeDef, TensorType, TypeDef, ValueInfo};

    /// `y[1, ?]`: where `x[4]` is not 0.
    fn places() -> Vec<u8> {
        let dims = [Some(1), None].map(|value| DimDef { value }).to_vec();
        let tensor = TensorType { element: Some(crate::model::INT64), shape: Some(ShapeDef { dims }) };
        let node = NodeDef {
            inputs: vec!["x".to_owned()],
            outputs: vec!["y".to_owned()],
            name: "places".to_owned(),
            op_type: "NonZero".to_owned(),
            attributes: Vec::new(),
        };
        let graph = GraphDef {
            nodes: vec![node],
            name: "places".to_owned(),
            initializers: Vec::new(),
            inputs: vec![crate::lower::declared("x", &ValueType::f32([4]))],
            outputs: vec![ValueInfo { name: "y".to_owned(), ty: Some(TypeDef { tensor: Some(tensor) }) }],
        };
        file::encode(graph, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn an_output_may_have_other_extents_in_every_run() {
        std::env::set_current_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
        if let Err(error) = mimus_core::native::require("onnxruntime")
            && std::env::var_os("CI").is_none()
        {
            eprintln!("skipped: {error}");
            return;
        }
        let device = Device::open(&crate::library::Engine::of("").unwrap(), "cpu", 2).unwrap();
        let mut session = OnnxSession::new(device);
        let loaded = session.load_file(&places()).unwrap();
        let open = FileOutput { name: "y".to_owned(), dtype: Dtype::I64, shape: vec![Some(1), None] };
        assert_eq!(loaded.outputs, [open]);
        for places in [&[1, 3][..], &[0, 1, 2], &[], &[2]] {
            let values = (0..4).map(|i| if places.contains(&i) { 5.0 } else { 0.0 }).collect();
            let inputs = BTreeMap::from([("x".to_owned(), HostTensor::f32([4], values).unwrap())]);
            let expected = HostTensor::i64([1, places.len()], places.to_vec()).unwrap();
            assert_eq!(session.run(loaded.program, &inputs).unwrap(), [expected]);
        }
    }
}
