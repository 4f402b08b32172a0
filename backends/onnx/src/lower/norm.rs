//! Batch normalisation with the batch's statistics, and its gradient.

use super::Operands;
use super::emit::{Emitter, Name};
use crate::model::AttributeDef;

pub(super) fn batch_norm(e: &mut Emitter, x: &Operands<'_>, eps: f64) -> Name {
    e.node("BatchNormalization", &x.all(), vec![AttributeDef::float("epsilon", eps)])
}

/// Extents by which a vector of channels broadcasts over `x`, and the axes over which statistics are taken.
fn channels(shape: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut column = vec![1; shape.len()];
    column[1] = shape[1];
    (column, (0..shape.len()).filter(|axis| *axis != 1).collect())
}

/// `1 / sqrt(var + eps)`.
fn inverse_deviation(e: &mut Emitter, var: &str, eps: f64) -> Name {
    let eps = e.number(eps);
    let shifted = e.binary("Add", var, &eps);
    let root = e.unary("Sqrt", &shifted);
    e.unary("Reciprocal", &root)
}

pub(super) fn batch_norm_train(e: &mut Emitter, x: &Operands<'_>, eps: f64) -> Vec<Name> {
    let shape = &x.ty(0).shape;
    let (column, axes) = channels(shape);
    let vector = &column[1..2];
    let mean = e.reduce("ReduceMean", x.name(0), &axes, true);
    let centred = e.binary("Sub", x.name(0), &mean);
    let squares = e.binary("Mul", &centred, &centred);
    let var = e.reduce("ReduceMean", &squares, &axes, true);
    let inverse = inverse_deviation(e, &var, eps);
    let (weight, bias) = (e.reshape(x.name(1), vector, &column), e.reshape(x.name(2), vector, &column));
    let slope = e.binary("Mul", &inverse, &weight);
    let scaled = e.binary("Mul", &centred, &slope);
    let y = e.binary("Add", &scaled, &bias);
    vec![y, e.reshape(&mean, &column, vector), e.reshape(&var, &column, vector)]
}

/// `dx = weight * s * (dy - mean(dy) - xhat * mean(dy * xhat))` with `s = 1 / sqrt(var + eps)`, `xhat = (x - mean) * s`.
pub(super) fn batch_norm_train_grad(e: &mut Emitter, x: &Operands<'_>, eps: f64) -> Vec<Name> {
    let shape = &x.ty(0).shape;
    let (column, axes) = channels(shape);
    let vector = &column[1..2];
    let n = (x.ty(0).elements() / shape[1]) as f64;
    let [weight, mean, var] = [1, 2, 3].map(|i| e.reshape(x.name(i), vector, &column));
    let inverse = inverse_deviation(e, &var, eps);
    let centred = e.binary("Sub", x.name(0), &mean);
    let product = e.binary("Mul", x.name(4), &centred);
    let sum_product = e.reduce("ReduceSum", &product, &axes, true);
    let dweight = e.binary("Mul", &sum_product, &inverse);
    let dbias = e.reduce("ReduceSum", x.name(4), &axes, true);
    // dx = slope * dy - (slope * s * dweight / n) * (x - mean) - slope * dbias / n
    let slope = e.binary("Mul", &weight, &inverse);
    let share = e.number(-1.0 / n);
    let share = e.binary("Mul", &slope, &share);
    let term = e.binary("Mul", &share, &dbias);
    let steep = e.binary("Mul", &share, &inverse);
    let steep = e.binary("Mul", &steep, &dweight);
    let along = e.binary("Mul", x.name(4), &slope);
    let against = e.binary("Mul", &centred, &steep);
    let dx = e.binary("Add", &along, &against);
    let dx = e.binary("Add", &dx, &term);
    vec![dx, e.reshape(&dweight, &column, vector), e.reshape(&dbias, &column, vector)]
}
