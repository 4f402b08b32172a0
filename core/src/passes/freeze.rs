//! Makes a program of trained variables one of constants: whatever depends on variables alone is computed once.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Context, Error, Result};
use crate::graph::{Builder, Graph, Init, Node, Role, ValueId};
use crate::ops::Op;
use crate::reference::Array;
use crate::tensor::HostTensor;

/// What is known of a value that depends on variables alone.
struct Known {
    array: Array,
    /// The variables that it depends on, in order of use.
    variables: Vec<String>,
}

/// The graph whose variables hold what `values` make of the old ones, and their values.
///
/// A computed variable takes the name of the one that it continues: a convolution's weight that absorbed a norm is still called after the
/// weight. Taps are dropped.
///
/// # Errors
/// If a variable has no value or one of another type, or the program assigns variables.
pub fn freeze(graph: &Graph, values: &BTreeMap<String, HostTensor>) -> Result<(Graph, BTreeMap<String, HostTensor>)> {
    if let Some(named) = graph.assignments.first() {
        let error = Error::graph(format!("the program assigns `{}`: it cannot become one of constants", named.name));
        return Err(error.with("graph", &graph.name));
    }
    let known = evaluate(graph, values)?;
    let read = frontier(graph, &known);
    let mut b = Builder::new(&graph.name);
    let mut frozen = BTreeMap::new();
    let mut map: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for node in &graph.nodes {
        for value in node.outputs.iter().filter(|value| read.contains(value)) {
            let Some(known) = &known[value.index()] else { continue };
            let (name, value_of) = (continued(graph, *value, known, &frozen), known.array.to_host()?);
            map[value.index()] = Some(b.variable(&name, value_of.ty(), Role::Buffer, Init::ZEROS)?);
            frozen.insert(name, value_of);
        }
        if node.outputs.iter().all(|value| known[value.index()].is_some()) {
            continue;
        }
        let inputs = node.inputs.iter().map(|value| mapped(&map, *value)).collect::<Result<Vec<_>>>()?;
        let outputs = copied(&mut b, node, &inputs)?;
        node.outputs.iter().zip(outputs).for_each(|(old, new)| map[old.index()] = Some(new));
    }
    for named in &graph.outputs {
        b.output(&named.name, mapped(&map, named.value)?)?;
    }
    Ok((b.finish(), frozen))
}

fn mapped(map: &[Option<ValueId>], value: ValueId) -> Result<ValueId> {
    map[value.index()].ok_or_else(|| Error::graph(format!("value {value} is used before it is made")))
}

fn copied(b: &mut Builder, node: &Node, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
    if node.label.is_empty() {
        return b.nodes(node.op.clone(), inputs);
    }
    b.scope(&node.label, |b| b.nodes(node.op.clone(), inputs))
}

/// Computes, in double precision, every value that depends on variables, and on nothing but variables and constants.
///
/// A repeated value stays a computation: a file should hold a memory once and not for each image.
fn evaluate(graph: &Graph, values: &BTreeMap<String, HostTensor>) -> Result<Vec<Option<Known>>> {
    let mut known: Vec<Option<Known>> = (0..graph.values.len()).map(|_| None).collect();
    for node in &graph.nodes {
        if let Op::Variable { name, .. } = &node.op {
            let ty = graph.ty(node.outputs[0]);
            let value = values.get(name).filter(|value| value.ty() == *ty);
            let value = value.ok_or_else(|| Error::graph(format!("variable `{name}` has no value of type {ty}")))?;
            let variables = vec![name.clone()];
            known[node.outputs[0].index()] = Some(Known { array: Array::from(value), variables });
            continue;
        }
        let Some((operands, variables)) = operands(graph, node, &known)? else { continue };
        let results = node.op.evaluate(&operands.iter().collect::<Vec<_>>());
        let results = results.context("op", node.op.name()).context("layer", &node.label)?;
        for (value, array) in node.outputs.iter().zip(results) {
            known[value.index()] = Some(Known { array, variables: variables.clone() });
        }
    }
    Ok(known)
}

/// The operands of a node that depends on variables alone, and these variables.
fn operands(graph: &Graph, node: &Node, known: &[Option<Known>]) -> Result<Option<(Vec<Array>, Vec<String>)>> {
    if matches!(node.op, Op::Broadcast { .. }) {
        return Ok(None);
    }
    let (mut arrays, mut variables) = (Vec::new(), Vec::new());
    for input in &node.inputs {
        match (&known[input.index()], &graph.producer(*input).op) {
            (Some(known), _) => {
                arrays.push(known.array.clone());
                variables.extend(known.variables.iter().cloned());
            }
            (None, op @ (Op::Constant { .. } | Op::Fill { .. })) => arrays.extend(op.evaluate(&[])?),
            _ => return Ok(None),
        }
    }
    Ok((!variables.is_empty()).then_some((arrays, variables)))
}

/// Known values that something reads which is not known.
fn frontier(graph: &Graph, known: &[Option<Known>]) -> BTreeSet<ValueId> {
    let unknown = |node: &&Node| node.outputs.iter().any(|value| known[value.index()].is_none());
    let read = graph.nodes.iter().filter(unknown).flat_map(|node| node.inputs.iter().copied());
    let read = read.chain(graph.outputs.iter().map(|named| named.value));
    read.filter(|value| known[value.index()].is_some()).collect()
}

/// The name of the variable that a value continues: one of the same extents, a bias before others for a vector; else the layer's.
fn continued(graph: &Graph, value: ValueId, known: &Known, taken: &BTreeMap<String, HostTensor>) -> String {
    let node = graph.producer(value);
    if let Op::Variable { name, .. } = &node.op
        && !taken.contains_key(name)
    {
        return name.clone();
    }
    let fits = |name: &&String| {
        !taken.contains_key(*name) && graph.variable(name).is_some_and(|variable| variable.ty == *graph.ty(value))
    };
    let fitting: Vec<&String> = known.variables.iter().filter(fits).collect();
    let bias = fitting.iter().find(|name| known.array.shape.len() == 1 && name.ends_with("bias"));
    if let Some(name) = bias.or(fitting.first()) {
        return (*name).clone();
    }
    (0..)
        .map(|i| format!("{}.folded.{i}", if node.label.is_empty() { "graph" } else { &node.label }))
        .find(|name| !taken.contains_key(name))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::*;
    use crate::blocks::convolution::Conv;
    use crate::blocks::norm::batch_norm;
    use crate::graph::Phase;
    use crate::tensor::ValueType;

    fn network() -> Graph {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2, 3, 5, 4])).unwrap();
        let random = Init::Uniform { lo: 0.5, hi: 1.5 };
        let y = Conv::new(4, &[3, 3]).without_bias().forward(&mut b, "conv", x).unwrap();
        let y = batch_norm(&mut b, "norm", y, Phase::Eval, 0.1, random).unwrap();
        b.output("y", y).unwrap();
        b.finish()
    }

    fn values(graph: &Graph) -> BTreeMap<String, HostTensor> {
        let value = |v: &crate::graph::Variable| v.first_value(7).unwrap();
        graph.variables.iter().map(|variable| (variable.name.clone(), value(variable))).collect()
    }

    #[test]
    fn a_convolution_with_its_norm_becomes_one_with_two_named_constants() {
        let before = network();
        let (after, frozen) = freeze(&super::super::optimise(&before).unwrap(), &values(&before)).unwrap();
        after.verify().unwrap();
        assert_eq!(frozen.keys().collect::<Vec<_>>(), ["conv.weight", "norm.bias"]);
        let mut b = Builder::new("test");
        let mut map = BTreeMap::new();
        for node in &after.nodes {
            let inputs: Vec<ValueId> = node.inputs.iter().map(|value| map[value]).collect();
            let new = match &node.op {
                Op::Variable { name, .. } => vec![b.constant(frozen[name].clone()).unwrap()],
                op => b.nodes(op.clone(), &inputs).unwrap(),
            };
            map.extend(node.outputs.iter().copied().zip(new));
        }
        b.output("y", map[&after.outputs[0].value]).unwrap();
        assert_same(&before, &b.finish(), 1e-6);
    }

    #[test]
    fn a_variable_without_value_is_named() {
        let graph = network();
        let mut values = values(&graph);
        values.remove("norm.weight");
        let error = freeze(&graph, &values).unwrap_err();
        assert_eq!(error.message(), "variable `norm.weight` has no value of type f32[4]");
    }
}
