//! Sums, means and maxima over axes.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::graph::{Builder, ValueId};
use crate::reference::Array;
use crate::tensor::{Shape, ValueType};

fn parts(op: &Op) -> Result<(&[usize], bool)> {
    match op {
        Op::Sum { axes, keep } | Op::Mean { axes, keep } | Op::Max { axes, keep } | Op::MaxGrad { axes, keep } => {
            Ok((axes, *keep))
        }
        _ => check::fail("is no reduction"),
    }
}

/// Extents after reduction.
pub(crate) fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Shape {
    let extents = shape.iter().enumerate();
    extents.filter_map(|(i, n)| if !axes.contains(&i) { Some(*n) } else { keep.then_some(1) }).collect()
}

/// Constraints: C1 f32; C2 axes sorted, distinct, within the rank; C3 `max_grad`: the gradient has the reduced shape.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let n = if matches!(op, Op::MaxGrad { .. }) { 2 } else { 1 };
    expect_inputs(op, inputs, n..=n)?;
    check::floats(inputs)?;
    let (axes, keep) = parts(op)?;
    check::axes(axes, inputs[0].shape.len())?;
    let shape = reduced(&inputs[0].shape, axes, keep);
    if let Op::MaxGrad { .. } = op {
        check::shape("the gradient", inputs[1], &shape)?;
        return Ok(vec![inputs[0].clone()]);
    }
    Ok(vec![ValueType::f32(shape)])
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; context.inputs.len()]) };
    let x = context.inputs[0];
    let b = &mut *context.builder;
    let (axes, keep) = parts(op)?;
    let dx = match op {
        Op::Sum { .. } => spread(b, dy, x, axes)?,
        Op::Mean { .. } => {
            let n: usize = axes.iter().map(|a| b.shape(x)[*a]).product();
            let scaled = b.affine(dy, 1.0 / n as f64, 0.0)?;
            spread(b, scaled, x, axes)?
        }
        Op::Max { .. } => b.node(Op::MaxGrad { axes: axes.to_vec(), keep }, &[x, dy])?,
        _ => return check::fail("has no second gradient"),
    };
    Ok(vec![Some(dx)])
}

/// Repeats a reduced gradient over the reduced axes of `x`.
fn spread(b: &mut Builder, dy: ValueId, x: ValueId, axes: &[usize]) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    let kept = reduced(&shape, axes, true);
    let dy = if b.shape(dy) == kept { dy } else { b.reshape(dy, kept.clone())? };
    if kept == shape { Ok(dy) } else { b.broadcast(dy, shape) }
}

/// For every element of an array, the position of the reduced element that it belongs to.
fn destinations(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    super::elementwise::broadcast_positions(&reduced(shape, axes, true), shape)
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let (axes, keep) = parts(op)?;
    let x = inputs[0].floats()?;
    let to = destinations(&inputs[0].shape, axes);
    let shape = reduced(&inputs[0].shape, axes, keep);
    let n: usize = shape.iter().product();
    if let Op::Max { .. } | Op::MaxGrad { .. } = op {
        let mut best: Vec<Option<usize>> = vec![None; n];
        for (i, to) in to.iter().enumerate() {
            match best[*to] {
                Some(j) if x[j].is_nan() || x[i] <= x[j] => {}
                _ => best[*to] = Some(i),
            }
        }
        let best: Vec<usize> = best.into_iter().flatten().collect();
        if let Op::Max { .. } = op {
            return Ok(vec![Array::float(shape, best.iter().map(|i| x[*i]).collect())]);
        }
        let mut dx = vec![0.0; x.len()];
        best.iter().zip(inputs[1].floats()?).for_each(|(i, dy)| dx[*i] = *dy);
        return Ok(vec![Array::float(inputs[0].shape.clone(), dx)]);
    }
    let mut sums = vec![0.0; n];
    x.iter().zip(&to).for_each(|(x, to)| sums[*to] += x);
    if let Op::Mean { .. } = op {
        let count = (x.len() / n) as f64;
        sums.iter_mut().for_each(|sum| *sum /= count);
    }
    Ok(vec![Array::float(shape, sums)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, extents, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = Vec::new();
        for axes in [vec![], vec![0], vec![1], vec![0, 2], vec![0, 1, 2]] {
            for keep in [false, true] {
                let axes = || axes.clone();
                for op in
                    [Op::Sum { axes: axes(), keep }, Op::Mean { axes: axes(), keep }, Op::Max { axes: axes(), keep }]
                {
                    let shape = extents(stream, 3, 4);
                    cases.push(Case::new(op, [random(stream, &shape, [-1.0, 1.0])]));
                }
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::evaluate;
    use super::*;

    #[test]
    fn the_gradient_of_a_tied_maximum_goes_to_the_first() {
        let arrays = [Array::float([2, 3], vec![1.0, 2.0, 2.0, 3.0, 3.0, 0.0]), Array::float([2], vec![5.0, 7.0])];
        let dx = evaluate(&arrays, |b, x| Ok(vec![b.node(Op::MaxGrad { axes: vec![1], keep: false }, x)?])).remove(0);
        assert_eq!(dx.floats().unwrap(), [0.0, 5.0, 0.0, 7.0, 0.0, 0.0]);
    }

    #[test]
    fn an_axis_outside_the_rank_is_named() {
        let error = Op::Sum { axes: vec![2], keep: false }.infer(&[&ValueType::f32([2, 3])]).unwrap_err();
        assert_eq!(error.message(), "axis 2 is outside a value of rank 2");
    }
}
