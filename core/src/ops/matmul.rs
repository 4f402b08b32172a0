//! The batched matrix product.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::reference::Array;
use crate::tensor::{Shape, ValueType};

fn flags(op: &Op) -> Result<(bool, bool)> {
    match op {
        Op::MatMul { transpose_a, transpose_b } => Ok((*transpose_a, *transpose_b)),
        _ => check::fail("is no matrix product"),
    }
}

/// Rows and columns of the last two axes, exchanged if stored transposed.
fn matrix(shape: &[usize], transpose: bool) -> (usize, usize) {
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    if transpose { (columns, rows) } else { (rows, columns) }
}

/// Constraints: C1 f32; C2 equal ranks of at least 2; C3 equal leading extents; C4 equal inner extents.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    expect_inputs(op, inputs, 2..=2)?;
    check::floats(inputs)?;
    let (ta, tb) = flags(op)?;
    let (a, b) = (&inputs[0].shape, &inputs[1].shape);
    let rank = a.len();
    if rank < 2 || b.len() != rank || a[..rank - 2] != b[..rank - 2] {
        return check::fail(format!("shapes {a:?} and {b:?} are no two stacks of as many matrices"));
    }
    let ((m, k), (inner, n)) = (matrix(a, ta), matrix(b, tb));
    if k != inner {
        return check::fail(format!("left side has {k} columns, right side has {inner} rows"));
    }
    let mut shape: Shape = a[..rank - 2].to_vec();
    shape.extend([m, n]);
    Ok(vec![check::sized(inputs[0].dtype, shape)?])
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; 2]) };
    let (ta, tb) = flags(op)?;
    let (a, b) = (context.inputs[0], context.inputs[1]);
    let mut product =
        |x, y, transpose_a, transpose_b| context.builder.node(Op::MatMul { transpose_a, transpose_b }, &[x, y]);
    let da = match (context.needed[0], ta) {
        (false, _) => None,
        (true, false) => Some(product(dy, b, false, !tb)?),
        (true, true) => Some(product(b, dy, tb, true)?),
    };
    let db = match (context.needed[1], tb) {
        (false, _) => None,
        (true, false) => Some(product(a, dy, !ta, false)?),
        (true, true) => Some(product(dy, a, true, ta)?),
    };
    Ok(vec![da, db])
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let (ta, tb) = flags(op)?;
    let (a, b) = (inputs[0].floats()?, inputs[1].floats()?);
    let ((m, k), (_, n)) = (matrix(&inputs[0].shape, ta), matrix(&inputs[1].shape, tb));
    let stacks = a.len() / (m * k);
    let mut y = vec![0.0; stacks * m * n];
    for (s, y) in y.chunks_exact_mut(m * n).enumerate() {
        let (a, b) = (&a[s * m * k..][..m * k], &b[s * k * n..][..k * n]);
        for (i, row) in y.chunks_exact_mut(n).enumerate() {
            for p in 0..k {
                let left = if ta { a[p * m + i] } else { a[i * k + p] };
                for (j, y) in row.iter_mut().enumerate() {
                    *y += left * if tb { b[j * k + p] } else { b[p * n + j] };
                }
            }
        }
    }
    let mut shape = inputs[0].shape.clone();
    let rank = shape.len();
    shape[rank - 2..].copy_from_slice(&[m, n]);
    Ok(vec![Array::float(shape, y)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, extents, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = Vec::new();
        for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
            let extents = extents(stream, 4, 4);
            let [lead, m, k, n] = extents[..] else { unreachable!() };
            let a = random(stream, &if transpose_a { [lead, k, m] } else { [lead, m, k] }, [-1.0, 1.0]);
            let b = random(stream, &if transpose_b { [lead, n, k] } else { [lead, k, n] }, [-1.0, 1.0]);
            cases.push(Case::new(Op::MatMul { transpose_a, transpose_b }, [a, b]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_two_small_matrices() {
        let a = Array::float([2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Array::float([2, 1], vec![5.0, 6.0]);
        let y = Op::MatMul { transpose_a: false, transpose_b: false }.evaluate(&[&a, &b]).unwrap().remove(0);
        assert_eq!(y, Array::float([2, 1], vec![17.0, 39.0]));
    }
}
