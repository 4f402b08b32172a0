//! Convolution, transposed convolution and the weight gradient.

use std::ffi::CStr;

use mimus_core::Op;
use tch::{Device, Tensor};

use super::{Kernel, Site, extents, one};
use crate::device::{Settings, channels_last as beside};
use crate::ffi::{Argument, Convolution, call};

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
    let (precision, channels_last) = (site.settings.precision, site.settings.channels_last);
    one(move |mut x| {
        if channels_last {
            x[1] = beside(&x[1])?;
        }
        let operands = x.iter().map(|x| precision.reduce(x)).collect::<Result<Vec<_>, _>>()?;
        let (x, weight, bias) = (&operands[0], &operands[1], operands.get(2));
        precision.restore(&x.f_convolution(weight, bias, &stride, &padding, &dilation, transposed, &extra, groups)?)
    })
}

/// Bytes of an image row, all channels, from which on the engine's weight gradient is slow with channels side by side: it then takes
/// longer than a row-major copy and the gradient from there.
const LONG_ROW: usize = 24 << 10;

/// The engine's backward function for the weight alone.
pub(super) fn weight_gradient(windows: Windows, site: Site<'_>) -> Kernel {
    let Windows { stride, padding, dilation, groups } = windows;
    let weight = site.output();
    let extra = vec![0; stride.len()];
    let Settings { precision, device, .. } = site.settings;
    let channels_last = site.settings.channels_last;
    let image = &site.inputs[0].shape;
    let row = image[1] * image[image.len() - 1] * size_of::<f32>();
    let row_major = device == Device::Cpu && channels_last && row >= LONG_ROW;
    Box::new(move |operands| {
        let (mut x, mut dy) = (precision.reduce(&operands[0])?, precision.reduce(&operands[1])?);
        if row_major {
            (x, dy) = (x.f_contiguous()?, dy.f_contiguous()?);
        }
        // Only its extents and their order in memory matter.
        let weight = Tensor::f_empty(&weight, (x.f_kind()?, device))?;
        let weight = if channels_last && !row_major { beside(&weight)? } else { weight };
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

/// A convolution whose output goes through a function before it reaches memory; `None` if it is no convolution.
pub(super) fn activated(convolution: &Op, activation: &Op, site: Site<'_>) -> Option<Kernel> {
    let (windows, output_padding) = match convolution {
        Op::Conv { stride, padding, dilation, groups } => (Windows::new(stride, padding, dilation, *groups), None),
        Op::ConvTranspose { stride, padding, output_padding, dilation, groups } => {
            (Windows::new(stride, padding, dilation, *groups), Some(extents(output_padding)))
        }
        _ => return None,
    };
    let (function, numbers): (&'static CStr, Vec<f64>) = match activation {
        Op::LeakyRelu { slope } => (c"leaky_relu", vec![*slope]),
        Op::Sigmoid {} => (c"sigmoid", Vec::new()),
        Op::Tanh {} => (c"tanh", Vec::new()),
        Op::Relu {} => (c"relu", Vec::new()),
        _ => return None,
    };
    let channels_last = site.settings.channels_last;
    Some(one(move |x| {
        let weight = if channels_last { beside(&x[1])? } else { x[1].shallow_clone() };
        let Windows { stride, padding, dilation, groups } = &windows;
        let output_padding = output_padding.as_deref();
        let convolution = Convolution { stride, padding, dilation, output_padding, groups: *groups };
        convolution.activated(&x[0], &weight, x.get(2), function, &numbers)
    }))
}
