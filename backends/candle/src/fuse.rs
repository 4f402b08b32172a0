//! Which elementwise nodes run together in one pass over memory.

use mimus_core::graph::{Graph, Node};
use mimus_core::{Op, ValueId};

use crate::kernels::Types;
use crate::kernels::elementwise::{Instruction, Load, Source, is_fusible};

/// What runs as one step.
#[derive(Debug, PartialEq)]
pub(crate) enum Unit {
    /// A node by itself.
    Single(usize),
    /// Elementwise nodes, in order; only the last one's value is seen by others.
    Group(Vec<usize>),
}

impl Unit {
    /// The node that makes the unit's values.
    pub(crate) fn last(&self) -> Option<usize> {
        match self {
            Self::Single(node) => Some(*node),
            Self::Group(nodes) => nodes.last().copied(),
        }
    }
}

/// The types of a node's operands, for the time of `f`.
pub(crate) fn with_types<T>(graph: &Graph, node: &Node, f: impl FnOnce(Types<'_>) -> T) -> T {
    let of = |values: &[ValueId]| values.iter().map(|value| graph.ty(*value)).collect::<Vec<_>>();
    f(Types { inputs: &of(&node.inputs), outputs: &of(&node.outputs) })
}

/// Cuts the graph into units, in an order in which they can run.
///
/// An elementwise node joins the unit of its readers if they are all in one unit and have its shape: then its value never
/// reaches memory. Such a unit runs where its last node stands, after everything that its nodes read.
pub(crate) fn units(graph: &Graph) -> Vec<Unit> {
    let fusible: Vec<bool> =
        graph.nodes.iter().map(|node| with_types(graph, node, |types| is_fusible(&node.op, types))).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|value| readers[value.index()].push(i));
    }
    let mut seen = vec![false; graph.values.len()];
    graph.outputs.iter().chain(&graph.assignments).for_each(|named| seen[named.value.index()] = true);

    let mut root: Vec<usize> = (0..graph.nodes.len()).collect();
    for (i, node) in graph.nodes.iter().enumerate().rev().filter(|(i, _)| fusible[*i]) {
        let value = node.outputs[0];
        let same = |reader: &usize| graph.ty(graph.nodes[*reader].outputs[0]).shape == graph.ty(value).shape;
        if let [first, rest @ ..] = readers[value.index()].as_slice() {
            let together = rest.iter().all(|reader| root[*reader] == root[*first]);
            let joins = together && readers[value.index()].iter().all(|reader| fusible[*reader] && same(reader));
            if joins && !seen[value.index()] {
                root[i] = root[*first];
            }
        }
    }
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    root.iter().enumerate().for_each(|(i, root)| members[*root].push(i));
    let unit = |(i, nodes): (usize, Vec<usize>)| match (fusible[i], nodes.is_empty()) {
        (_, true) => None,
        (true, false) => Some(Unit::Group(nodes)),
        (false, false) => Some(Unit::Single(i)),
    };
    members.into_iter().enumerate().filter_map(unit).collect()
}

/// The values that a unit's program reads from memory, each with how it meets the output; and the instructions.
#[derive(Debug, Default)]
pub(crate) struct Fused {
    pub(crate) values: Vec<ValueId>,
    pub(crate) loads: Vec<Load>,
    pub(crate) instructions: Vec<Instruction>,
}

/// The number that fills a value, if it is the same everywhere and known.
fn uniform(graph: &Graph, value: ValueId) -> Option<f32> {
    match &graph.producer(value).op {
        Op::Fill { value, .. } => Some(*value as f32),
        Op::Constant { value } if value.len() == 1 => value.as_f32().ok().and_then(|x| x.first().copied()),
        _ => None,
    }
}

/// Lowers the nodes of a group. Broadcasts inside it become part of loading.
pub(crate) fn lower(graph: &Graph, nodes: &[usize]) -> Fused {
    let mut fused = Fused::default();
    let mut known: Vec<(ValueId, Source)> = Vec::new();
    let last = nodes[nodes.len() - 1];
    let shape = &graph.ty(graph.nodes[last].outputs[0]).shape;
    for &i in nodes {
        let node = &graph.nodes[i];
        let mut sources = Vec::new();
        for &value in &node.inputs {
            let source = match (known.iter().find(|(known, _)| *known == value), uniform(graph, value)) {
                (Some((_, source)), _) => *source,
                (None, Some(number)) => Source::Scalar(number),
                (None, None) => {
                    fused.values.push(value);
                    fused.loads.push(Load::new(&graph.ty(value).shape, shape));
                    let source = Source::Load(fused.loads.len() - 1);
                    known.push((value, source));
                    source
                }
            };
            sources.push(source);
        }
        let result = match (&node.op, sources.as_slice()) {
            (Op::Broadcast { .. }, [source]) if i != last => *source,
            _ => {
                fused.instructions.push(Instruction { op: node.op.clone(), sources });
                Source::Result(fused.instructions.len() - 1)
            }
        };
        known.push((node.outputs[0], result));
    }
    fused
}

#[cfg(test)]
mod tests {
    use mimus_core::{Builder, ValueType};

    use super::*;

    #[test]
    fn a_chain_with_a_value_read_twice_inside_is_one_unit() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([4, 3])).unwrap();
        let y = b.input("y", ValueType::f32([3])).unwrap();
        let difference = b.sub(x, y).unwrap();
        let square = b.mul(difference, difference).unwrap();
        let loss = b.sum(square, &[0, 1]).unwrap();
        b.output("loss", loss).unwrap();
        let graph = b.finish();
        assert_eq!(units(&graph), [Unit::Single(0), Unit::Single(1), Unit::Group(vec![2, 3]), Unit::Single(4)]);
        let fused = lower(&graph, &[2, 3]);
        assert_eq!((fused.values, fused.instructions.len()), (vec![x, y], 2));
    }

    #[test]
    fn a_value_that_others_see_ends_its_unit() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([4])).unwrap();
        let y = b.neg(x).unwrap();
        let z = b.exp(y).unwrap();
        b.output("y", y).unwrap();
        b.output("z", z).unwrap();
        assert_eq!(units(&b.finish()), [Unit::Single(0), Unit::Group(vec![1]), Unit::Group(vec![2])]);
    }

    #[test]
    fn a_broadcast_inside_a_unit_is_part_of_loading() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([3])).unwrap();
        let y = b.input("y", ValueType::f32([4, 3])).unwrap();
        let wide = b.broadcast(x, [4, 3]).unwrap();
        let z = b.mul(wide, y).unwrap();
        b.output("z", z).unwrap();
        let fused = lower(&b.finish(), &[2, 3]);
        assert_eq!(fused.instructions.len(), 1);
        assert_eq!(fused.instructions[0].sources, [Source::Load(0), Source::Load(1)]);
    }
}
