//! Resampling of the spatial axes, as PyTorch's `interpolate` without antialiasing, and its gradient.

use super::{GradientContext, InputGradients, Mode, Op, check, expect_inputs};
use crate::error::Result;
use crate::reference::Array;
use crate::tensor::ValueType;

fn parts(op: &Op) -> Result<(&[usize], Mode, bool)> {
    match op {
        Op::Resize { size, mode, align_corners } | Op::ResizeGrad { size, mode, align_corners } => {
            Ok((size, *mode, *align_corners))
        }
        _ => check::fail("is no resampling"),
    }
}

/// Constraints: C1 f32; C2 1 to 3 spatial axes, one extent for each; C3 extents at least 1; C4 `align_corners` is for linear only.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    expect_inputs(op, inputs, 1..=1)?;
    check::floats(inputs)?;
    let (size, mode, align_corners) = parts(op)?;
    let x = &inputs[0].shape;
    let rank = x.len().saturating_sub(2);
    if !(1..=3).contains(&rank) {
        return check::fail(format!("has {rank} spatial axes, expects 1 to 3"));
    }
    check::per_axis("size", size, rank)?;
    if align_corners && mode == Mode::Nearest {
        return check::fail("align_corners is for linear resampling only");
    }
    Ok(vec![check::sized(inputs[0].dtype, [&x[..2], size].concat())?])
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None]) };
    let (_, mode, align_corners) = parts(op)?;
    let size = context.builder.shape(context.inputs[0])[2..].to_vec();
    let adjoint = match op {
        Op::Resize { .. } => Op::ResizeGrad { size, mode, align_corners },
        _ => Op::Resize { size, mode, align_corners },
    };
    Ok(vec![Some(context.builder.node(adjoint, &[dy])?)])
}

/// For every target position along one axis: two sources and the weight of the second.
///
/// Linear sources are `(i + 0.5) * n / m - 0.5`, not below 0, or `i * (n - 1) / (m - 1)` if corners are aligned; the nearest
/// source is `floor(i * n / m)`.
pub fn taps(n: usize, m: usize, mode: Mode, align_corners: bool) -> Vec<(usize, usize, f64)> {
    let source = |i: usize| match (mode, align_corners) {
        (Mode::Nearest, _) => (i * n / m) as f64,
        (Mode::Linear, true) if m == 1 => 0.0,
        (Mode::Linear, true) => i as f64 * (n - 1) as f64 / (m - 1) as f64,
        (Mode::Linear, false) => ((i as f64 + 0.5) * n as f64 / m as f64 - 0.5).max(0.0),
    };
    let tap = |i: usize| {
        let at = source(i);
        let first = (at as usize).min(n - 1);
        (first, (first + 1).min(n - 1), at - first as f64)
    };
    (0..m).map(tap).collect()
}

/// Resamples one axis of `[outer, n, inner]` to `m`, or applies the adjoint (from `m` back to `n`).
fn axis(x: &[f64], inner: usize, taps: &[(usize, usize, f64)], n: usize, adjoint: bool) -> Vec<f64> {
    let m = taps.len();
    let (from, to) = if adjoint { (m, n) } else { (n, m) };
    let outer = x.len() / (from * inner);
    let mut y = vec![0.0; outer * to * inner];
    for o in 0..outer {
        for (i, (first, second, weight)) in taps.iter().enumerate() {
            for (source, weight) in [(*first, 1.0 - weight), (*second, *weight)] {
                let (from_row, to_row) =
                    if adjoint { (o * from + i, o * to + source) } else { (o * from + source, o * to + i) };
                let x = &x[from_row * inner..][..inner];
                y[to_row * inner..][..inner].iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
            }
        }
    }
    y
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let (size, mode, align_corners) = parts(op)?;
    let mut shape = inputs[0].shape.clone();
    let mut values = inputs[0].floats()?.to_vec();
    for a in 2..shape.len() {
        let inner: usize = shape[a + 1..].iter().product();
        let adjoint = matches!(op, Op::ResizeGrad { .. });
        let (n, m) = if adjoint { (size[a - 2], shape[a]) } else { (shape[a], size[a - 2]) };
        values = axis(&values, inner, &taps(n, m, mode, align_corners), n, adjoint);
        shape[a] = size[a - 2];
    }
    Ok(vec![Array::float(shape, values)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, extents, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = Vec::new();
        for (mode, align_corners) in [(Mode::Nearest, false), (Mode::Linear, false), (Mode::Linear, true)] {
            for rank in 1..4 {
                let (from, to) = (extents(stream, rank, 4), extents(stream, rank, 7));
                let x = |size: &[usize]| [&[2, 1], size].concat();
                let resize = Op::Resize { size: to.clone(), mode, align_corners };
                cases.push(Case::new(resize, [random(stream, &x(&from), [-1.0, 1.0])]));
                let back = Op::ResizeGrad { size: from, mode, align_corners };
                cases.push(Case::new(back, [random(stream, &x(&to), [-1.0, 1.0])]));
            }
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_interpolate() {
        let x = Array::float([1, 1, 2], vec![0.0, 1.0]);
        let run = |mode, align_corners| {
            let op = Op::Resize { size: vec![4], mode, align_corners };
            op.evaluate(&[&x]).unwrap()[0].floats().unwrap().to_vec()
        };
        assert_eq!(run(Mode::Nearest, false), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(run(Mode::Linear, false), [0.0, 0.25, 0.75, 1.0]);
        let aligned = run(Mode::Linear, true);
        assert!(aligned.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-15));
    }
}
