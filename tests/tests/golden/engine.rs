//! Where programs run: the interpreter in double precision, or a session of a backend, under one face.

use std::collections::BTreeMap;

use mimus_core::plugin::{Backend, BackendRequest, Options, ProgramId, Session};
use mimus_core::reference::{self, Elements, Interpreter, Precision};
use mimus_core::{Error, Graph, HostData, HostTensor, Result, passes};

use crate::set::Tensors;

/// In which precision an engine computes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Arithmetic {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

/// Named results in double precision.
pub(crate) type Values = BTreeMap<String, Vec<f64>>;

/// Runs programs that share variables.
pub(crate) trait Engine {
    /// The precision.
    fn arithmetic(&self) -> Arithmetic;

    /// Makes a program ready; a number for [`Engine::run`].
    fn load(&mut self, program: Graph) -> Result<usize>;

    /// Sets a variable of a loaded program.
    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()>;

    /// The value of a variable.
    fn read(&mut self, variable: &str) -> Result<Vec<f64>>;

    /// Runs a program: its outputs by name.
    fn run(&mut self, program: usize, inputs: &Tensors) -> Result<Values>;
}

/// Loads what the optimiser makes of a program and writes all its variables: from `state`, else as they begin.
pub(crate) fn load(engine: &mut dyn Engine, program: &Graph, state: &Tensors) -> Result<usize> {
    let program = passes::optimise(program)?;
    let variables = program.variables.clone();
    let number = engine.load(program)?;
    for variable in variables {
        let value = match state.get(&variable.name) {
            Some(value) => value.clone(),
            None => variable.first_value(0)?,
        };
        engine.write(&variable.name, &value)?;
    }
    Ok(number)
}

/// Loads a program and runs it once with those of a case's inputs that it reads.
pub(crate) fn run_once(engine: &mut dyn Engine, program: &Graph, state: &Tensors, inputs: &Tensors) -> Result<Values> {
    let program = passes::remove_dead(program)?;
    let read = |name: &str| program.inputs().any(|(known, _)| known == name);
    let inputs = inputs.iter().filter(|(name, _)| read(name)).map(|(name, x)| (name.clone(), x.clone())).collect();
    let number = load(engine, &program, state)?;
    engine.run(number, &inputs)
}

/// The reference interpreter, whose results are not rounded on the way out.
pub(crate) struct Oracle {
    interpreter: Interpreter,
    programs: Vec<Graph>,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self { interpreter: Interpreter::new(Precision::F64), programs: Vec::new() }
    }
}

impl Engine for Oracle {
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::Double
    }

    fn load(&mut self, program: Graph) -> Result<usize> {
        self.programs.push(program);
        Ok(self.programs.len() - 1)
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        self.interpreter.variables.insert(variable.to_owned(), value.into());
        Ok(())
    }

    fn read(&mut self, variable: &str) -> Result<Vec<f64>> {
        let value = self.interpreter.variables.get(variable).cloned();
        Ok(doubles(value.ok_or_else(|| Error::backend(format!("there is no variable `{variable}`")))?))
    }

    fn run(&mut self, program: usize, inputs: &Tensors) -> Result<Values> {
        let graph = self.programs.get(program).ok_or_else(|| Error::backend("there is no such program"))?;
        let inputs = inputs.iter().map(|(name, value)| (name.clone(), value.into())).collect();
        let results = self.interpreter.run(graph, &inputs)?;
        Ok(graph.outputs.iter().zip(results).map(|(named, value)| (named.name.clone(), doubles(value))).collect())
    }
}

fn doubles(array: reference::Array) -> Vec<f64> {
    match array.elements {
        Elements::Float(values) => values,
        Elements::Int(values) => values.into_iter().map(|x| x as f64).collect(),
    }
}

/// A session of a backend in single precision.
pub(crate) struct Device {
    session: Box<dyn Session>,
    programs: Vec<(ProgramId, Vec<String>)>,
}

impl Device {
    /// A session on the backend's default device.
    ///
    /// # Errors
    /// If the backend refuses.
    pub(crate) fn open(backend: &dyn Backend) -> Result<Self> {
        let options = Options::resolve(&backend.info().options, BTreeMap::new())?;
        let request = BackendRequest { device: "auto".to_owned(), threads: 2, options };
        Ok(Self { session: backend.open(&request)?, programs: Vec::new() })
    }
}

impl Engine for Device {
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::Single
    }

    fn load(&mut self, program: Graph) -> Result<usize> {
        let names = program.outputs.iter().map(|named| named.name.clone()).collect();
        self.programs.push((self.session.load(&program)?, names));
        Ok(self.programs.len() - 1)
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        self.session.write(variable, value)
    }

    fn read(&mut self, variable: &str) -> Result<Vec<f64>> {
        Ok(widened(&self.session.read(variable)?))
    }

    fn run(&mut self, program: usize, inputs: &Tensors) -> Result<Values> {
        let known = self.programs.get(program).ok_or_else(|| Error::backend("there is no such program"))?;
        let results = self.session.run(known.0, inputs)?;
        Ok(known.1.iter().cloned().zip(results.iter().map(widened)).collect())
    }
}

/// The elements in double precision.
pub(crate) fn widened(tensor: &HostTensor) -> Vec<f64> {
    match tensor.data() {
        HostData::F32(values) => values.iter().map(|x| f64::from(*x)).collect(),
        HostData::I64(values) => values.iter().map(|x| *x as f64).collect(),
    }
}
