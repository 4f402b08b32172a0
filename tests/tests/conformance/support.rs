//! Runs a graph on a device and on the interpreter, and compares.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use mimus_core::plugin::{Backend, BackendRequest, Options, Session};
use mimus_core::random::Stream;
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::{Builder, Graph, HostData, HostTensor, Init, Role, ValueId, ValueType};

/// Largest `|found - expected| / (1 + |expected|)` that is allowed.
pub(crate) type Tolerance = f64;

/// Nothing is computed that rounds.
pub(crate) const EXACT: Tolerance = 0.0;

/// One operator, whose sums a backend may order as it likes.
pub(crate) const OPERATOR: Tolerance = 1e-5;

/// Two training steps of a small network.
pub(crate) const STEP: Tolerance = 2e-4;

/// Threads of a session where their number does not matter.
pub(crate) const THREADS: usize = 3;

/// An engine may have one number of threads for the whole process: another one than [`THREADS`] runs alone.
static NUMBER_OF_THREADS: RwLock<()> = RwLock::new(());

/// Seed of the variables.
const SEED: u64 = 7;

/// A device of a backend.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) backend: &'static dyn Backend,
    pub(crate) device: String,
}

impl Target {
    pub(crate) fn request(&self, device: &str, threads: usize) -> BackendRequest {
        let options = Options::resolve(&self.backend.info().options, BTreeMap::new()).unwrap();
        BackendRequest { device: device.to_owned(), threads, options }
    }

    /// Opens a session.
    pub(crate) fn open(&self, threads: usize) -> Box<dyn Session> {
        self.backend.open(&self.request(&self.device, threads)).unwrap()
    }

    /// Whether results must be the same bits in every repetition: a GPU may add in any order.
    fn repeats(&self) -> bool {
        !self.device.starts_with("cuda")
    }
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

/// A graph that is being built, with its inputs.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) builder: Builder,
    pub(crate) inputs: BTreeMap<String, HostTensor>,
}

impl Draft {
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

    /// Runs the graph twice on the interpreter.
    pub(crate) fn finish(self, tolerance: Tolerance) -> Program {
        let (graph, inputs) = (self.builder.finish(), self.inputs);
        let mut interpreter = Interpreter::new(Precision::F32);
        interpreter.initialise(&graph, SEED).unwrap();
        let arrays: BTreeMap<String, Array> = inputs.iter().map(|(name, x)| (name.clone(), Array::from(x))).collect();
        let mut expected = Results::new();
        for run in 0..2 {
            for (named, value) in graph.outputs.iter().zip(interpreter.run(&graph, &arrays).unwrap()) {
                expected.insert(key(run, &named.name), value.to_host().unwrap());
            }
        }
        expected.extend(interpreter.variables.iter().map(|(name, value)| (name.clone(), value.to_host().unwrap())));
        Program { graph, inputs, expected, tolerance }
    }
}

/// Outputs of a first and a second run and variables after it, by name.
pub(crate) type Results = BTreeMap<String, HostTensor>;

/// A graph with its inputs and what the interpreter makes of them.
pub(crate) struct Program {
    graph: Graph,
    inputs: BTreeMap<String, HostTensor>,
    expected: Results,
    tolerance: Tolerance,
}

impl Program {
    /// Runs the graph twice, in two sessions, which must agree bit for bit, and with the interpreter within the tolerance.
    pub(crate) fn check(&self, target: &Target) -> Results {
        let found = self.results(target, THREADS);
        for (name, expected) in &self.expected {
            close(&found[name], expected, self.tolerance)
                .unwrap_or_else(|message| panic!("`{name}` {message}, in\n{}", self.graph));
        }
        if target.repeats() {
            assert_eq!(found, self.results(target, THREADS), "two sessions differ in\n{}", self.graph);
        }
        found
    }

    /// Two sessions of different numbers of threads must agree bit for bit.
    pub(crate) fn check_threads(&self, target: &Target) {
        let [one, several] = [1, THREADS].map(|threads| self.results(target, threads));
        assert_eq!(one, several, "1 and {THREADS} threads differ in\n{}", self.graph);
    }

    fn results(&self, target: &Target, threads: usize) -> Results {
        let (_shared, _alone) = match threads {
            THREADS => (Some(NUMBER_OF_THREADS.read().unwrap_or_else(PoisonError::into_inner)), None),
            _ => (None, Some(NUMBER_OF_THREADS.write().unwrap_or_else(PoisonError::into_inner))),
        };
        let mut session = target.open(threads);
        let program = session.load(&self.graph).unwrap();
        for variable in &self.graph.variables {
            let value = variable.first_value(SEED).unwrap();
            session.write(&variable.name, &value).unwrap();
        }
        let mut results = BTreeMap::new();
        for run in 0..2 {
            for (named, value) in self.graph.outputs.iter().zip(session.run(program, &self.inputs).unwrap()) {
                results.insert(key(run, &named.name), value);
            }
        }
        for variable in &self.graph.variables {
            results.insert(variable.name.clone(), session.read(&variable.name).unwrap());
        }
        results
    }
}

fn key(run: usize, name: &str) -> String {
    if run == 0 { name.to_owned() } else { format!("{name} again") }
}

fn close(found: &HostTensor, expected: &HostTensor, tolerance: Tolerance) -> Result<(), String> {
    if found.ty() != expected.ty() {
        return Err(format!("is {}, expects {}", found.ty(), expected.ty()));
    }
    match (found.data(), expected.data()) {
        (HostData::F32(found), HostData::F32(expected)) => {
            for (i, (x, y)) in found.iter().zip(expected).enumerate() {
                let near = f64::from((x - y).abs()) <= tolerance * (1.0 + f64::from(y.abs()));
                if !near && x.to_bits() != y.to_bits() {
                    return Err(format!("has {x} at {i}, expects {y}"));
                }
            }
            Ok(())
        }
        _ if found == expected => Ok(()),
        _ => Err("differs in integers".to_owned()),
    }
}
