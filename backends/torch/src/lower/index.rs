//! Positions as values. Indices are checked on the host, before the engine reads out of bounds.

use mimus_core::Error;
use tch::{Kind, Tensor};

use super::{Kernel, Site, one};
use crate::error::Failure;

fn check(indices: &Tensor, rows: i64) -> Result<(), Failure> {
    let flat = indices.f_flatten(0, -1)?.f_to_device(tch::Device::Cpu)?.f_contiguous()?;
    let mut found = vec![0_i64; flat.numel()];
    let count = found.len();
    flat.f_copy_data(&mut found, count)?;
    match found.into_iter().find(|index| !(0..rows).contains(index)) {
        None => Ok(()),
        Some(index) => Err(Error::backend(format!("index {index} is outside 0..{rows}")).into()),
    }
}

/// The engine takes the first of equal maxima.
pub(super) fn argmax(axis: usize) -> Kernel {
    one(move |x| x[0].f_argmax(axis as i64, false))
}

pub(super) fn one_hot(depth: usize, site: Site<'_>) -> Kernel {
    let (shape, device, depth) = (site.output(), site.settings.device, depth as i64);
    Box::new(move |x| {
        check(&x[0], depth)?;
        let mut zeros = Tensor::f_zeros(&shape, (Kind::Float, device))?;
        Ok(vec![zeros.f_scatter_value_(-1, &x[0].f_unsqueeze(-1)?, 1.0)?])
    })
}

pub(super) fn gather(site: Site<'_>) -> Kernel {
    let (rows, shape) = (site.shape(0)[0], site.output());
    Box::new(move |x| {
        check(&x[1], rows)?;
        Ok(vec![x[0].f_index_select(0, &x[1].f_flatten(0, -1)?)?.f_reshape(&shape)?])
    })
}

pub(super) fn gather_gradient(rows: usize, site: Site<'_>) -> Kernel {
    let (shape, device, rows) = (site.output(), site.settings.device, rows as i64);
    let count = site.inputs[0].elements() as i64;
    let source: Vec<i64> = std::iter::once(count).chain(shape[1..].iter().copied()).collect();
    Box::new(move |operands| {
        let (indices, dy) = (&operands[0], &operands[1]);
        check(indices, rows)?;
        let mut zeros = Tensor::f_zeros(&shape, (Kind::Float, device))?;
        Ok(vec![zeros.f_index_add_(0, &indices.f_flatten(0, -1)?, &dy.f_reshape(&source)?)?])
    })
}
