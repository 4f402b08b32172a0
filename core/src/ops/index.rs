//! Positions as values: argmax, one-hot, gather.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::{Error, Result};
use crate::reference::Array;
use crate::tensor::{Dtype, ValueType};

/// Constraints: C1 `argmax`: f32, axis within the rank; C2 `one_hot`: i64; C3 `gather`: f32 of rank 1 or more and i64;
/// C4 `gather_grad`: `dy` begins with the extents of the indices.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let n = if matches!(op, Op::ArgMax { .. } | Op::OneHot { .. }) { 1 } else { 2 };
    expect_inputs(op, inputs, n..=n)?;
    let (dtype, shape) = match op {
        Op::ArgMax { axis } => {
            check::floats(inputs)?;
            check::axis(*axis, inputs[0].shape.len())?;
            (Dtype::I64, super::reduce::reduced(&inputs[0].shape, &[*axis], false))
        }
        Op::OneHot { depth } => {
            check::dtype("input", inputs[0], Dtype::I64)?;
            (Dtype::F32, [inputs[0].shape.as_slice(), &[*depth]].concat())
        }
        Op::Gather {} => {
            check::dtype("input 0", inputs[0], Dtype::F32)?;
            check::dtype("input 1", inputs[1], Dtype::I64)?;
            let Some((_, row)) = inputs[0].shape.split_first() else {
                return check::fail("input 0 is a scalar, expects rows");
            };
            (Dtype::F32, [inputs[1].shape.as_slice(), row].concat())
        }
        Op::GatherGrad { rows } => {
            check::dtype("input 0", inputs[0], Dtype::I64)?;
            check::dtype("input 1", inputs[1], Dtype::F32)?;
            let Some(row) = inputs[1].shape.strip_prefix(inputs[0].shape.as_slice()) else {
                return check::fail(format!(
                    "gradient {:?} does not begin with {:?}",
                    inputs[1].shape, inputs[0].shape
                ));
            };
            (Dtype::F32, [&[*rows], row].concat())
        }
        _ => return check::fail("is no index operator"),
    };
    Ok(vec![check::sized(dtype, shape)?])
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let nothing = Ok(vec![None; context.inputs.len()]);
    let Some(dy) = context.gradients[0] else { return nothing };
    let b = &mut *context.builder;
    match op {
        Op::Gather {} if context.needed[0] => {
            let rows = b.shape(context.inputs[0])[0];
            Ok(vec![Some(b.node(Op::GatherGrad { rows }, &[context.inputs[1], dy])?), None])
        }
        Op::GatherGrad { .. } if context.needed[1] => Ok(vec![None, Some(b.gather(dy, context.inputs[0])?)]),
        _ => nothing,
    }
}

/// `index` as a row number.
fn row(index: i64, rows: usize) -> Result<usize> {
    let row = usize::try_from(index).ok().filter(|row| *row < rows);
    row.ok_or_else(|| Error::backend(format!("index {index} is outside 0..{rows}")))
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    Ok(vec![match op {
        Op::ArgMax { axis } => argmax(inputs[0], *axis)?,
        Op::OneHot { depth } => {
            let indices = inputs[0].ints()?;
            let mut y = vec![0.0; indices.len() * depth];
            for (y, index) in y.chunks_exact_mut(*depth).zip(indices) {
                y[row(*index, *depth)?] = 1.0;
            }
            Array::float([inputs[0].shape.as_slice(), &[*depth]].concat(), y)
        }
        Op::Gather {} => {
            let (x, indices) = (inputs[0].floats()?, inputs[1].ints()?);
            let rows = inputs[0].shape[0];
            let width = x.len() / rows;
            let mut y = Vec::with_capacity(indices.len() * width);
            for index in indices {
                y.extend_from_slice(&x[row(*index, rows)? * width..][..width]);
            }
            Array::float([inputs[1].shape.as_slice(), &inputs[0].shape[1..]].concat(), y)
        }
        Op::GatherGrad { rows } => {
            let (indices, dy) = (inputs[0].ints()?, inputs[1].floats()?);
            let width = dy.len() / indices.len();
            let mut dx = vec![0.0; rows * width];
            for (index, dy) in indices.iter().zip(dy.chunks_exact(width)) {
                let to = &mut dx[row(*index, *rows)? * width..][..width];
                to.iter_mut().zip(dy).for_each(|(to, dy)| *to += dy);
            }
            Array::float([&[*rows], &inputs[1].shape[inputs[0].shape.len()..]].concat(), dx)
        }
        _ => return check::fail("is no index operator"),
    }])
}

fn argmax(x: &Array, axis: usize) -> Result<Array> {
    let values = x.floats()?;
    let inner: usize = x.shape[axis + 1..].iter().product();
    let extent = x.shape[axis];
    let best = |outer: usize, column: usize| {
        let at = |i: usize| values[(outer * extent + i) * inner + column];
        (1..extent).fold(0, |best, i| if at(best).is_nan() || at(i) <= at(best) { best } else { i }) as i64
    };
    let outer = values.len() / (extent * inner);
    let result = (0..outer).flat_map(|o| (0..inner).map(move |c| (o, c))).map(|(o, c)| best(o, c)).collect();
    Ok(Array::int(super::reduce::reduced(&x.shape, &[axis], false), result))
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let rows = [random(stream, &[4, 3], [-1.0, 1.0]), Array::int([2, 3], vec![0, 3, 3, 1, 0, 3])];
        let dy = [Array::int([3], vec![2, 0, 2]), random(stream, &[3, 2], [-1.0, 1.0])];
        vec![Case::new(Op::Gather {}, rows), Case::new(Op::GatherGrad { rows: 4 }, dy)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_takes_the_first_of_equals() {
        let x = Array::float([2, 3], vec![1.0, 3.0, 3.0, 2.0, 0.0, 1.0]);
        assert_eq!(Op::ArgMax { axis: 1 }.evaluate(&[&x]).unwrap()[0], Array::int([2], vec![1, 0]));
        assert_eq!(Op::ArgMax { axis: 0 }.evaluate(&[&x]).unwrap()[0], Array::int([3], vec![1, 0, 0]));
    }

    #[test]
    fn an_index_out_of_range_is_an_error() {
        let error = Op::OneHot { depth: 3 }.evaluate(&[&Array::int([2], vec![0, -1])]).unwrap_err();
        assert_eq!(error.message(), "index -1 is outside 0..3");
    }
}
