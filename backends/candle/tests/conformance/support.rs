//! Runs a graph on the backend and on the interpreter, and compares.

use std::collections::BTreeMap;
use std::ops::Range;

use mimus_candle::Candle;
use mimus_core::plugin::{Backend, BackendRequest, Options, Session};
use mimus_core::random::Stream;
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::{Builder, Graph, HostData, HostTensor, Init, Role, ValueId, ValueType};

/// The devices that this build has everywhere.
pub(crate) const DEVICES: &[&str] = if cfg!(feature = "tensors") { &["cpu", "tensors"] } else { &["cpu"] };

/// Opens a device.
pub(crate) fn open(device: &str, threads: usize) -> Box<dyn Session> {
    Candle.open(&BackendRequest { device: device.to_owned(), threads, options: Options::default() }).unwrap()
}

/// Random floats in `[lo, hi)`.
pub(crate) fn floats(stream: &mut Stream, shape: &[usize], [lo, hi]: [f64; 2]) -> HostTensor {
    let n = shape.iter().product();
    HostTensor::f32(shape, (0..n).map(|_| stream.range(lo, hi) as f32).collect()).unwrap()
}

/// Random integers from `lo` to `hi`, both included.
pub(crate) fn ints(stream: &mut Stream, shape: &[usize], lo: i64, hi: i64) -> HostTensor {
    let n = shape.iter().product();
    HostTensor::i64(shape, (0..n).map(|_| lo + stream.below((hi - lo + 1) as u64) as i64).collect()).unwrap()
}

/// Random extents.
pub(crate) fn extents(stream: &mut Stream, rank: usize, range: Range<usize>) -> Vec<usize> {
    (0..rank).map(|_| range.start + stream.below(range.len() as u64) as usize).collect()
}

/// One of several.
pub(crate) fn pick<T: Clone>(stream: &mut Stream, list: &[T]) -> T {
    list[stream.below(list.len() as u64) as usize].clone()
}

/// A graph with its inputs and variables.
#[derive(Default)]
pub(crate) struct Check {
    pub(crate) builder: Builder,
    pub(crate) inputs: BTreeMap<String, HostTensor>,
}

impl Check {
    pub(crate) fn new() -> Self {
        Self { builder: Builder::new("check"), inputs: BTreeMap::new() }
    }

    pub(crate) fn input(&mut self, name: &str, value: &HostTensor) -> ValueId {
        self.inputs.insert(name.to_owned(), value.clone());
        self.builder.input(name, value.ty()).unwrap()
    }

    pub(crate) fn variable(&mut self, name: &str, ty: &ValueType, value: f64) -> ValueId {
        self.builder.variable(name, ty.clone(), Role::Buffer, Init::Constant(value)).unwrap()
    }

    /// Runs the graph twice on every device, on 1 and on 3 threads, which must agree bit for bit, and on the interpreter, which
    /// must agree within `tolerance * (1 + |value|)`. Returns the CPU's outputs of both runs and variables after the last, by
    /// name.
    pub(crate) fn run(self, tolerance: f64) -> BTreeMap<String, HostTensor> {
        let graph = self.builder.finish();
        let mut interpreter = Interpreter::new(Precision::F32);
        interpreter.initialise(&graph, 7).unwrap();
        let inputs: BTreeMap<String, Array> =
            self.inputs.iter().map(|(name, x)| (name.clone(), Array::from(x))).collect();
        let mut expected = Vec::new();
        for run in 0..2 {
            for (named, value) in graph.outputs.iter().zip(interpreter.run(&graph, &inputs).unwrap()) {
                expected.push((key(run, &named.name), value));
            }
        }
        expected.extend(interpreter.variables);
        let mut found = BTreeMap::new();
        for device in DEVICES.iter().rev() {
            found = results(&graph, &self.inputs, device, 1);
            assert_eq!(
                found,
                results(&graph, &self.inputs, device, 3),
                "1 and 3 threads of {device} differ in\n{graph}"
            );
            for (name, expected) in &expected {
                close(&found[name], &expected.to_host().unwrap(), tolerance)
                    .unwrap_or_else(|message| panic!("`{name}` on {device}: {message}, in\n{graph}"));
            }
        }
        found
    }
}

fn key(run: usize, name: &str) -> String {
    if run == 0 { name.to_owned() } else { format!("{name} again") }
}

fn results(
    graph: &Graph,
    inputs: &BTreeMap<String, HostTensor>,
    device: &str,
    threads: usize,
) -> BTreeMap<String, HostTensor> {
    let mut session = open(device, threads);
    let program = session.load(graph).unwrap();
    for variable in &graph.variables {
        let value = variable.init.materialise(7, &variable.name, &variable.ty).unwrap();
        session.write(&variable.name, &value).unwrap();
    }
    let mut results = BTreeMap::new();
    for run in 0..2 {
        for (named, value) in graph.outputs.iter().zip(session.run(program, inputs).unwrap()) {
            results.insert(key(run, &named.name), value);
        }
    }
    for variable in &graph.variables {
        results.insert(variable.name.clone(), session.read(&variable.name).unwrap());
    }
    results
}

fn close(found: &HostTensor, expected: &HostTensor, tolerance: f64) -> Result<(), String> {
    if found.ty() != expected.ty() {
        return Err(format!("is {}, expects {}", found.ty(), expected.ty()));
    }
    match (found.data(), expected.data()) {
        (HostData::F32(found), HostData::F32(expected)) => {
            for (i, (x, y)) in found.iter().zip(expected).enumerate() {
                let near = f64::from((x - y).abs()) <= tolerance * (1.0 + f64::from(y.abs()));
                if !near && x.to_bits() != y.to_bits() {
                    return Err(format!("element {i} is {x}, expects {y}"));
                }
            }
            Ok(())
        }
        _ if found == expected => Ok(()),
        _ => Err("integers differ".to_owned()),
    }
}
