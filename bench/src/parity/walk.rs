//! Goes through a program node by node on the reference, and in its steps through each backend.
//!
//! Two differences are taken of every value: *local*, of the node alone on the reference's operands, which says where an error begins;
//! and *in the program*, on the backend's own operands, which says where it has grown to. Values are compared in chunks, so that memory
//! stays bounded.

use std::collections::BTreeMap;
use std::ops::Range;

use mimus_core::graph::Node;
use mimus_core::plugin::{Batch, Session};
use mimus_core::reference::Array;
use mimus_core::{Builder, Context, Error, Graph, HostTensor, Op, Result, ValueId, passes};

use super::difference::{Difference, scale};
use crate::store::Tensors;

/// Bytes of the values that are compared at once.
const CHUNK: usize = 256 << 20;

/// Nodes of a chunk: an engine that compiles programs needs memory for each.
const NODES: usize = 400;

/// A program with everything that it is fed.
pub(crate) struct Case {
    /// Model, variant and program.
    pub(crate) name: String,
    pub(crate) program: Graph,
    pub(crate) inputs: Batch,
    pub(crate) variables: Tensors,
}

/// A node that computes something.
pub(crate) struct Step<'a> {
    pub(crate) node: &'a Node,
    pub(crate) local: Difference,
    pub(crate) inside: Difference,
}

/// What a backend made of a case.
pub(crate) struct Walked<'a> {
    pub(crate) steps: Vec<Step<'a>>,
    /// Outputs and, as `name := value`, assigned variables of the program as it is run.
    pub(crate) results: Vec<(String, Difference)>,
}

/// Opens a session of a backend.
pub(crate) type Open<'a> = dyn Fn() -> Result<Box<dyn Session>> + 'a;

impl Case {
    /// Walks the reference and each of the backends; a backend that fails costs itself alone.
    pub(crate) fn walk(&self, backends: &[&Open<'_>]) -> Result<Vec<Result<Walked<'_>>>> {
        let mut reference = Reference::new(self);
        let empty = || Ok(Walked { steps: Vec::new(), results: Vec::new() });
        let mut walked: Vec<Result<Walked<'_>>> = backends.iter().map(|_| empty()).collect();
        let mut start = 0;
        while start < self.program.nodes.len() {
            let chunk = reference.advance(start)?;
            for (open, walked) in backends.iter().zip(&mut walked) {
                let steps = match walked {
                    Ok(walked) => reference.compare(chunk.clone(), *open).map(|steps| walked.steps.extend(steps)),
                    Err(_) => Ok(()),
                };
                if let Err(error) = steps {
                    *walked = Err(error);
                }
            }
            reference.forget(chunk.end);
            start = chunk.end;
        }
        let expected = reference.results()?;
        for (open, walked) in backends.iter().zip(&mut walked) {
            let results = match walked {
                Ok(walked) => self.results(*open, &expected).map(|results| walked.results = results),
                Err(_) => Ok(()),
            };
            if let Err(error) = results {
                *walked = Err(error);
            }
        }
        Ok(walked)
    }

    /// The program as it is run, against what the reference computed.
    fn results(&self, open: &Open<'_>, expected: &[(String, HostTensor)]) -> Result<Vec<(String, Difference)>> {
        let (mut session, outputs) = self.run(open, &self.program)?;
        let variables = self.program.assignments.iter().map(|named| session.read(&named.name));
        let found = outputs.into_iter().map(Ok).chain(variables).collect::<Result<Vec<_>>>()?;
        let difference = |(found, (name, expected)): (&HostTensor, &(String, HostTensor))| {
            (name.clone(), Difference::of(found, expected, super::difference::largest(expected)))
        };
        Ok(found.iter().zip(expected).map(difference).collect())
    }

    /// A session that has run `program`, a part of the case's, with the case's inputs and variables.
    fn run(&self, open: &Open<'_>, program: &Graph) -> Result<(Box<dyn Session>, Vec<HostTensor>)> {
        let mut session = open()?;
        let id = session.load(program)?;
        for variable in &program.variables {
            session.write(&variable.name, self.variable(&variable.name)?)?;
        }
        let known: Vec<&str> = program.inputs().map(|(name, _)| name).collect();
        let inputs = self.inputs.iter().filter(|(name, _)| known.contains(&name.as_str()));
        let outputs = session.run(id, &inputs.map(|(name, value)| (name.clone(), value.clone())).collect())?;
        Ok((session, outputs))
    }

    fn variable(&self, name: &str) -> Result<&HostTensor> {
        self.variables.get(name).ok_or_else(|| Error::backend(format!("variable `{name}` has no value")))
    }
}

/// Whether a node computes something, rather than naming what it is given.
fn computes(node: &Node) -> bool {
    !matches!(node.op, Op::Input { .. } | Op::Variable { .. })
}

/// The reference interpreter in the middle of a program; every value is rounded to f32, as a backend's is.
struct Reference<'a> {
    case: &'a Case,
    values: Vec<Option<HostTensor>>,
    /// The last node that reads each value; after the last for results.
    last: Vec<usize>,
}

impl<'a> Reference<'a> {
    fn new(case: &'a Case) -> Self {
        let program = &case.program;
        let mut last = vec![0; program.values.len()];
        for (i, node) in program.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|value| last[value.index()] = i);
        }
        let ends = program.outputs.iter().chain(&program.assignments);
        ends.for_each(|named| last[named.value.index()] = program.nodes.len());
        Self { case, values: vec![None; program.values.len()], last }
    }

    /// Computes nodes from `start` on, as many as a chunk holds.
    fn advance(&mut self, start: usize) -> Result<Range<usize>> {
        let program = &self.case.program;
        let mut bytes = 0;
        for (i, node) in program.nodes.iter().enumerate().skip(start) {
            let size = |value: &ValueId| 4 * program.ty(*value).elements();
            bytes += node.inputs.iter().chain(&node.outputs).map(size).sum::<usize>();
            if i > start && (bytes > CHUNK || i - start >= NODES) {
                return Ok(start..i);
            }
            let values = self.evaluate(node).context("op", node.op.name()).context("layer", &node.label)?;
            for (output, value) in node.outputs.iter().zip(values) {
                self.values[output.index()] = Some(value);
            }
        }
        Ok(start..program.nodes.len())
    }

    fn evaluate(&self, node: &Node) -> Result<Vec<HostTensor>> {
        match &node.op {
            Op::Input { name, .. } => {
                let value = self.case.inputs.get(name).cloned();
                Ok(vec![value.ok_or_else(|| Error::backend(format!("input `{name}` has no value")))?])
            }
            Op::Variable { name, .. } => Ok(vec![self.case.variable(name)?.clone()]),
            op => {
                let operands = node.inputs.iter().map(|value| Ok(Array::from(self.value(*value)?)));
                let operands: Vec<Array> = operands.collect::<Result<_>>()?;
                op.evaluate(&operands.iter().collect::<Vec<_>>())?.iter().map(Array::to_host).collect()
            }
        }
    }

    fn value(&self, value: ValueId) -> Result<&HostTensor> {
        self.values[value.index()].as_ref().ok_or_else(|| Error::backend(format!("value {value} was never computed")))
    }

    /// Gives back what no node from `next` on reads.
    fn forget(&mut self, next: usize) {
        for (value, last) in self.values.iter_mut().zip(&self.last) {
            if *last < next {
                *value = None;
            }
        }
    }

    /// Outputs, and variables after the run.
    fn results(&self) -> Result<Vec<(String, HostTensor)>> {
        let program = &self.case.program;
        let outputs = program.outputs.iter().map(|named| (named.name.clone(), named.value));
        let assigned = program.assignments.iter().map(|named| (format!("{} := value", named.name), named.value));
        outputs.chain(assigned).map(|(name, value)| Ok((name, self.value(value)?.clone()))).collect()
    }

    /// Both differences of every node of a chunk.
    fn compare(&self, chunk: Range<usize>, open: &Open<'_>) -> Result<Vec<Step<'a>>> {
        let case = self.case;
        let nodes: Vec<&Node> = case.program.nodes[chunk].iter().filter(|node| computes(node)).collect();
        let locals = self.local(&nodes, open)?;
        let inside = case.run(open, &visible(&case.program, &nodes)?)?.1;
        let mut found = locals.iter().zip(&inside);
        let mut steps = Vec::new();
        for node in nodes {
            let operands = node.inputs.iter().map(|value| self.value(*value)).collect::<Result<Vec<_>>>()?;
            let mut step = Step { node, local: Difference::default(), inside: Difference::default() };
            for (output, (local, inside)) in node.outputs.iter().zip(&mut found) {
                let expected = self.value(*output)?;
                let scale = scale(&node.op, &operands, expected);
                step.local = step.local.worse(Difference::of(local, expected, scale));
                step.inside = step.inside.worse(Difference::of(inside, expected, scale));
            }
            steps.push(step);
        }
        Ok(steps)
    }

    /// The values of nodes, each computed from the reference's operands alone.
    fn local(&self, nodes: &[&Node], open: &Open<'_>) -> Result<Vec<HostTensor>> {
        let mut b = Builder::new("nodes alone");
        let (mut known, mut inputs) = (BTreeMap::new(), Batch::new());
        for node in nodes {
            let mut operands = Vec::new();
            for value in &node.inputs {
                if !known.contains_key(value) {
                    let (name, given) = (name(*value), self.value(*value)?);
                    known.insert(*value, b.input(&name, given.ty())?);
                    inputs.insert(name, given.clone());
                }
                operands.extend(known.get(value).copied());
            }
            let made = b.scope(&node.label, |b| b.nodes(node.op.clone(), &operands))?;
            for (output, made) in node.outputs.iter().zip(made) {
                b.output(&format!("{}, alone", name(*output)), made)?;
            }
        }
        let mut session = open()?;
        let id = session.load(&b.finish())?;
        session.run(id, &inputs)
    }
}

fn name(value: ValueId) -> String {
    format!("value {}", value.0)
}

/// The program up to some of its nodes, with their values as its outputs and without effect.
fn visible(program: &Graph, nodes: &[&Node]) -> Result<Graph> {
    let mut b = Builder::extend(program.computation());
    for value in nodes.iter().flat_map(|node| &node.outputs) {
        b.output(&name(*value), *value)?;
    }
    passes::remove_dead(&b.finish())
}
