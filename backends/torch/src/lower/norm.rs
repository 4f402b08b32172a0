//! Softmax and batch normalisation.

use tch::{Device, Kind, Tensor};

use super::{Kernel, Site, one, places};
use crate::ffi::{Argument, call};

pub(super) fn softmax(axis: usize) -> Kernel {
    one(move |x| x[0].f_softmax(axis as i64, None::<Kind>))
}

pub(super) fn log_softmax(axis: usize) -> Kernel {
    one(move |x| x[0].f_log_softmax(axis as i64, None::<Kind>))
}

pub(super) fn batch_norm(eps: f64) -> Kernel {
    one(move |x| x[0].f_batch_norm(Some(&x[1]), Some(&x[2]), Some(&x[3]), Some(&x[4]), false, 0.0, eps, true))
}

pub(super) fn batch_norm_train(eps: f64, site: Site<'_>) -> Kernel {
    let count = (site.inputs[0].elements() / site.inputs[1].elements()) as f64;
    if site.settings.channels_last && site.inputs[0].shape.len() > 2 {
        return in_passes(eps, count, &site.inputs[0].shape);
    }
    // The engine's running statistics with momentum 1 are the batch's, the variance without bias.
    Box::new(move |x| {
        let (mean, unbiased) = (x[1].f_zeros_like()?, x[1].f_zeros_like()?);
        let statistics = (Some(&mean), Some(&unbiased));
        let (y, ..) = x[0].f_native_batch_norm(Some(&x[1]), Some(&x[2]), statistics.0, statistics.1, true, 1.0, eps)?;
        Ok(vec![y, mean, unbiased.f_mul_scalar((count - 1.0) / count)?])
    })
}

/// The engine's own statistics with channels side by side add up one number after another and lose digits by that; its sums do not.
fn in_passes(eps: f64, count: f64, shape: &[usize]) -> Kernel {
    let axes: Vec<i64> = (0..shape.len() as i64).filter(|axis| *axis != 1).collect();
    let column: Vec<i64> = (0..shape.len()).map(|axis| if axis == 1 { shape[1] as i64 } else { 1 }).collect();
    Box::new(move |x| {
        let mean = x[0].f_mean_dim(&axes[..], false, None::<Kind>)?;
        let squares = x[0].f_sub(&mean.f_reshape(&column)?)?.f_square_()?;
        let var = squares.f_sum_dim_intlist(&axes[..], false, None::<Kind>)?.f_div_scalar_(count)?;
        let y = x[0].f_batch_norm(Some(&x[1]), Some(&x[2]), Some(&mean), Some(&var), false, 0.0, eps, true)?;
        Ok(vec![y, mean, var])
    })
}

pub(super) fn batch_norm_train_gradient(eps: f64, site: Site<'_>) -> Kernel {
    let by_place = site.settings.channels_last && site.settings.device == Device::Cpu && site.inputs[0].shape.len() > 2;
    let threads = site.settings.threads;
    Box::new(move |operands| {
        let [x, weight, mean, var, dy] = &operands[..] else { return Ok(Vec::new()) };
        let inverse_deviation: Tensor = var.f_add_scalar(eps)?.f_rsqrt()?;
        if by_place && let Some(results) = places::gradient(x, weight, mean, &inverse_deviation, dy, threads)? {
            return Ok(results);
        }
        let arguments = [
            Argument::Tensor(dy),
            Argument::Tensor(x),
            Argument::OptionalTensor(weight),
            Argument::Absent,
            Argument::Absent,
            Argument::OptionalTensor(mean),
            Argument::OptionalTensor(&inverse_deviation),
            Argument::Bool(true),
            Argument::Float(eps),
            Argument::Bools(&[true, true, true]),
        ];
        Ok(call(c"aten::native_batch_norm_backward", c"", &arguments, 3)?)
    })
}
