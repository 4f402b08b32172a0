//! Softmax and batch normalisation.

use candle_core::{Result, Tensor};

use super::arithmetic;

fn shifted(x: &Tensor, axis: usize) -> Result<Tensor> {
    x.broadcast_sub(&x.max_keepdim(axis)?)
}

pub(super) fn softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let e = shifted(x, axis)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(axis)?)
}

pub(super) fn log_softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let x = shifted(x, axis)?;
    x.broadcast_sub(&x.exp()?.sum_keepdim(axis)?.log()?)
}

/// A vector `[C]` beside `x [N, C, ..]`.
fn column(vector: &Tensor, x: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[1] = vector.elem_count();
    vector.reshape(shape)
}

/// All axes but the channels'.
fn others(x: &Tensor) -> Vec<usize> {
    (0..x.rank()).filter(|a| *a != 1).collect()
}

/// Sum for each channel, `[C]`.
fn sum(x: &Tensor) -> Result<Tensor> {
    arithmetic::sum(x, &others(x))?.flatten_all()
}

/// Elements of a channel.
fn count(x: &Tensor) -> f64 {
    (x.elem_count() / x.dims()[1]) as f64
}

fn inverse_deviation(var: &Tensor, eps: f64) -> Result<Tensor> {
    var.affine(1.0, eps)?.sqrt()?.recip()
}

pub(super) fn batch_norm(x: &[Tensor], eps: f64) -> Result<Tensor> {
    let [x, weight, bias, mean, var] = x else { return Err(operands()) };
    let scale = (weight * inverse_deviation(var, eps)?)?;
    let centred = x.broadcast_sub(&column(mean, x)?)?;
    centred.broadcast_mul(&column(&scale, x)?)?.broadcast_add(&column(bias, x)?)
}

pub(super) fn batch_norm_train(x: &[Tensor], eps: f64) -> Result<Vec<Tensor>> {
    let [x, weight, bias] = x else { return Err(operands()) };
    let mean = sum(x)?.affine(1.0 / count(x), 0.0)?;
    let var = sum(&x.broadcast_sub(&column(&mean, x)?)?.sqr()?)?.affine(1.0 / count(x), 0.0)?;
    let operands = [x.clone(), weight.clone(), bias.clone(), mean.clone(), var.clone()];
    Ok(vec![batch_norm(&operands, eps)?, mean, var])
}

/// `dx = weight * s * (dy - mean(dy) - xhat * mean(dy * xhat))`.
pub(super) fn batch_norm_train_grad(x: &[Tensor], eps: f64) -> Result<Vec<Tensor>> {
    let [x, weight, mean, var, dy] = x else { return Err(operands()) };
    let s = inverse_deviation(var, eps)?;
    let normal = x.broadcast_sub(&column(mean, x)?)?.broadcast_mul(&column(&s, x)?)?;
    let (dbias, dweight) = (sum(dy)?, sum(&(dy * &normal)?)?);
    let mean_of = |total: &Tensor| column(&total.affine(1.0 / count(x), 0.0)?, x);
    let centred = (dy.broadcast_sub(&mean_of(&dbias)?)? - normal.broadcast_mul(&mean_of(&dweight)?)?)?;
    let dx = centred.broadcast_mul(&column(&(weight * s)?, x)?)?;
    Ok(vec![dx, dweight, dbias])
}

fn operands() -> candle_core::Error {
    candle_core::Error::Msg("has another number of operands".to_owned())
}
