//! Computes at once what does not depend on inputs or variables.

use crate::error::Result;
use crate::graph::{Builder, Graph, Node, ValueId, rewrite};
use crate::ops::Op;
use crate::reference::Array;

/// Results with more elements stay computations: folding must not turn a broadcast into a large constant.
const MOST_ELEMENTS: usize = 4096;

/// The graph in which nodes of constants are constants, computed by the reference kernels.
///
/// # Errors
/// If the graph is not well formed, or a constant index is out of range.
pub fn fold_constants(graph: &Graph) -> Result<Graph> {
    rewrite(graph, |b: &mut Builder, node: &Node, inputs: &[ValueId]| {
        if inputs.is_empty() || node.outputs.iter().any(|v| graph.ty(*v).elements() > MOST_ELEMENTS) {
            return Ok(None);
        }
        let Some(operands) = inputs.iter().map(|v| constant(b.graph(), *v)).collect::<Option<Vec<Array>>>() else {
            return Ok(None);
        };
        let results = node.op.evaluate(&operands.iter().collect::<Vec<_>>())?;
        Ok(Some(results.iter().map(|result| literal(b, result)).collect::<Result<_>>()?))
    })
}

/// A constant. One number, however often, stays a fill: it takes no memory and is not rounded before a backend knows its precision.
fn literal(b: &mut Builder, value: &Array) -> Result<ValueId> {
    match value.floats() {
        Ok([first, rest @ ..]) if rest.iter().all(|x| x.to_bits() == first.to_bits()) => {
            b.fill(value.shape.clone(), *first)
        }
        _ => b.constant(value.to_host()?),
    }
}

fn constant(graph: &Graph, value: ValueId) -> Option<Array> {
    let op = &graph.producer(value).op;
    let small = graph.ty(value).elements() <= MOST_ELEMENTS;
    if small && matches!(op, Op::Constant { .. } | Op::Fill { .. }) { op.evaluate(&[]).ok()?.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::*;
    use crate::tensor::ValueType;

    #[test]
    fn arithmetic_on_constants_disappears() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let (two, three) = (b.scalar(2.0).unwrap(), b.scalar(3.0).unwrap());
        let six = b.mul(two, three).unwrap();
        let y = b.mul(x, six).unwrap();
        b.output("y", y).unwrap();
        let before = b.finish();
        let after = super::super::remove_dead(&fold_constants(&before).unwrap()).unwrap();
        assert_eq!(after.nodes.len(), 3);
        assert_same(&before, &after, 0.0);
    }

    #[test]
    fn one_number_stays_a_number_and_keeps_its_precision() {
        let mut b = Builder::new("test");
        let third = b.scalar(1.0 / 3.0).unwrap();
        let wide = b.node(Op::Broadcast { shape: vec![2, 3] }, &[third]).unwrap();
        b.output("y", wide).unwrap();
        let after = super::super::remove_dead(&fold_constants(&b.finish()).unwrap()).unwrap();
        let [Node { op: Op::Fill { shape, value, .. }, .. }] = &after.nodes[..] else { panic!("{after}") };
        assert_eq!((shape.as_slice(), *value), ([2, 3].as_slice(), 1.0 / 3.0));
    }
}
