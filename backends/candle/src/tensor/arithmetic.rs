//! Selections, with NaN and ties as the contract wants them, and sums that keep their digits.

use candle_core::{DType, Result, Tensor};

/// `a` where `condition` is not 0, else `b`; all broadcast.
pub(super) fn select(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = condition.shape().broadcast_shape_binary_op(a.shape(), "select")?;
    let shape = shape.broadcast_shape_binary_op(b.shape(), "select")?;
    let wide = |x: &Tensor| x.broadcast_as(&shape)?.contiguous();
    wide(condition)?.where_cond(&wide(a)?, &wide(b)?)
}

/// `a` where it wins or is NaN, else `b`.
pub(super) fn extreme(a: &Tensor, b: &Tensor, wins: fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
    select(&wins(a, b)?.broadcast_add(&a.ne(a)?)?, a, b)
}

/// The sum over `axes`, kept with extent 1: axis by axis, innermost first, so that no sum of f32 has many addends.
pub(super) fn sum(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    axes.iter().rev().try_fold(x.clone(), |x, axis| x.sum_keepdim(*axis))
}

/// For rows `[R, K]`: 1 at the first maximum of each, else 0; and the position of the first maximum, `[R, 1]`.
pub(super) fn first_maximum(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = x.dim(1)?;
    let positions = Tensor::arange(0.0_f32, n as f32, x.device())?.reshape((1, n))?;
    let maximal = x.broadcast_eq(&x.max_keepdim(1)?)?;
    let end = Tensor::full(n as f32, (1, 1), x.device())?;
    let first = select(&maximal, &positions, &end)?.min_keepdim(1)?;
    Ok((positions.broadcast_eq(&first)?.to_dtype(DType::F32)?, first))
}

/// Sends the gradient of a maximum over `axes` to the first maximal element.
pub(super) fn max_gradient(x: &Tensor, dy: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let kept = (0..x.rank()).filter(|a| !axes.contains(a));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let moved = x.permute(order.as_slice())?.contiguous()?;
    let (ones, _) = first_maximum(&moved.reshape((dy.elem_count(), x.elem_count() / dy.elem_count()))?)?;
    let dx = ones.broadcast_mul(&dy.reshape((dy.elem_count(), 1))?)?.reshape(moved.shape())?;
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, axis)| inverse[*axis] = i);
    dx.permute(inverse.as_slice())
}
