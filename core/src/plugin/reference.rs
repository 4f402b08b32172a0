//! The interpreter as a backend, so that whatever runs on a backend can be run on the oracle too: the smallest backend there is.

use std::collections::BTreeMap;

use super::names::{Read, Variables, bind, no_value};
use super::{Backend, BackendRequest, ComponentInfo, DeviceInfo, Kind, ProgramId, Session};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::ops::Op;
use crate::reference::{Array, Interpreter, Precision};
use crate::tensor::HostTensor;

/// The backend `reference`: computes in double precision on one thread. What it is given and what it returns is f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// The only device.
const CPU: &str = "cpu";

impl Backend for Reference {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Backend, "reference", "the oracle of the others: slow, in double precision")
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        Ok(vec![DeviceInfo { name: CPU.to_owned(), description: "the CPU, one thread".to_owned() }])
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        if request.threads == 0 {
            return Err(Error::config("threads is 0, expects 1 or more"));
        }
        match request.device.as_str() {
            "auto" | CPU => Ok(Box::new(ReferenceSession::new())),
            other => Err(Error::backend(format!("there is no device `{other}`; there are: {CPU}"))),
        }
    }
}

/// Programs on the interpreter.
struct ReferenceSession {
    interpreter: Interpreter,
    /// The interpreter holds the values.
    variables: Variables<()>,
    programs: Vec<Graph>,
}

impl ReferenceSession {
    fn new() -> Self {
        let interpreter = Interpreter::new(Precision::F64);
        Self { interpreter, variables: Variables::default(), programs: Vec::new() }
    }
}

impl Session for ReferenceSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.variables.declare(program)?;
        self.programs.push(program.clone());
        Ok(ProgramId(self.programs.len() as u64 - 1))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        self.variables.accept(variable, value)?;
        self.interpreter.variables.insert(variable.to_owned(), Array::from(value));
        Ok(())
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        self.variables.find(variable)?;
        let value = self.interpreter.variables.get(variable);
        value.ok_or_else(|| no_value(variable))?.to_host()
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        let graph = usize::try_from(program.0).ok().and_then(|i| self.programs.get(i));
        let graph = graph.ok_or_else(|| Error::backend(format!("there is no program number {}", program.0)))?;
        let read = |node: &Node| match &node.op {
            Op::Input { name, .. } => Some(Read::new(graph, node, name)),
            _ => None,
        };
        bind(&graph.nodes.iter().filter_map(read).collect::<Vec<_>>(), inputs)?;
        let inputs = inputs.iter().map(|(name, value)| (name.clone(), Array::from(value))).collect();
        self.interpreter.run(graph, &inputs)?.iter().map(Array::to_host).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Init};
    use crate::plugin::Options;
    use crate::tensor::ValueType;

    fn open() -> Box<dyn Session> {
        Reference.open(&BackendRequest { device: "auto".to_owned(), threads: 1, options: Options::default() }).unwrap()
    }

    /// `y = x + w` and `w := y`.
    fn accumulate(extent: usize) -> Graph {
        let mut b = Builder::new("accumulate");
        let x = b.input("x", ValueType::f32([extent])).unwrap();
        let w = b.parameter("w", [extent], Init::ZEROS).unwrap();
        let y = b.add(x, w).unwrap();
        b.output("y", y).unwrap();
        b.assign("w", y).unwrap();
        b.finish()
    }

    #[test]
    fn variables_live_between_runs_and_are_not_rounded_on_the_way() {
        let mut session = open();
        let program = session.load(&accumulate(1)).unwrap();
        session.write("w", &HostTensor::f32([1], vec![1.0]).unwrap()).unwrap();
        // Half of the last bit of 1 as f32: only two of them together survive rounding.
        let small = HostTensor::f32([1], vec![f32::EPSILON / 2.0]).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), small)]);
        session.run(program, &inputs).unwrap();
        let y = session.run(program, &inputs).unwrap();
        assert_eq!(y, [HostTensor::f32([1], vec![1.0 + f32::EPSILON]).unwrap()]);
        assert_eq!(session.read("w").unwrap(), y[0]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_named() {
        let mut session = open();
        assert_eq!(session.read("w").unwrap_err().message(), "no loaded program has a variable `w`");
        let program = session.load(&accumulate(1)).unwrap();
        assert_eq!(session.read("w").unwrap_err().message(), "variable `w` has no value");
        let error = session.load(&accumulate(2)).unwrap_err();
        assert_eq!(error.one_line(), "graph `accumulate`: variable `w` is f32[1], the program declares f32[2]");
        let error = session.write("w", &HostTensor::scalar(0.0)).unwrap_err();
        assert_eq!(error.message(), "variable `w` is f32[1], given f32[]");
        let inputs = BTreeMap::from([("z".to_owned(), HostTensor::scalar(0.0))]);
        let error = session.run(program, &inputs).unwrap_err();
        assert_eq!(error.message(), "the program has no input `z`; it has: x");
        let request = BackendRequest { device: "cuda:0".to_owned(), threads: 1, options: Options::default() };
        let error = Reference.open(&request).err().unwrap();
        assert_eq!(error.message(), "there is no device `cuda:0`; there are: cpu");
    }
}
