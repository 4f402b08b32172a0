//! Pooling and its gradients.

use super::Operands;
use super::emit::{Emitter, Name};
use super::resize::{Matrix, along_axes};
use crate::model::AttributeDef;

/// The windows of an operator, by spatial axis.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) kernel: &'a [usize],
    pub(super) stride: &'a [usize],
    pub(super) padding: &'a [usize],
}

impl Windows<'_> {
    fn attributes(&self) -> Vec<AttributeDef> {
        vec![
            AttributeDef::ints("kernel_shape", self.kernel),
            AttributeDef::ints("strides", self.stride),
            AttributeDef::ints("pads", &[self.padding, self.padding].concat()),
        ]
    }
}

pub(super) fn max_pool(e: &mut Emitter, x: &Operands<'_>, windows: Windows<'_>) -> Name {
    e.node("MaxPool", &[x.name(0)], windows.attributes())
}

/// Every `dy` is added at the position, among all elements of `x`, of its window's first maximum.
pub(super) fn max_pool_grad(e: &mut Emitter, x: &Operands<'_>, windows: Windows<'_>) -> Name {
    let positions = e.nodes("MaxPool", &[x.name(0)], windows.attributes(), 2).swap_remove(1);
    let (shape, pooled) = (&x.ty(0).shape, &x.ty(1).shape);
    let (n, m) = (x.ty(0).elements(), x.ty(1).elements());
    let positions = e.reshape(&positions, pooled, &[m]);
    let dy = e.reshape(x.name(1), pooled, &[m]);
    let zeros = super::fill(e, &mimus_core::ValueType::f32([n]), 0.0);
    let attributes = vec![AttributeDef::int("axis", 0), AttributeDef::text("reduction", "add")];
    let flat = e.node("ScatterElements", &[&zeros, &positions, &dy], attributes);
    e.reshape(&flat, &[n], shape)
}

pub(super) fn avg_pool(e: &mut Emitter, x: &Operands<'_>, windows: Windows<'_>, count_include_pad: bool) -> Name {
    let mut attributes = windows.attributes();
    attributes.push(AttributeDef::int("count_include_pad", i64::from(count_include_pad)));
    e.node("AveragePool", &[x.name(0)], attributes)
}

/// Means over windows are products of means along each axis, and so is the gradient.
pub(super) fn avg_pool_grad(e: &mut Emitter, x: &Operands<'_>, windows: Windows<'_>, count_include_pad: bool) -> Name {
    let (size, pooled) = (&x.output(0).shape[2..], &x.ty(0).shape[2..]);
    let matrix = |a: usize| {
        let mut matrix = Matrix::zeros(size[a], pooled[a]);
        for o in 0..pooled[a] {
            let start = o * windows.stride[a];
            let inside: Vec<usize> = (start..start + windows.kernel[a])
                .filter_map(|i| i.checked_sub(windows.padding[a]).filter(|i| *i < size[a]))
                .collect();
            let divisor = if count_include_pad { windows.kernel[a] } else { inside.len() };
            inside.iter().for_each(|i| matrix.add(*i, o, 1.0 / divisor as f64));
        }
        matrix
    };
    let matrices: Vec<Matrix> = (0..size.len()).map(matrix).collect();
    along_axes(e, x.name(0), &x.ty(0).shape, &matrices)
}
