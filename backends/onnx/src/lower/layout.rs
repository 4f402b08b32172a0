//! Repetition, padding and the like, with their extents as constants.

use super::Operands;
use super::emit::{Emitter, Name};
use crate::model::AttributeDef;

pub(super) fn pad(e: &mut Emitter, x: &Operands<'_>, before: &[usize], after: &[usize], value: f64) -> Name {
    let (pads, value) = (e.list(&[before, after].concat()), e.number(value));
    e.node("Pad", &[x.name(0), &pads, &value], vec![AttributeDef::text("mode", "constant")])
}

pub(super) fn broadcast(e: &mut Emitter, x: &Operands<'_>, shape: &[usize]) -> Name {
    if x.ty(0).shape == shape {
        return x.name(0).to_owned();
    }
    let shape = e.list(shape);
    e.binary("Expand", x.name(0), &shape)
}

pub(super) fn concat(e: &mut Emitter, x: &Operands<'_>, axis: usize) -> Name {
    e.node("Concat", &x.all(), vec![AttributeDef::int("axis", axis as i64)])
}

/// A product; each side may be stored transposed.
pub(super) fn matmul(e: &mut Emitter, x: &Operands<'_>, transpose_a: bool, transpose_b: bool) -> Name {
    let rank = x.ty(0).shape.len();
    if rank == 2 && (transpose_a || transpose_b) {
        let flag = |name, set| AttributeDef::int(name, i64::from(set));
        return e.node("Gemm", &x.all(), vec![flag("transA", transpose_a), flag("transB", transpose_b)]);
    }
    let order: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let side = |e: &mut Emitter, i: usize, transposed: bool| {
        if transposed { e.transpose(x.name(i), &order) } else { x.name(i).to_owned() }
    };
    let (a, b) = (side(e, 0, transpose_a), side(e, 1, transpose_b));
    e.binary("MatMul", &a, &b)
}
