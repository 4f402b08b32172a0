//! Computes equal things once.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::graph::{Builder, Graph, Node, ValueId, rewrite};

/// The graph in which nodes of equal operator, attributes and inputs are one.
///
/// # Errors
/// If the graph is not well formed.
pub fn merge_common(graph: &Graph) -> Result<Graph> {
    let mut known: BTreeMap<String, Vec<ValueId>> = BTreeMap::new();
    rewrite(graph, |b: &mut Builder, node: &Node, inputs: &[ValueId]| {
        // The printed operator is exact, floats included.
        let key = format!("{:?} {inputs:?}", node.op);
        if let Some(outputs) = known.get(&key) {
            return Ok(Some(outputs.clone()));
        }
        let outputs = b.scope(&node.label, |b| b.nodes(node.op.clone(), inputs))?;
        known.insert(key, outputs.clone());
        Ok(Some(outputs))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::*;
    use crate::tensor::ValueType;

    #[test]
    fn equal_nodes_become_one_and_different_attributes_do_not() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let (first, second) = (b.leaky_relu(x, 0.1).unwrap(), b.leaky_relu(x, 0.1).unwrap());
        let third = b.leaky_relu(x, 0.2).unwrap();
        let sum = b.add(first, second).unwrap();
        let sum = b.add(sum, third).unwrap();
        b.output("y", sum).unwrap();
        let before = b.finish();
        let after = merge_common(&before).unwrap();
        assert_eq!(before.nodes.len() - after.nodes.len(), 1);
        assert_same(&before, &after, 0.0);
    }
}
