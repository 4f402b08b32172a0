//! Optimiser steps with PyTorch's arithmetic.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::reference::Array;
use crate::tensor::ValueType;

/// Number of inputs that have the parameter's shape; the scalars come after `p, g` and, for Adam, the moments.
fn layout(op: &Op) -> Result<(usize, &'static [usize])> {
    match op {
        Op::Sgd { momentum, .. } if *momentum == 0.0 => Ok((3, &[2])),
        Op::Sgd { .. } => Ok((4, &[2])),
        Op::Adam { .. } => Ok((6, &[4, 5])),
        _ => check::fail("is no optimiser"),
    }
}

/// Constraints: C1 f32; C2 scalars where the operator says so; C3 all other inputs have the parameter's shape.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let (n, scalars) = layout(op)?;
    expect_inputs(op, inputs, n..=n)?;
    check::floats(inputs)?;
    for (i, ty) in inputs.iter().enumerate() {
        let expected: &[usize] = if scalars.contains(&i) { &[] } else { &inputs[0].shape };
        check::shape(&format!("input {i}"), ty, expected)?;
    }
    Ok(vec![inputs[0].clone(); n - 1 - scalars.len()])
}

pub(super) fn gradient(op: &Op, _: &mut GradientContext<'_>) -> Result<InputGradients> {
    check::fail(format!("{} has no gradient: it is a step, not a function of the loss", op.name()))
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let values: Vec<&[f64]> = inputs.iter().map(|x| x.floats()).collect::<Result<_>>()?;
    let array = |v: Vec<f64>| Array::float(inputs[0].shape.clone(), v);
    let (p, g) = (values[0], values[1]);
    match op {
        Op::Sgd { momentum, weight_decay, nesterov } => {
            let lr = values[2][0];
            let g: Vec<f64> = g.iter().zip(p).map(|(g, p)| g + weight_decay * p).collect();
            let step = |d: &[f64]| array(p.iter().zip(d).map(|(p, d)| p - lr * d).collect());
            if *momentum == 0.0 {
                return Ok(vec![step(&g)]);
            }
            let buffer: Vec<f64> = values[3].iter().zip(&g).map(|(b, g)| momentum * b + g).collect();
            let look_ahead: Vec<f64> = g.iter().zip(&buffer).map(|(g, b)| g + momentum * b).collect();
            Ok(vec![step(if *nesterov { &look_ahead } else { &buffer }), array(buffer)])
        }
        Op::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
            let (lr, t) = (values[4][0], values[5][0]);
            let (c1, c2) = (1.0 - beta1.powf(t), (1.0 - beta2.powf(t)).sqrt());
            let (l2, shrink) = if *decoupled { (0.0, 1.0 - lr * weight_decay) } else { (*weight_decay, 1.0) };
            let (mut new_p, mut new_m, mut new_v) = (Vec::new(), Vec::new(), Vec::new());
            for (((p, g), m), v) in p.iter().zip(g).zip(values[2]).zip(values[3]) {
                let g = g + l2 * p;
                let m = beta1 * m + (1.0 - beta1) * g;
                let v = beta2 * v + (1.0 - beta2) * g * g;
                new_p.push(p * shrink - lr / c1 * m / (v.sqrt() / c2 + eps));
                new_m.push(m);
                new_v.push(v);
            }
            Ok(vec![array(new_p), array(new_m), array(new_v)])
        }
        _ => check::fail("is no optimiser"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(x: f64) -> Array {
        Array::float([], vec![x])
    }

    fn run(op: &Op, inputs: &[f64]) -> Vec<f64> {
        let arrays: Vec<Array> = inputs.iter().map(|x| scalar(*x)).collect();
        let results = op.evaluate(&arrays.iter().collect::<Vec<_>>()).unwrap();
        results.iter().map(|y| y.floats().unwrap()[0]).collect()
    }

    #[test]
    fn the_first_step_of_adam_has_the_size_of_the_learning_rate() {
        let op = Op::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
        let y = run(&op, &[1.0, 0.5, 0.0, 0.0, 0.1, 1.0]);
        assert!((y[0] - (1.0 - 0.1 * 0.5 / (0.5 + 1e-8))).abs() < 1e-12);
        assert!((y[1] - 0.05).abs() < 1e-15 && (y[2] - 0.00025).abs() < 1e-15);
    }

    #[test]
    fn decoupled_decay_shrinks_the_parameter_and_leaves_the_moments() {
        let op = Op::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.5, decoupled: true };
        let y = run(&op, &[2.0, 0.0, 0.0, 0.0, 0.1, 1.0]);
        assert_eq!(y, [2.0 * 0.95, 0.0, 0.0]);
    }

    #[test]
    fn sgd_with_and_without_momentum() {
        let plain = Op::Sgd { momentum: 0.0, weight_decay: 0.1, nesterov: false };
        assert!((run(&plain, &[1.0, 0.5, 0.1])[0] - 0.94).abs() < 1e-12);
        let nesterov = Op::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: true };
        let y = run(&nesterov, &[1.0, 0.5, 0.1, 1.0]);
        assert!((y[1] - 1.4).abs() < 1e-12 && (y[0] - (1.0 - 0.1 * (0.5 + 0.9 * 1.4))).abs() < 1e-12);
    }
}
