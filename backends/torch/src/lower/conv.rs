//! Convolution, transposed convolution and the weight gradient.

use tch::{Kind, Tensor};

use super::{Kernel, Site, extents, one};
use crate::ffi::{Argument, call};

/// Attributes that the three share.
pub(super) struct Windows {
    stride: Vec<i64>,
    padding: Vec<i64>,
    dilation: Vec<i64>,
    groups: i64,
}

impl Windows {
    pub(super) fn new(stride: &[usize], padding: &[usize], dilation: &[usize], groups: usize) -> Self {
        let (stride, padding, dilation) = (extents(stride), extents(padding), extents(dilation));
        Self { stride, padding, dilation, groups: groups as i64 }
    }
}

/// A convolution, or, with output padding, a transposed one.
pub(super) fn forward(windows: Windows, output_padding: Option<&[usize]>, site: Site<'_>) -> Kernel {
    let Windows { stride, padding, dilation, groups } = windows;
    let transposed = output_padding.is_some();
    let extra = output_padding.map_or_else(|| vec![0; stride.len()], extents);
    let precision = site.settings.precision;
    one(move |x| {
        let operands = x.iter().map(|x| precision.reduce(x)).collect::<Result<Vec<_>, _>>()?;
        let (x, weight, bias) = (&operands[0], &operands[1], operands.get(2));
        precision.restore(&x.f_convolution(weight, bias, &stride, &padding, &dilation, transposed, &extra, groups)?)
    })
}

/// The engine's backward function for the weight alone.
pub(super) fn weight_gradient(windows: Windows, site: Site<'_>) -> Kernel {
    let Windows { stride, padding, dilation, groups } = windows;
    let weight = site.output();
    let extra = vec![0; stride.len()];
    let precision = site.settings.precision;
    let device = site.settings.device;
    Box::new(move |operands| {
        let (x, dy) = (precision.reduce(&operands[0])?, precision.reduce(&operands[1])?);
        // Only its extents matter.
        let weight = Tensor::f_empty(&weight, (Kind::Float, device))?.f_to_kind(x.f_kind()?)?;
        let arguments = [
            Argument::Tensor(&dy),
            Argument::Tensor(&x),
            Argument::Tensor(&weight),
            Argument::Absent,
            Argument::Ints(&stride),
            Argument::Ints(&padding),
            Argument::Ints(&dilation),
            Argument::Bool(false),
            Argument::Ints(&extra),
            Argument::Int(groups),
            Argument::Bools(&[false, true, false]),
        ];
        let results = call(c"aten::convolution_backward", c"", &arguments, 3)?;
        Ok(vec![precision.restore(&results[1])?])
    })
}
