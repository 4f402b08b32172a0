//! What candle computes for every operator.

use candle_core::{DType, Device, Result, Tensor};
use mimus_core::Op;

use super::{arithmetic, dtype, index, norm, optimizer, window};
use crate::kernels::Types;

/// A node ready to compute its outputs from its operands.
pub(super) type Lowered = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send>;

/// A node with one output.
pub(super) fn one(f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + 'static) -> Lowered {
    Box::new(move |x| Ok(vec![f(x)?.contiguous()?]))
}

/// Lowers a node that is no source; constants that it needs are on the device from then on.
pub(super) fn lower(op: &Op, types: Types<'_>, device: &Device) -> Result<Lowered> {
    let shapes: Vec<Vec<usize>> = types.inputs.iter().map(|ty| ty.shape.clone()).collect();
    let out = types.outputs.first().map(|ty| ty.shape.clone()).unwrap_or_default();
    Ok(match op.clone() {
        Op::Neg {} => one(|x| x[0].neg()),
        Op::Abs {} => one(|x| x[0].abs()),
        Op::Sign {} => one(|x| x[0].sign()),
        Op::Exp {} => one(|x| x[0].exp()),
        Op::Log {} => one(|x| x[0].log()),
        Op::Sqrt {} => one(|x| x[0].sqrt()),
        Op::Sigmoid {} => one(|x| x[0].neg()?.exp()?.affine(1.0, 1.0)?.recip()),
        Op::Tanh {} => one(|x| x[0].tanh()),
        Op::Relu {} => one(|x| arithmetic::select(&x[0].lt(0.0)?, &x[0].zeros_like()?, &x[0])),
        Op::LeakyRelu { slope } => one(move |x| arithmetic::select(&x[0].gt(0.0)?, &x[0], &x[0].affine(slope, 0.0)?)),
        Op::Elu { alpha } => {
            one(move |x| arithmetic::select(&x[0].gt(0.0)?, &x[0], &x[0].exp()?.affine(alpha, -alpha)?))
        }
        Op::Clamp { min, max } => one(move |x| x[0].clamp(min as f32, max as f32)),
        Op::Pow { exponent } => one(move |x| x[0].powf(exponent)),
        Op::Add {} => one(|x| x[0].broadcast_add(&x[1])),
        Op::Sub {} => one(|x| x[0].broadcast_sub(&x[1])),
        Op::Mul {} => one(|x| x[0].broadcast_mul(&x[1])),
        Op::Div {} => one(|x| x[0].broadcast_div(&x[1])),
        Op::Maximum {} => one(|x| arithmetic::extreme(&x[0], &x[1], Tensor::broadcast_gt)),
        Op::Minimum {} => one(|x| arithmetic::extreme(&x[0], &x[1], Tensor::broadcast_lt)),
        Op::Equal {} => one(|x| x[0].broadcast_eq(&x[1])?.to_dtype(DType::F32)),
        Op::Less {} => one(|x| x[0].broadcast_lt(&x[1])?.to_dtype(DType::F32)),
        Op::LessEqual {} => one(|x| x[0].broadcast_le(&x[1])?.to_dtype(DType::F32)),
        Op::Select {} => one(|x| arithmetic::select(&x[0].ne(0.0)?, &x[1], &x[2])),
        Op::Cast { dtype: to } => one(move |x| x[0].to_dtype(dtype(to))),
        Op::StopGradient {} => one(|x| Ok(x[0].clone())),
        Op::Sum { axes, .. } => one(move |x| arithmetic::sum(&x[0], &axes)?.reshape(out.as_slice())),
        Op::Mean { axes, .. } => {
            let n: usize = axes.iter().map(|a| shapes[0][*a]).product();
            one(move |x| arithmetic::sum(&x[0], &axes)?.affine(1.0 / n as f64, 0.0)?.reshape(out.as_slice()))
        }
        Op::Max { axes, .. } => {
            one(move |x| axes.iter().try_fold(x[0].clone(), |x, axis| x.max_keepdim(*axis))?.reshape(out.as_slice()))
        }
        Op::MaxGrad { axes, .. } => one(move |x| arithmetic::max_gradient(&x[0], &x[1], &axes)),
        Op::Reshape { shape } => one(move |x| x[0].reshape(shape.as_slice())),
        Op::Permute { order } => one(move |x| x[0].permute(order.as_slice())),
        Op::Slice { starts, ends } => one(move |x| {
            let mut bounds = starts.iter().zip(&ends).enumerate();
            bounds.try_fold(x[0].clone(), |x, (axis, (start, end))| x.narrow(axis, *start, end - start))
        }),
        Op::Concat { axis } => one(move |x| Tensor::cat(x, axis)),
        Op::Pad { before, after, value } => one(move |x| {
            // Zeros are added around the difference from the constant.
            let shifted = x[0].affine(1.0, -value)?;
            let mut sides = before.iter().zip(&after).enumerate();
            let padded = sides.try_fold(shifted, |x, (axis, (l, r))| x.pad_with_zeros(axis, *l, *r))?;
            padded.affine(1.0, value)
        }),
        Op::Broadcast { shape } => one(move |x| x[0].broadcast_as(shape.as_slice())),
        Op::MatMul { transpose_a, transpose_b } => one(move |x| {
            let side = |x: &Tensor, transposed: bool| if transposed { x.t()?.contiguous() } else { x.contiguous() };
            side(&x[0], transpose_a)?.matmul(&side(&x[1], transpose_b)?)
        }),
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::ConvWeightGrad { .. } => {
            window::convolution(op, &shapes, &out, device)?
        }
        Op::MaxPool { .. } | Op::MaxPoolGrad { .. } | Op::AvgPool { .. } | Op::AvgPoolGrad { .. } => {
            window::pooling(op, &shapes, &out, device)?
        }
        Op::Resize { mode, align_corners, .. } => {
            window::resampling(&shapes[0], &out, (mode, align_corners), false, device)?
        }
        Op::ResizeGrad { mode, align_corners, .. } => {
            window::resampling(&shapes[0], &out, (mode, align_corners), true, device)?
        }
        Op::Softmax { axis } => one(move |x| norm::softmax(&x[0], axis)),
        Op::LogSoftmax { axis } => one(move |x| norm::log_softmax(&x[0], axis)),
        Op::BatchNorm { eps } => one(move |x| norm::batch_norm(x, eps)),
        Op::BatchNormTrain { eps } => Box::new(move |x| norm::batch_norm_train(x, eps)),
        Op::BatchNormTrainGrad { eps } => Box::new(move |x| norm::batch_norm_train_grad(x, eps)),
        Op::ArgMax { axis } => one(move |x| index::argmax(&x[0], axis)),
        Op::OneHot { depth } => one(move |x| index::one_hot(&x[0], depth)),
        Op::Gather {} => one(|x| index::gather(&x[0], &x[1])),
        Op::GatherGrad { rows } => one(move |x| index::gather_gradient(&x[0], &x[1], rows)),
        Op::Sgd { momentum, weight_decay, nesterov } => {
            Box::new(move |x| optimizer::sgd(x, momentum, weight_decay, nesterov))
        }
        Op::Adam { .. } => optimizer::adam(op),
        Op::Input { .. } | Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. } => {
            return Err(candle_core::Error::Msg("a source is bound, not computed".to_owned()));
        }
    })
}
