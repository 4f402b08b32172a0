//! The same elements elsewhere: reshape, permute, slice, concat, pad, broadcast.

use super::elementwise::{broadcast_positions, broadcast_shape, unbroadcast};
use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::graph::ValueId;
use crate::reference::{Array, Elements};
use crate::tensor::{Dtype, Shape, ValueType, strides};

/// Constraints are those of the operators' descriptions: equal numbers of elements, a permutation, a box within the extents, ...
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let most = if matches!(op, Op::Concat { .. }) { usize::MAX } else { 1 };
    expect_inputs(op, inputs, 1..=most)?;
    let x = inputs[0];
    let shape = match op {
        Op::Reshape { shape } => {
            let ty = check::sized(x.dtype, shape.clone())?;
            if ty.elements() != x.elements() {
                return check::fail(format!(
                    "{:?} has {} elements, {shape:?} has {}",
                    x.shape,
                    x.elements(),
                    ty.elements()
                ));
            }
            shape.clone()
        }
        Op::Permute { order } => permuted(&x.shape, order)?,
        Op::Slice { starts, ends } => sliced(&x.shape, starts, ends)?,
        Op::Concat { axis } => concatenated(inputs, *axis)?,
        Op::Pad { before, after, .. } => {
            check::dtype("input", x, Dtype::F32)?;
            padded(&x.shape, before, after)?
        }
        Op::Broadcast { shape } => {
            if broadcast_shape(&[&x.shape, shape])? != *shape {
                return check::fail(format!("shape {:?} does not broadcast to {shape:?}", x.shape));
            }
            shape.clone()
        }
        _ => return check::fail("is no layout operator"),
    };
    Ok(vec![check::sized(x.dtype, shape)?])
}

fn permuted(shape: &[usize], order: &[usize]) -> Result<Shape> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if sorted.iter().copied().ne(0..shape.len()) {
        return check::fail(format!("order {order:?} is no permutation of the axes of {shape:?}"));
    }
    Ok(order.iter().map(|a| shape[*a]).collect())
}

fn sliced(shape: &[usize], starts: &[usize], ends: &[usize]) -> Result<Shape> {
    check::per_axis("starts", starts, shape.len())?;
    check::per_axis("ends", ends, shape.len())?;
    for (axis, ((start, end), extent)) in starts.iter().zip(ends).zip(shape).enumerate() {
        if start >= end || end > extent {
            return check::fail(format!("slice {start}..{end} of axis {axis} is empty or outside its extent {extent}"));
        }
    }
    Ok(ends.iter().zip(starts).map(|(end, start)| end - start).collect())
}

fn concatenated(inputs: &[&ValueType], axis: usize) -> Result<Shape> {
    let first = inputs[0];
    check::axis(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    for (i, ty) in inputs.iter().enumerate().skip(1) {
        check::dtype(&format!("input {i}"), ty, first.dtype)?;
        let fits =
            ty.shape.len() == shape.len() && (0..shape.len()).all(|a| a == axis || ty.shape[a] == first.shape[a]);
        if !fits {
            return check::fail(format!(
                "input {i} has shape {:?}, expects {:?} but for axis {axis}",
                ty.shape, first.shape
            ));
        }
        shape[axis] = shape[axis].saturating_add(ty.shape[axis]);
    }
    Ok(shape)
}

fn padded(shape: &[usize], before: &[usize], after: &[usize]) -> Result<Shape> {
    check::per_axis("before", before, shape.len())?;
    check::per_axis("after", after, shape.len())?;
    Ok((0..shape.len()).map(|a| shape[a].saturating_add(before[a]).saturating_add(after[a])).collect())
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; context.inputs.len()]) };
    if let Op::Concat { axis } = op {
        return concat_gradient(*axis, context, dy);
    }
    let x = context.inputs[0];
    let b = &mut *context.builder;
    let shape = b.shape(x).to_vec();
    let dx = match op {
        Op::Reshape { .. } => b.reshape(dy, shape)?,
        Op::Permute { order } => {
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(i, a)| inverse[*a] = i);
            b.permute(dy, &inverse)?
        }
        Op::Slice { starts, ends } => {
            let after: Vec<usize> = shape.iter().zip(ends).map(|(n, end)| n - end).collect();
            b.pad(dy, starts, &after, 0.0)?
        }
        Op::Pad { before, .. } => {
            let ends: Vec<usize> = before.iter().zip(&shape).map(|(start, n)| start + n).collect();
            b.slice(dy, before, &ends)?
        }
        _ => unbroadcast(b, dy, x)?,
    };
    Ok(vec![Some(dx)])
}

fn concat_gradient(axis: usize, context: &mut GradientContext<'_>, dy: ValueId) -> Result<InputGradients> {
    let b = &mut *context.builder;
    let mut start = 0;
    let mut gradients = Vec::new();
    for (input, needed) in context.inputs.iter().zip(context.needed) {
        let mut ends = b.shape(dy).to_vec();
        let mut starts = vec![0; ends.len()];
        starts[axis] = start;
        start += b.shape(*input)[axis];
        ends[axis] = start;
        gradients.push(if *needed { Some(b.slice(dy, &starts, &ends)?) } else { None });
    }
    Ok(gradients)
}

/// Elements of either type picked by position.
fn picked(x: &Array, shape: Shape, positions: impl Iterator<Item = usize>) -> Array {
    match &x.elements {
        Elements::Float(v) => Array::float(shape, positions.map(|i| v[i]).collect()),
        Elements::Int(v) => Array::int(shape, positions.map(|i| v[i]).collect()),
    }
}

/// Positions, in an array with the given steps, of the elements of a box in row-major order.
fn positions(base: usize, extents: &[usize], steps: &[usize]) -> Vec<usize> {
    extents.iter().zip(steps).fold(vec![base], |starts, (extent, step)| {
        starts.iter().flat_map(|start| (0..*extent).map(move |i| start + i * step)).collect()
    })
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let x = inputs[0];
    let steps = strides(&x.shape);
    Ok(vec![match op {
        Op::Reshape { shape } => Array { shape: shape.clone(), elements: x.elements.clone() },
        Op::Permute { order } => {
            let shape = permuted(&x.shape, order)?;
            let steps: Vec<usize> = order.iter().map(|a| steps[*a]).collect();
            picked(x, shape.clone(), positions(0, &shape, &steps).into_iter())
        }
        Op::Slice { starts, ends } => {
            let shape = sliced(&x.shape, starts, ends)?;
            let base = starts.iter().zip(&steps).map(|(start, step)| start * step).sum();
            picked(x, shape.clone(), positions(base, &shape, &steps).into_iter())
        }
        Op::Broadcast { shape } => picked(x, shape.clone(), broadcast_positions(&x.shape, shape).into_iter()),
        Op::Pad { before, after, value } => {
            let shape = padded(&x.shape, before, after)?;
            let steps = strides(&shape);
            let base = before.iter().zip(&steps).map(|(start, step)| start * step).sum();
            let mut y = vec![f64::from(*value as f32); shape.iter().product()];
            positions(base, &x.shape, &steps).iter().zip(x.floats()?).for_each(|(to, x)| y[*to] = *x);
            Array::float(shape, y)
        }
        Op::Concat { axis } => concat(inputs, *axis)?,
        _ => return check::fail("is no layout operator"),
    }])
}

fn concat(inputs: &[&Array], axis: usize) -> Result<Array> {
    let types: Vec<ValueType> = inputs.iter().map(|x| x.ty()).collect();
    let shape = concatenated(&types.iter().collect::<Vec<_>>(), axis)?;
    let outer: usize = shape[..axis].iter().product();
    let run = |x: &Array| x.len() / outer;
    let mut result = match inputs[0].elements {
        Elements::Float(_) => Elements::Float(Vec::new()),
        Elements::Int(_) => Elements::Int(Vec::new()),
    };
    for row in 0..outer {
        for x in inputs {
            let range = row * run(x)..(row + 1) * run(x);
            match &mut result {
                Elements::Float(v) => v.extend_from_slice(&x.floats()?[range]),
                Elements::Int(v) => v.extend_from_slice(&x.ints()?[range]),
            }
        }
    }
    Ok(Array { shape, elements: result })
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let x = random(stream, &[2, 3, 4], [-1.0, 1.0]);
        let ops = [
            Op::Reshape { shape: vec![4, 6] },
            Op::Permute { order: vec![2, 0, 1] },
            Op::Slice { starts: vec![0, 1, 1], ends: vec![2, 3, 2] },
            Op::Pad { before: vec![0, 1, 2], after: vec![1, 0, 3], value: 0.5 },
            Op::Broadcast { shape: vec![5, 2, 3, 4] },
        ];
        let mut cases: Vec<Case> = ops.into_iter().map(|op| Case::new(op, [x.clone()])).collect();
        let narrow = random(stream, &[2, 1, 4], [-1.0, 1.0]);
        cases.push(Case::new(Op::Broadcast { shape: vec![2, 3, 4] }, [narrow.clone()]));
        cases.push(Case::new(Op::Concat { axis: 1 }, [x.clone(), narrow, x]));
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_land_where_they_should() {
        let x = Array::float([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let run = |op: Op| op.evaluate(&[&x]).unwrap().remove(0);
        assert_eq!(run(Op::Permute { order: vec![1, 0] }), Array::float([3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(run(Op::Slice { starts: vec![1, 0], ends: vec![2, 2] }), Array::float([1, 2], vec![4.0, 5.0]));
        let padded = run(Op::Pad { before: vec![0, 1], after: vec![0, 0], value: 9.0 });
        assert_eq!(padded.floats().unwrap(), [9.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn every_constraint_has_its_sentence() {
        let ty = ValueType::f32([2, 3]);
        let message = |op: Op| op.infer(&[&ty]).unwrap_err().message().to_owned();
        assert_eq!(message(Op::Reshape { shape: vec![5] }), "[2, 3] has 6 elements, [5] has 5");
        assert_eq!(message(Op::Permute { order: vec![0, 0] }), "order [0, 0] is no permutation of the axes of [2, 3]");
        let slice = Op::Slice { starts: vec![0, 1], ends: vec![2, 4] };
        assert_eq!(message(slice), "slice 1..4 of axis 1 is empty or outside its extent 3");
        assert_eq!(message(Op::Broadcast { shape: vec![3] }), "shape [2, 3] does not broadcast to [3]");
    }
}
