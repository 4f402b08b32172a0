//! The loop of the oracle: node after node, nothing clever.

use std::collections::BTreeMap;

use super::Array;
use crate::error::{Context, Error, Result};
use crate::graph::{Graph, Node};
use crate::ops::Op;
use crate::tensor::ValueType;

/// To what results are rounded after every operator; kernels always compute in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// To f32: the interpreter is a backend like the others.
    F32,
    /// Not at all: for finite differences and for comparison with double-precision results.
    F64,
}

/// Runs programs on arrays and keeps their variables.
#[derive(Clone, Debug)]
pub struct Interpreter {
    precision: Precision,
    /// The variables by name.
    pub variables: BTreeMap<String, Array>,
}

impl Interpreter {
    /// An interpreter without variables.
    pub fn new(precision: Precision) -> Self {
        Self { precision, variables: BTreeMap::new() }
    }

    /// Gives every variable of `graph` that has no value yet the beginning that it declares, under `seed`.
    ///
    /// # Errors
    /// If a declared beginning does not fit the variable's type.
    pub fn initialise(&mut self, graph: &Graph, seed: u64) -> Result<()> {
        for variable in &graph.variables {
            if !self.variables.contains_key(&variable.name) {
                let value = variable.first_value(seed)?;
                self.variables.insert(variable.name.clone(), Array::from(&value));
            }
        }
        Ok(())
    }

    /// Runs a well-formed program: its outputs in order. Assignments take effect together at the end.
    ///
    /// # Errors
    /// If an input or a variable is missing or of another type, or an index is out of range.
    pub fn run(&mut self, graph: &Graph, inputs: &BTreeMap<String, Array>) -> Result<Vec<Array>> {
        let mut left = uses(graph);
        let mut values: Vec<Option<Array>> = vec![None; graph.values.len()];
        for node in &graph.nodes {
            let results = self.evaluate(node, inputs, &values).context("op", node.op.name());
            let results = if node.label.is_empty() { results } else { results.context("layer", &node.label) };
            for (output, mut result) in node.outputs.iter().zip(results?) {
                if self.precision == Precision::F32 {
                    result.round_to_f32();
                }
                values[output.index()] = Some(result);
            }
            for input in &node.inputs {
                left[input.index()] -= 1;
                if left[input.index()] == 0 {
                    values[input.index()] = None;
                }
            }
        }
        let take = |value: crate::graph::ValueId| {
            values[value.index()].clone().ok_or_else(|| Error::backend(format!("value {value} was never computed")))
        };
        let outputs = graph.outputs.iter().map(|named| take(named.value)).collect::<Result<Vec<_>>>()?;
        for named in &graph.assignments {
            self.variables.insert(named.name.clone(), take(named.value)?);
        }
        Ok(outputs)
    }

    fn evaluate(&self, node: &Node, inputs: &BTreeMap<String, Array>, values: &[Option<Array>]) -> Result<Vec<Array>> {
        match &node.op {
            Op::Input { name, dtype, shape } => bound("input", inputs, name, &ValueType::new(*dtype, shape.clone())),
            Op::Variable { name, dtype, shape } => {
                bound("variable", &self.variables, name, &ValueType::new(*dtype, shape.clone()))
            }
            op => {
                let operands: Option<Vec<&Array>> = node.inputs.iter().map(|v| values[v.index()].as_ref()).collect();
                op.evaluate(&operands.ok_or_else(|| Error::backend("an operand was never computed"))?)
            }
        }
    }
}

fn bound(what: &str, values: &BTreeMap<String, Array>, name: &str, ty: &ValueType) -> Result<Vec<Array>> {
    let value = values.get(name).ok_or_else(|| Error::backend(format!("{what} `{name}` has no value")))?;
    if value.ty() != *ty {
        return Err(Error::backend(format!("{what} `{name}` is {}, expects {ty}", value.ty())));
    }
    Ok(vec![value.clone()])
}

/// How often each value is read, by nodes and as output or assignment.
fn uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.values.len()];
    let ends = graph.outputs.iter().chain(&graph.assignments).map(|named| named.value);
    for value in graph.nodes.iter().flat_map(|node| node.inputs.iter().copied()).chain(ends) {
        uses[value.index()] += 1;
    }
    uses
}
