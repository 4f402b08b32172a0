//! The gradient of a maximum over axes.

use super::Operands;
use super::emit::{Emitter, Name};
use super::index::is_index;

/// `dy` at the first maximal element of `x` in row-major order, 0 elsewhere.
///
/// The reduced axes are brought behind the others and joined, so that one argmax finds the element.
pub(super) fn max_grad(e: &mut Emitter, x: &Operands<'_>, axes: &[usize]) -> Name {
    if axes.is_empty() {
        return x.name(1).to_owned();
    }
    let shape = &x.ty(0).shape;
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let extents: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let (outer, inner) = extents.split_at(kept.len());
    let joined = [outer.iter().product(), inner.iter().product()];
    let rows = e.transpose(x.name(0), &order);
    let rows = e.reshape(&rows, &extents, &joined);
    let mask = {
        let best = e.node("ArgMax", &[&rows], super::index::argmax_attributes(1, true));
        is_index(e, &best, joined[1])
    };
    let dy = e.reshape(x.name(1), &x.ty(1).shape, &[joined[0], 1]);
    let zero = e.number(0.0);
    let dx = e.node("Where", &[&mask, &dy, &zero], vec![]);
    let dx = e.reshape(&dx, &joined, &extents);
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, axis)| back[*axis] = i);
    e.transpose(&dx, &back)
}
