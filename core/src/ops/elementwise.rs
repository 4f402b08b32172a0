//! One element in, one element out: unary functions, broadcasting binaries, comparisons, selection, conversion.
//!
//! Binaries broadcast as NumPy does: shapes are aligned at their last axis, and an extent of 1 repeats.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::graph::{Builder, ValueId};
use crate::reference::{Array, Elements};
use crate::tensor::{Dtype, Shape, ValueType, strides};

/// The shape to which all shapes broadcast.
pub(crate) fn broadcast_shape(shapes: &[&[usize]]) -> Result<Shape> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (axis, extent) in shape.iter().enumerate() {
            let target = &mut result[rank - shape.len() + axis];
            match (*target, *extent) {
                (1, n) => *target = n,
                (n, m) if m == 1 || m == n => {}
                _ => return check::fail(format!("shapes {shapes:?} do not broadcast")),
            }
        }
    }
    Ok(result)
}

/// Constraints: C1 one, two or three inputs as the operator says; C2 equal element types (f32, or i64 for `add`, `sub`, `mul`
/// and comparisons); C3 shapes broadcast.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    expect_inputs(op, inputs, arity(op)..=arity(op))?;
    match op {
        Op::Cast { dtype } => return Ok(vec![ValueType::new(*dtype, inputs[0].shape.clone())]),
        Op::Add {} | Op::Sub {} | Op::Mul {} | Op::Equal {} | Op::Less {} | Op::LessEqual {} => {
            check::dtype("input 1", inputs[1], inputs[0].dtype)?;
        }
        _ => check::floats(inputs)?,
    }
    let shapes: Vec<&[usize]> = inputs.iter().map(|ty| ty.shape.as_slice()).collect();
    let dtype = match op {
        Op::Equal {} | Op::Less {} | Op::LessEqual {} => Dtype::F32,
        _ => inputs[0].dtype,
    };
    Ok(vec![check::sized(dtype, broadcast_shape(&shapes)?)?])
}

fn arity(op: &Op) -> usize {
    match op {
        Op::Select {} => 3,
        Op::Add {}
        | Op::Sub {}
        | Op::Mul {}
        | Op::Div {}
        | Op::Maximum {}
        | Op::Minimum {}
        | Op::Equal {}
        | Op::Less {}
        | Op::LessEqual {} => 2,
        _ => 1,
    }
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; context.inputs.len()]) };
    match context.inputs.len() {
        1 => unary_gradient(op, context, dy),
        _ => broadcast_gradient(op, context, dy),
    }
}

fn unary_gradient(op: &Op, context: &mut GradientContext<'_>, dy: ValueId) -> Result<InputGradients> {
    let (x, y) = (context.inputs[0], context.outputs[0]);
    let b = &mut *context.builder;
    let slope = match op {
        Op::Sign {} | Op::Cast { .. } | Op::StopGradient {} => return Ok(vec![None]),
        Op::Neg {} => return Ok(vec![Some(b.neg(dy)?)]),
        Op::Sqrt {} => {
            let half = b.affine(dy, 0.5, 0.0)?;
            return Ok(vec![Some(b.div(half, y)?)]);
        }
        Op::Log {} => return Ok(vec![Some(b.div(dy, x)?)]),
        Op::Abs {} => b.sign(x)?,
        Op::Exp {} => y,
        Op::Sigmoid {} => {
            let rest = b.affine(y, -1.0, 1.0)?;
            b.mul(y, rest)?
        }
        Op::Tanh {} => {
            let square = b.mul(y, y)?;
            b.affine(square, -1.0, 1.0)?
        }
        Op::Relu {} => positive(b, y)?,
        Op::LeakyRelu { slope } => {
            let mask = positive(b, kept(*slope, x, y))?;
            b.affine(mask, 1.0 - slope, *slope)?
        }
        Op::Elu { alpha } => {
            let mask = positive(b, kept(*alpha, x, y))?;
            let one = b.scalar(1.0)?;
            let below = b.affine(y, 1.0, *alpha)?;
            b.select(mask, one, below)?
        }
        Op::Clamp { min, max } => {
            let (min, max) = (b.scalar(*min)?, b.scalar(*max)?);
            let above = b.less_equal(min, x)?;
            let below = b.less_equal(x, max)?;
            b.mul(above, below)?
        }
        Op::Pow { exponent } => {
            let power = b.pow(x, exponent - 1.0)?;
            b.affine(power, *exponent, 0.0)?
        }
        _ => return check::fail("has no gradient"),
    };
    Ok(vec![Some(context.builder.mul(dy, slope)?)])
}

/// The one of `x` and `y = f(x)` whose sign tells that of `x`: the output if negative inputs stay so, since it is kept for the
/// next layer anyway and the input then need not be.
fn kept(slope: f64, x: ValueId, y: ValueId) -> ValueId {
    if slope >= 0.0 { y } else { x }
}

/// 1 where `x > 0`, else 0.
fn positive(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let zero = b.scalar(0.0)?;
    b.less(zero, x)
}

/// 1 where `a` wins, 1/2 at ties, else 0; `a` wins if it is the smaller, or the larger if `larger`.
fn winner(b: &mut Builder, larger: bool, a: ValueId, other: ValueId) -> Result<ValueId> {
    let strict = if larger { b.less(other, a)? } else { b.less(a, other)? };
    let tie = b.equal(a, other)?;
    let half = b.affine(tie, 0.5, 0.0)?;
    b.add(strict, half)
}

fn broadcast_gradient(op: &Op, context: &mut GradientContext<'_>, dy: ValueId) -> Result<InputGradients> {
    let inputs = context.inputs;
    let y = context.outputs[0];
    let mut gradients = vec![None; inputs.len()];
    for (i, input) in inputs.iter().enumerate() {
        if !context.needed[i] {
            continue;
        }
        let b = &mut *context.builder;
        let full = match (op, i) {
            (Op::Add {}, _) | (Op::Sub {}, 0) => dy,
            (Op::Sub {}, _) => b.neg(dy)?,
            (Op::Mul {}, _) => b.mul(dy, inputs[1 - i])?,
            (Op::Div {}, 0) => b.div(dy, inputs[1])?,
            (Op::Div {}, _) => {
                let quotient = b.div(y, inputs[1])?;
                let product = b.mul(dy, quotient)?;
                b.neg(product)?
            }
            (Op::Maximum {} | Op::Minimum {}, _) => {
                let share = winner(b, matches!(op, Op::Maximum {}), *input, inputs[1 - i])?;
                b.mul(dy, share)?
            }
            (Op::Select {}, 1 | 2) => {
                let zero = b.scalar(0.0)?;
                if i == 1 { b.select(inputs[0], dy, zero)? } else { b.select(inputs[0], zero, dy)? }
            }
            _ => continue,
        };
        gradients[i] = Some(unbroadcast(b, full, *input)?);
    }
    Ok(gradients)
}

/// Sums a gradient of the broadcast shape back to the shape of `like`.
pub(super) fn unbroadcast(b: &mut Builder, gradient: ValueId, like: ValueId) -> Result<ValueId> {
    let (from, to) = (b.shape(gradient).to_vec(), b.shape(like).to_vec());
    if from == to {
        return Ok(gradient);
    }
    let lead = from.len() - to.len();
    let axes: Vec<usize> = (0..from.len()).filter(|a| *a < lead || (to[a - lead] == 1 && from[*a] != 1)).collect();
    let sum = if axes.is_empty() { gradient } else { b.sum_keep(gradient, &axes)? };
    if b.shape(sum) == to { Ok(sum) } else { b.reshape(sum, to) }
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    Ok(vec![match (op, &inputs[0].elements) {
        (Op::Cast { dtype }, _) => cast(*dtype, inputs[0]),
        (Op::Select {}, _) => select(inputs)?,
        (_, Elements::Float(_)) if inputs.len() == 2 => {
            let f = float_binary(op);
            binary(inputs, |array| array.floats(), |a, b| f(*a, *b), Array::float)?
        }
        (Op::Add {} | Op::Sub {} | Op::Mul {}, Elements::Int(_)) => {
            let f = match op {
                Op::Add {} => i64::wrapping_add,
                Op::Sub {} => i64::wrapping_sub,
                _ => i64::wrapping_mul,
            };
            binary(inputs, |array| array.ints(), |a, b| f(*a, *b), Array::int)?
        }
        (_, Elements::Int(_)) => {
            let f: fn(&i64, &i64) -> bool = match op {
                Op::Equal {} => |a, b| a == b,
                Op::Less {} => |a, b| a < b,
                _ => |a, b| a <= b,
            };
            binary(inputs, |array| array.ints(), |a, b| truth(f(a, b)), Array::float)?
        }
        (_, Elements::Float(x)) => Array::float(inputs[0].shape.clone(), x.iter().map(|x| unary(op, *x)).collect()),
    }])
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// `Maximum` and `Minimum` hand on a NaN from either side, as PyTorch does.
fn float_binary(op: &Op) -> fn(f64, f64) -> f64 {
    match op {
        Op::Add {} => |a, b| a + b,
        Op::Sub {} => |a, b| a - b,
        Op::Mul {} => |a, b| a * b,
        Op::Div {} => |a, b| a / b,
        Op::Maximum {} => |a, b| if a.is_nan() || a > b { a } else { b },
        Op::Minimum {} => |a, b| if a.is_nan() || a < b { a } else { b },
        Op::Equal {} => |a, b| truth(a == b),
        Op::Less {} => |a, b| truth(a < b),
        _ => |a, b| truth(a <= b),
    }
}

fn unary(op: &Op, x: f64) -> f64 {
    match op {
        Op::Neg {} => -x,
        Op::Abs {} => x.abs(),
        Op::Sign {} => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        Op::Exp {} => x.exp(),
        Op::Log {} => x.ln(),
        Op::Sqrt {} => x.sqrt(),
        Op::Sigmoid {} => 1.0 / (1.0 + (-x).exp()),
        Op::Tanh {} => x.tanh(),
        Op::Relu {} => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Op::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Op::Elu { alpha } => {
            if x > 0.0 {
                x
            } else {
                alpha * x.exp_m1()
            }
        }
        Op::Clamp { min, max } => {
            if x < *min {
                *min
            } else if x > *max {
                *max
            } else {
                x
            }
        }
        Op::Pow { exponent } => x.powf(*exponent),
        _ => x,
    }
}

fn cast(dtype: Dtype, x: &Array) -> Array {
    match (dtype, &x.elements) {
        (Dtype::F32, Elements::Int(v)) => {
            Array::float(x.shape.clone(), v.iter().map(|n| f64::from(*n as f32)).collect())
        }
        (Dtype::I64, Elements::Float(v)) => Array::int(x.shape.clone(), v.iter().map(|x| *x as i64).collect()),
        _ => x.clone(),
    }
}

/// For every element of `shape`, the position in an array of extents `from` that broadcasts to it.
pub(crate) fn broadcast_positions(from: &[usize], shape: &[usize]) -> Vec<usize> {
    let lead = shape.len() - from.len();
    let steps: Vec<usize> = strides(from).iter().zip(from).map(|(s, n)| if *n == 1 { 0 } else { *s }).collect();
    let mut positions = vec![0usize];
    for (axis, extent) in shape.iter().enumerate() {
        let step = if axis < lead { 0 } else { steps[axis - lead] };
        positions = positions.iter().flat_map(|base| (0..*extent).map(move |i| base + i * step)).collect();
    }
    positions
}

fn binary<'a, T: 'a, U>(
    inputs: &[&'a Array],
    view: impl Fn(&'a Array) -> Result<&'a [T]>,
    f: impl Fn(&T, &T) -> U,
    make: impl Fn(Shape, Vec<U>) -> Array,
) -> Result<Array> {
    let (a, b) = (view(inputs[0])?, view(inputs[1])?);
    if inputs[0].shape == inputs[1].shape {
        return Ok(make(inputs[0].shape.clone(), a.iter().zip(b).map(|(a, b)| f(a, b)).collect()));
    }
    let shape = broadcast_shape(&[&inputs[0].shape, &inputs[1].shape])?;
    let at = broadcast_positions(&inputs[0].shape, &shape);
    let bt = broadcast_positions(&inputs[1].shape, &shape);
    Ok(make(shape, at.iter().zip(&bt).map(|(i, j)| f(&a[*i], &b[*j])).collect()))
}

fn select(inputs: &[&Array]) -> Result<Array> {
    let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape.as_slice()).collect();
    let shape = broadcast_shape(&shapes)?;
    let at: Vec<Vec<usize>> = shapes.iter().map(|from| broadcast_positions(from, &shape)).collect();
    let (c, yes, no) = (inputs[0].floats()?, inputs[1].floats()?, inputs[2].floats()?);
    let pick = |i: usize| if c[at[0][i]] != 0.0 { yes[at[1][i]] } else { no[at[2][i]] };
    Ok(Array::float(shape, (0..at[0].len()).map(pick).collect()))
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, extents, random};
    use super::*;
    use crate::random::Stream;

    /// Random elements that keep away from the kinks at 0 and at the bounds of `clamp`.
    fn smooth(stream: &mut Stream, shape: &[usize]) -> Array {
        let magnitude = random(stream, shape, [0.2, 0.9]);
        let signed = magnitude.floats().unwrap().iter().map(|x| if stream.uniform() < 0.5 { -x } else { *x }).collect();
        Array::float(shape, signed)
    }

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = unary(stream);
        let shapes = [(vec![2, 3], vec![2, 3]), (vec![2, 1, 3], vec![4, 1]), (vec![], vec![2, 2]), (vec![3], vec![1])];
        for op in [Op::Add {}, Op::Sub {}, Op::Mul {}, Op::Div {}, Op::Maximum {}, Op::Minimum {}] {
            for (a, b) in &shapes {
                cases.push(Case::new(op.clone(), [random(stream, a, [0.5, 2.0]), random(stream, b, [0.5, 2.0])]));
            }
        }
        // A condition is 0 or not: half of them would change if they were moved.
        let condition = Array::float([2, 1], vec![0.0, 1.0]);
        let arrays = vec![condition, smooth(stream, &[3]), smooth(stream, &[2, 3])];
        cases.push(Case { op: Op::Select {}, arrays, held: &[0] });
        cases
    }

    fn unary(stream: &mut Stream) -> Vec<Case> {
        let any = [
            Op::Neg {},
            Op::Abs {},
            Op::Exp {},
            Op::Sigmoid {},
            Op::Tanh {},
            Op::Relu {},
            Op::LeakyRelu { slope: 0.2 },
            Op::Elu { alpha: 1.3 },
            Op::Clamp { min: -0.1, max: 0.1 },
            Op::Clamp { min: -1.0, max: 0.1 },
            Op::Pow { exponent: 2.0 },
        ];
        let positive = [Op::Log {}, Op::Sqrt {}, Op::Pow { exponent: -0.5 }];
        let mut cases = Vec::new();
        for op in any {
            let shape = extents(stream, 3, 3);
            cases.push(Case::new(op, [smooth(stream, &shape)]));
        }
        for op in positive {
            let shape = extents(stream, 2, 4);
            cases.push(Case::new(op, [random(stream, &shape, [0.5, 2.0])]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::evaluate;
    use super::*;

    #[test]
    fn values_at_the_kinks_are_those_that_the_table_promises() {
        let x = Array::float([3], vec![-1.0, 0.0, 2.0]);
        let gradient = |op: Op| {
            evaluate(std::slice::from_ref(&x), |b, x| {
                let y = b.node(op.clone(), x)?;
                let loss = b.sum(y, &[0])?;
                Ok(crate::autodiff::differentiate(b, loss, x)?.into_iter().flatten().collect())
            })
            .remove(0)
        };
        assert_eq!(gradient(Op::Relu {}).floats().unwrap(), [0.0, 0.0, 1.0]);
        assert_eq!(gradient(Op::Abs {}).floats().unwrap(), [-1.0, 0.0, 1.0]);
        assert_eq!(gradient(Op::LeakyRelu { slope: 0.25 }).floats().unwrap(), [0.25, 0.25, 1.0]);
        assert_eq!(gradient(Op::Clamp { min: -1.0, max: 1.0 }).floats().unwrap(), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_named() {
        let error = Op::Add {}.infer(&[&ValueType::f32([2, 3]), &ValueType::f32([2])]).unwrap_err();
        assert_eq!(error.message(), "shapes [[2, 3], [2]] do not broadcast");
    }
}
