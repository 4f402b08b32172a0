//! Positions as values. Indices are checked on the host, before a device reads out of bounds.

use candle_core::{DType, Error, Result, Tensor};

use super::arithmetic::first_maximum;

fn check(indices: &Tensor, rows: usize) -> Result<()> {
    for index in indices.flatten_all()?.to_vec1::<i64>()? {
        if usize::try_from(index).ok().is_none_or(|index| index >= rows) {
            return Err(Error::Msg(format!("index {index} is outside 0..{rows}")));
        }
    }
    Ok(())
}

pub(super) fn argmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let rank = x.rank();
    let order: Vec<usize> = (0..rank).filter(|a| *a != axis).chain([axis]).collect();
    let moved = x.permute(order)?.contiguous()?;
    let (n, dims) = (x.dims()[axis], moved.dims().to_vec());
    let (_, first) = first_maximum(&moved.reshape((x.elem_count() / n, n))?)?;
    first.reshape(&dims[..rank - 1])?.to_dtype(DType::I64)
}

pub(super) fn one_hot(indices: &Tensor, depth: usize) -> Result<Tensor> {
    check(indices, depth)?;
    let positions = Tensor::arange(0_i64, depth as i64, indices.device())?;
    indices.unsqueeze(indices.rank())?.broadcast_eq(&positions)?.to_dtype(DType::F32)
}

pub(super) fn gather(x: &Tensor, indices: &Tensor) -> Result<Tensor> {
    check(indices, x.dims()[0])?;
    let shape = [indices.dims(), &x.dims()[1..]].concat();
    x.index_select(&indices.flatten_all()?, 0)?.reshape(shape)
}

pub(super) fn gather_gradient(indices: &Tensor, dy: &Tensor, rows: usize) -> Result<Tensor> {
    check(indices, rows)?;
    let row = &dy.dims()[indices.rank()..];
    let source = dy.reshape([&[indices.elem_count()], row].concat())?;
    let zeros = Tensor::zeros([&[rows], row].concat(), DType::F32, dy.device())?;
    zeros.index_add(&indices.flatten_all()?, &source, 0)
}
