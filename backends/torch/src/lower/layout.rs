//! The same elements elsewhere, without a copy where strides can say it.

use super::{Kernel, Site, extents, one};

pub(super) fn reshape(site: Site<'_>) -> Kernel {
    let shape = site.output();
    one(move |x| x[0].f_reshape(&shape))
}

pub(super) fn permute(order: &[usize]) -> Kernel {
    let order = extents(order);
    one(move |x| x[0].f_permute(&order))
}

pub(super) fn slice(starts: &[usize], site: Site<'_>) -> Kernel {
    let lengths = site.output();
    let full = site.shape(0);
    let cuts: Vec<(i64, i64, i64)> = (0..full.len())
        .filter(|axis| lengths[*axis] != full[*axis])
        .map(|axis| (axis as i64, starts[axis] as i64, lengths[axis]))
        .collect();
    one(move |x| {
        let mut cuts = cuts.iter();
        cuts.try_fold(x[0].shallow_clone(), |x, (axis, start, length)| x.f_narrow(*axis, *start, *length))
    })
}

pub(super) fn concat(axis: usize) -> Kernel {
    one(move |x| tch::Tensor::f_cat(&x, axis as i64))
}

pub(super) fn pad(before: &[usize], after: &[usize], value: f64) -> Kernel {
    // The engine wants the last axis first.
    let sides: Vec<i64> = before.iter().zip(after).rev().flat_map(|(b, a)| [*b as i64, *a as i64]).collect();
    one(move |x| x[0].f_pad(&sides, "constant", value))
}

pub(super) fn broadcast(site: Site<'_>) -> Kernel {
    let shape = site.output();
    one(move |x| x[0].f_expand(&shape, false))
}
