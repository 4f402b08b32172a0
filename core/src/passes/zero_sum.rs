//! Replaces what is zero by its equation but rounding noise when computed: the gradient of a bias in front of batch norm.
//!
//! A training batch norm subtracts the mean of each channel, so that nothing depends on a constant that was added before, and the gradient at
//! its input sums to zero over each channel. Computed, this sum is some 1e-11 of either sign, and Adam, which divides by its size, makes full
//! steps of it: the bias walks about at the learning rate, the running mean follows ten steps behind, and an evaluation sees the difference.

use crate::error::Result;
use crate::graph::{Builder, Graph, Node, ValueId, rewrite};
use crate::ops::Op;

/// The graph in which sums of a training batch norm's input gradient, over all axes but the channels, are zeros.
///
/// # Errors
/// If the graph is not well formed.
pub fn zero_sums(graph: &Graph) -> Result<Graph> {
    rewrite(graph, |b: &mut Builder, node: &Node, inputs: &[ValueId]| {
        let Op::Sum { axes, .. } = &node.op else { return Ok(None) };
        let gradient = b.graph().producer(inputs[0]);
        let of_norm = matches!(gradient.op, Op::BatchNormTrainGrad { .. }) && gradient.outputs[0] == inputs[0];
        let rank = b.shape(inputs[0]).len();
        if !of_norm || !(0..rank).filter(|axis| *axis != 1).all(|axis| axes.contains(&axis)) {
            return Ok(None);
        }
        let shape = graph.ty(node.outputs[0]).shape.clone();
        Ok(Some(vec![b.fill(shape, 0.0)?]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{optimise, testing::assert_same};
    use super::*;
    use crate::autodiff::differentiate_variables;
    use crate::blocks::convolution::Conv;
    use crate::blocks::norm::batch_norm;
    use crate::graph::{Init, Phase};
    use crate::tensor::ValueType;

    /// Gradients of both biases of `conv` (with batch norm in between) and `last`.
    fn gradients() -> Graph {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2, 3, 7, 6])).unwrap();
        let y = Conv::new(4, &[3, 3]).forward(&mut b, "conv", x).unwrap();
        let y = batch_norm(&mut b, "norm", y, Phase::Train, 0.1, Init::ONES).unwrap();
        let y = Conv::new(2, &[3, 3]).forward(&mut b, "last", y).unwrap();
        let y = b.mul(y, y).unwrap();
        let loss = b.sum(y, &[0, 1, 2, 3]).unwrap();
        let names = ["conv.bias", "last.bias"].map(str::to_owned);
        for (name, gradient) in differentiate_variables(&mut b, loss, &names).unwrap() {
            b.output(&name, gradient).unwrap();
        }
        b.finish()
    }

    #[test]
    fn a_bias_in_front_of_batch_norm_has_no_gradient_and_others_keep_theirs() {
        let before = gradients();
        let after = optimise(&before).unwrap();
        let zero = |graph: &Graph, name| {
            matches!(graph.producer(graph.expect_output(name).unwrap()).op, Op::Fill { value: 0.0, .. })
        };
        assert!(!zero(&before, "conv.bias") && zero(&after, "conv.bias") && !zero(&after, "last.bias"));
        assert_same(&before, &after, 1e-12);
    }
}
