//! Optimiser steps with PyTorch's arithmetic.

use candle_core::{Error, Result, Tensor};
use mimus_core::Op;

use super::lower::Lowered;

pub(super) fn sgd(x: &[Tensor], momentum: f64, weight_decay: f64, nesterov: bool) -> Result<Vec<Tensor>> {
    let [p, g, lr, rest @ ..] = x else { return Err(operands()) };
    let g = (g + p.affine(weight_decay, 0.0)?)?;
    let step = |d: &Tensor| p - d.broadcast_mul(lr)?;
    let [buffer] = rest else { return Ok(vec![step(&g)?]) };
    let buffer = (buffer.affine(momentum, 0.0)? + &g)?;
    let direction = if nesterov { (g + buffer.affine(momentum, 0.0)?)? } else { buffer.clone() };
    Ok(vec![step(&direction)?, buffer])
}

pub(super) fn adam(op: &Op) -> Lowered {
    let op = op.clone();
    Box::new(move |x| {
        let Op::Adam { beta1, beta2, eps, weight_decay, decoupled } = op else { return Err(operands()) };
        let [p, g, m, v, lr, step] = x else { return Err(operands()) };
        let (lr, t) = (f64::from(lr.to_scalar::<f32>()?), f64::from(step.to_scalar::<f32>()?));
        let (l2, shrink) = if decoupled { (0.0, 1.0 - lr * weight_decay) } else { (weight_decay, 1.0) };
        let g = (g + p.affine(l2, 0.0)?)?;
        let m = (m.affine(beta1, 0.0)? + g.affine(1.0 - beta1, 0.0)?)?;
        let v = (v.affine(beta2, 0.0)? + g.sqr()?.affine(1.0 - beta2, 0.0)?)?;
        let correction = 1.0 / (1.0 - beta2.powf(t)).sqrt();
        let divisor = v.sqrt()?.affine(correction, eps)?;
        let change = (m.affine(lr / (1.0 - beta1.powf(t)), 0.0)? / divisor)?;
        Ok(vec![(p.affine(shrink, 0.0)? - change)?, m, v])
    })
}

fn operands() -> Error {
    Error::Msg("has another number of operands".to_owned())
}
