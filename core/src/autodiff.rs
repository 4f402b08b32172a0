//! Reverse mode on the graph: the walk only. Every operator's rule lives with the operator and emits operators.

use std::collections::BTreeMap;

use crate::error::{Context, Error, Result};
use crate::graph::{Builder, Node, ValueId};
use crate::ops::{GradientContext, Op};
use crate::tensor::Dtype;

/// Appends the gradient of the scalar `loss` with respect to each value of `wrt`; `None` where no gradient flows.
///
/// # Errors
/// If `loss` is no f32 scalar, or an operator on the way has no gradient; names layer and operator.
pub fn differentiate(builder: &mut Builder, loss: ValueId, wrt: &[ValueId]) -> Result<Vec<Option<ValueId>>> {
    let ty = builder.graph().ty(loss);
    if ty.dtype != Dtype::F32 || !ty.shape.is_empty() {
        return Err(Error::graph(format!("the loss is {ty}, expects an f32 scalar"))
            .hint("reduce the loss over all axes with `mean` or `sum`"));
    }
    let one = builder.scalar(1.0)?;
    pull_back(builder, &[(loss, one)], wrt)
}

/// Appends the vector-Jacobian products with respect to `wrt` for the given gradients of some values.
///
/// # Errors
/// If a gradient's shape is not its value's, or an operator on the way has no gradient.
pub fn pull_back(builder: &mut Builder, seeds: &[(ValueId, ValueId)], wrt: &[ValueId]) -> Result<Vec<Option<ValueId>>> {
    let graph = builder.graph();
    let n_nodes = graph.nodes.len();
    let needed = depends_on(graph.nodes.iter(), graph.values.len(), wrt);
    let mut gradients = vec![None; graph.values.len()];
    for (value, gradient) in seeds {
        if builder.shape(*value) != builder.shape(*gradient) {
            let shapes = (builder.shape(*gradient), builder.shape(*value));
            return Err(Error::graph(format!("gradient of shape {:?} for a value of shape {:?}", shapes.0, shapes.1)));
        }
        accumulate(builder, &mut gradients[value.index()], *gradient)?;
    }
    for index in (0..n_nodes).rev() {
        let node = builder.graph().nodes[index].clone();
        let arriving: Vec<Option<ValueId>> = node.outputs.iter().map(|v| gradients[v.index()]).collect();
        let wanted: Vec<bool> = node.inputs.iter().map(|v| needed[v.index()]).collect();
        if arriving.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let found = rule(builder, &node, &arriving, &wanted)?;
        for ((input, gradient), wanted) in node.inputs.iter().zip(found).zip(wanted) {
            if let (Some(gradient), true) = (gradient, wanted) {
                accumulate(builder, &mut gradients[input.index()], gradient)?;
            }
        }
    }
    Ok(wrt.iter().map(|value| gradients[value.index()]).collect())
}

fn rule(
    builder: &mut Builder,
    node: &Node,
    gradients: &[Option<ValueId>],
    needed: &[bool],
) -> Result<Vec<Option<ValueId>>> {
    let label = if node.label.is_empty() { "gradient".to_owned() } else { format!("gradient.{}", node.label) };
    let result = builder.scope(&label, |builder| {
        let (inputs, outputs) = (&node.inputs, &node.outputs);
        node.op.gradient(&mut GradientContext { builder, inputs, outputs, gradients, needed })
    });
    result.context("gradient of", node.op.name())
}

/// Which values depend on one of `roots`.
fn depends_on<'a>(nodes: impl Iterator<Item = &'a Node>, n_values: usize, roots: &[ValueId]) -> Vec<bool> {
    let mut depends = vec![false; n_values];
    roots.iter().for_each(|root| depends[root.index()] = true);
    for node in nodes {
        if node.inputs.iter().any(|input| depends[input.index()]) {
            node.outputs.iter().for_each(|output| depends[output.index()] = true);
        }
    }
    depends
}

fn accumulate(builder: &mut Builder, total: &mut Option<ValueId>, gradient: ValueId) -> Result<()> {
    *total = Some(match *total {
        None => gradient,
        Some(sum) => builder.add(sum, gradient)?,
    });
    Ok(())
}

/// The gradient of `loss` for each of the named variables that it reaches, summed over all reads of the variable.
///
/// # Errors
/// As [`differentiate`].
pub fn differentiate_variables(
    builder: &mut Builder,
    loss: ValueId,
    names: &[String],
) -> Result<BTreeMap<String, ValueId>> {
    let reads: Vec<(String, ValueId)> = builder
        .graph()
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Variable { name, .. } if names.contains(name) => Some((name.clone(), node.outputs[0])),
            _ => None,
        })
        .collect();
    let values: Vec<ValueId> = reads.iter().map(|(_, value)| *value).collect();
    let gradients = differentiate(builder, loss, &values)?;
    let mut totals: BTreeMap<String, Option<ValueId>> = BTreeMap::new();
    for ((name, _), gradient) in reads.into_iter().zip(gradients) {
        if let Some(gradient) = gradient {
            accumulate(builder, totals.entry(name).or_default(), gradient)?;
        }
    }
    Ok(totals.into_iter().filter_map(|(name, total)| Some((name, total?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ValueType;

    #[test]
    fn a_loss_that_is_no_scalar_is_refused() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let error = differentiate(&mut b, x, &[x]).unwrap_err();
        assert_eq!(error.message(), "the loss is f32[2], expects an f32 scalar");
    }

    #[test]
    fn no_gradient_flows_through_stop_gradient_or_to_unused_values() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([])).unwrap();
        let unused = b.input("unused", ValueType::f32([])).unwrap();
        let stopped = b.stop_gradient(x).unwrap();
        assert_eq!(differentiate(&mut b, stopped, &[x, unused]).unwrap(), [None, None]);
    }
}
