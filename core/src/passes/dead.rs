//! Removes what neither outputs nor assignments nor taps need, inputs and variables included.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::graph::{Builder, Graph, Node, ValueId, rewrite};
use crate::ops::Op;

/// The graph without dead nodes, without variables that are neither read nor assigned, and without inputs that nothing reads.
///
/// # Errors
/// If the graph is not well formed.
pub fn remove_dead(graph: &Graph) -> Result<Graph> {
    let mut live = vec![false; graph.values.len()];
    let ends = graph.outputs.iter().chain(&graph.assignments).chain(&graph.taps);
    ends.for_each(|named| live[named.value.index()] = true);
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|v| live[v.index()]) {
            node.inputs.iter().for_each(|v| live[v.index()] = true);
        }
    }
    let mut kept = graph.clone();
    let is_live = |node: &Node| node.outputs.iter().any(|v| live[v.index()]);
    kept.nodes.retain(is_live);
    let reads = kept.nodes.iter().filter_map(|node| match &node.op {
        Op::Variable { name, .. } => Some(name.clone()),
        _ => None,
    });
    let used: BTreeSet<String> = reads.chain(kept.assignments.iter().map(|named| named.name.clone())).collect();
    kept.variables.retain(|variable| used.contains(&variable.name));
    rewrite(&kept, |_: &mut Builder, _: &Node, _: &[ValueId]| Ok(None))
}

/// What the outputs that `keep` chooses by name, and the assignments, need; without taps.
///
/// # Errors
/// If the graph is not well formed.
pub fn keep_outputs(graph: &Graph, keep: impl Fn(&str) -> bool) -> Result<Graph> {
    let mut kept = graph.clone();
    kept.outputs.retain(|named| keep(&named.name));
    kept.taps.clear();
    remove_dead(&kept)
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::*;
    use crate::graph::Init;
    use crate::tensor::ValueType;

    #[test]
    fn only_what_outputs_need_is_left() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let unused = b.input("unused", ValueType::f32([2])).unwrap();
        let w = b.parameter("w", [2], Init::ONES).unwrap();
        b.mul(unused, w).unwrap();
        let y = b.relu(x).unwrap();
        b.output("y", y).unwrap();
        let before = b.finish();
        let after = remove_dead(&before).unwrap();
        assert_eq!(after.nodes.len(), 2);
        assert!(after.variables.is_empty());
        assert_same(&before, &after, 0.0);
    }
}
