//! Sums, means and maxima over axes.

use tch::{Kind, Tensor};

use super::{Kernel, Site, extents, one};

/// No axes mean none here and all to the engine.
fn over(axes: &[usize], reduce: impl Fn(&Tensor, &[i64]) -> Result<Tensor, tch::TchError> + Send + 'static) -> Kernel {
    let axes = extents(axes);
    if axes.is_empty() {
        return one(|x| Ok(x[0].shallow_clone()));
    }
    one(move |x| reduce(&x[0], &axes))
}

pub(super) fn sum(axes: &[usize], keep: bool) -> Kernel {
    over(axes, move |x, axes| x.f_sum_dim_intlist(axes, keep, None::<Kind>))
}

pub(super) fn mean(axes: &[usize], keep: bool) -> Kernel {
    over(axes, move |x, axes| x.f_mean_dim(axes, keep, None::<Kind>))
}

pub(super) fn max(axes: &[usize], keep: bool) -> Kernel {
    over(axes, move |x, axes| x.f_amax(axes, keep))
}

/// Sends the gradient of a maximum to the first maximal element in row-major order, which is what the engine's `argmax` finds.
pub(super) fn max_gradient(axes: &[usize], site: Site<'_>) -> Kernel {
    let shape = site.inputs[0].shape.clone();
    let order: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
    let moved = extents(&order.iter().map(|axis| shape[*axis]).collect::<Vec<_>>());
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, axis)| inverse[*axis] = i as i64);
    let order = extents(&order);
    let rows = site.inputs[1].elements() as i64;
    one(move |operands| {
        let (x, dy) = (&operands[0], &operands[1]);
        let matrix = x.f_permute(&order)?.f_reshape([rows, -1])?;
        let first = matrix.f_argmax(1, true)?;
        let dx = matrix.f_zeros_like()?.f_scatter_(1, &first, &dy.f_reshape([rows, 1])?)?;
        dx.f_reshape(&moved)?.f_permute(&inverse)
    })
}
