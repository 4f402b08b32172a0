//! Optimiser steps, written out.

use super::Operands;
use super::emit::{Emitter, Name};
use crate::model::{DOUBLE, FLOAT};

/// `x * factor`, or `x` for a factor of 1.
fn scaled(e: &mut Emitter, x: &str, factor: f64) -> Name {
    if factor == 1.0 {
        return x.to_owned();
    }
    let factor = e.number(factor);
    e.binary("Mul", x, &factor)
}

/// `x + factor * y`, or `x` for a factor of 0.
fn plus(e: &mut Emitter, x: &str, factor: f64, y: &str) -> Name {
    if factor == 0.0 {
        return x.to_owned();
    }
    let term = scaled(e, y, factor);
    e.binary("Add", x, &term)
}

/// Inputs `p`, `g`, `lr` and, with momentum, the buffer.
pub(super) fn sgd(e: &mut Emitter, x: &Operands<'_>, momentum: f64, weight_decay: f64, nesterov: bool) -> Vec<Name> {
    let (p, lr) = (x.name(0), x.name(2));
    let g = plus(e, x.name(1), weight_decay, p);
    let step = |e: &mut Emitter, direction: &str| {
        let step = e.binary("Mul", direction, lr);
        e.binary("Sub", p, &step)
    };
    if momentum == 0.0 {
        return vec![step(e, &g)];
    }
    let decayed = scaled(e, x.name(3), momentum);
    let buffer = e.binary("Add", &decayed, &g);
    let direction = if nesterov { plus(e, &g, momentum, &buffer) } else { buffer.clone() };
    vec![step(e, &direction), buffer]
}

/// The attributes of Adam.
pub(super) struct Adam {
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    pub(super) weight_decay: f64,
    pub(super) decoupled: bool,
}

/// `1 - beta^step`, in double precision: in single it would lose most of its digits in the first steps.
fn correction(e: &mut Emitter, beta: f64, step: &str) -> Name {
    let step = e.cast(step, DOUBLE);
    let double = |e: &mut Emitter, x: f64| e.literal(DOUBLE, &[], x.to_le_bytes().to_vec());
    let (beta, one) = (double(e, beta), double(e, 1.0));
    let power = e.binary("Pow", &beta, &step);
    e.binary("Sub", &one, &power)
}

/// Inputs `p`, `g`, `m`, `v`, `lr`, `step`.
pub(super) fn adam(e: &mut Emitter, x: &Operands<'_>, how: &Adam) -> Vec<Name> {
    let [beta1, beta2] = how.betas;
    let (p, lr, step) = (x.name(0), x.name(4), x.name(5));
    let first = correction(e, beta1, step);
    let rate = e.cast(lr, DOUBLE);
    let rate = e.binary("Div", &rate, &first);
    let rate = e.cast(&rate, FLOAT);
    let second = correction(e, beta2, step);
    let second = e.unary("Sqrt", &second);
    let second = e.cast(&second, FLOAT);

    let g = if how.decoupled { x.name(1).to_owned() } else { plus(e, x.name(1), how.weight_decay, p) };
    let m = scaled(e, x.name(2), beta1);
    let m = plus(e, &m, 1.0 - beta1, &g);
    let square = e.binary("Mul", &g, &g);
    let v = scaled(e, x.name(3), beta2);
    let v = plus(e, &v, 1.0 - beta2, &square);

    let kept = if how.decoupled && how.weight_decay != 0.0 {
        let shrink = scaled(e, lr, -how.weight_decay);
        let one = e.number(1.0);
        let shrink = e.binary("Add", &shrink, &one);
        e.binary("Mul", p, &shrink)
    } else {
        p.to_owned()
    };
    let root = e.unary("Sqrt", &v);
    let root = e.binary("Div", &root, &second);
    let eps = e.number(how.eps);
    let divisor = e.binary("Add", &root, &eps);
    let direction = e.binary("Mul", &m, &rate);
    let direction = e.binary("Div", &direction, &divisor);
    vec![e.binary("Sub", &kept, &direction), m, v]
}
