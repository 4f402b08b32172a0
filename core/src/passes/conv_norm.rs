//! Moves an inference batch norm into the convolution before it: `w' = w * s`, `b' = (b - mean) * s + bias` with
//! `s = weight / sqrt(var + eps)`, computed in the program on the small tensors instead of on the feature.

use crate::error::Result;
use crate::graph::{Builder, Graph, Node, ValueId, rewrite};
use crate::ops::Op;

/// The graph in which every `conv` or `conv_transpose` (of one group) that only a `batch_norm` reads has absorbed it.
///
/// # Errors
/// If the graph is not well formed.
pub fn fold_conv_norm(graph: &Graph) -> Result<Graph> {
    let mut uses = vec![0; graph.values.len()];
    let ends = graph.outputs.iter().chain(&graph.assignments).chain(&graph.taps).map(|named| named.value);
    graph.nodes.iter().flat_map(|node| node.inputs.iter().copied()).chain(ends).for_each(|v| uses[v.index()] += 1);
    rewrite(graph, |b: &mut Builder, node: &Node, inputs: &[ValueId]| {
        let Op::BatchNorm { eps } = node.op else { return Ok(None) };
        if uses[node.inputs[0].index()] != 1 {
            return Ok(None);
        }
        let conv = b.graph().producer(inputs[0]).clone();
        match conv.op {
            Op::Conv { .. } | Op::ConvTranspose { groups: 1, .. } => {
                Ok(Some(vec![absorb(b, &conv, &inputs[1..], eps)?]))
            }
            _ => Ok(None),
        }
    })
}

fn absorb(b: &mut Builder, conv: &Node, norm: &[ValueId], eps: f64) -> Result<ValueId> {
    let (x, w) = (conv.inputs[0], conv.inputs[1]);
    b.scope(&conv.label, |b| {
        let shifted = b.affine(norm[3], 1.0, eps)?;
        let root = b.sqrt(shifted)?;
        let scale = b.div(norm[0], root)?;
        let mut column = vec![1; b.shape(w).len()];
        column[usize::from(matches!(conv.op, Op::ConvTranspose { .. }))] = b.shape(scale)[0];
        let by_channel = b.reshape(scale, column)?;
        let weight = b.mul(w, by_channel)?;
        let centred = match conv.inputs.get(2) {
            Some(bias) => b.sub(*bias, norm[2])?,
            None => b.neg(norm[2])?,
        };
        let scaled = b.mul(centred, scale)?;
        let bias = b.add(scaled, norm[1])?;
        b.node(conv.op.clone(), &[x, weight, bias])
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::*;
    use crate::blocks::convolution::Conv;
    use crate::blocks::norm::batch_norm;
    use crate::graph::{Init, Phase};
    use crate::tensor::ValueType;

    #[test]
    fn the_norm_disappears_and_the_outputs_stay() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2, 3, 5, 4])).unwrap();
        let random = Init::Uniform { lo: 0.5, hi: 1.5 };
        let y = Conv::new(4, &[3, 3]).forward(&mut b, "conv", x).unwrap();
        let y = batch_norm(&mut b, "norm", y, Phase::Eval, 0.1, random.clone()).unwrap();
        let y = Conv::new(2, &[3, 3]).stride(&[2, 2]).without_bias().transposed(&mut b, "up", y).unwrap();
        let y = batch_norm(&mut b, "norm2", y, Phase::Eval, 0.1, random.clone()).unwrap();
        b.output("y", y).unwrap();
        let mut before = b.finish();
        // Statistics other than 0 and 1.
        before.variables.iter_mut().filter(|v| v.name.contains("running")).for_each(|v| v.init = random.clone());
        let after = super::super::optimise(&before).unwrap();
        assert!(!after.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. })));
        assert_same(&before, &after, 1e-12);
    }
}
