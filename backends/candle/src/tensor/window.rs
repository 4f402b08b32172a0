//! Operators on windows: convolutions, pooling, resampling.
//!
//! candle's own cover two dimensions and not every stride, padding and group. Here every window is gathered by positions that are
//! computed once, padding from one column of a constant behind the input; what is left are matrix products and sums.

use candle_core::{DType, Device, Error, Result, Tensor};
use mimus_core::Op;
use mimus_core::ops::Mode;
use mimus_core::ops::resize::taps;

use super::arithmetic::first_maximum;
use super::lower::{Lowered, one};

/// For each tap and output position the input position, all flat; the input's size stands for padding.
struct Windows {
    positions: Tensor,
    /// Elements of a window, padding included.
    taps: usize,
    /// Windows of a plane.
    outputs: usize,
    /// Elements of a plane.
    inputs: usize,
    /// For each window the number of elements that are no padding.
    valid: Vec<f32>,
}

/// Attributes along one axis.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

impl Windows {
    fn new(axes: &[Axis], device: &Device) -> Result<Self> {
        let taps: usize = axes.iter().map(|axis| axis.kernel).product();
        let outputs: usize = axes.iter().map(|axis| axis.output).product();
        let inputs: usize = axes.iter().map(|axis| axis.input).product();
        let mut positions = Vec::with_capacity(taps * outputs);
        let mut valid = vec![0.0; outputs];
        for tap in 0..taps {
            for (output, valid) in valid.iter_mut().enumerate() {
                let source = source(axes, tap, output);
                *valid += if source.is_some() { 1.0 } else { 0.0 };
                positions.push(source.unwrap_or(inputs) as u32);
            }
        }
        Ok(Self { positions: Tensor::new(positions, device)?, taps, outputs, inputs, valid })
    }

    /// `[R, inputs]` to `[R, taps, outputs]`.
    fn gather(&self, x: &Tensor, padding: f32) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let column = Tensor::full(padding, (rows, 1), x.device())?;
        Tensor::cat(&[x, &column], 1)?.index_select(&self.positions, 1)?.reshape((rows, self.taps, self.outputs))
    }

    /// The adjoint: `[R, taps, outputs]` added up to `[R, inputs]`.
    fn scatter(&self, y: &Tensor) -> Result<Tensor> {
        let rows = y.dim(0)?;
        let zeros = Tensor::zeros((rows, self.inputs + 1), DType::F32, y.device())?;
        let flat = y.reshape((rows, self.taps * self.outputs))?.contiguous()?;
        zeros.index_add(&self.positions, &flat, 1)?.narrow(1, 0, self.inputs)?.contiguous()
    }
}

/// The input position of a tap of an output, if it is no padding.
fn source(axes: &[Axis], mut tap: usize, mut output: usize) -> Option<usize> {
    let (mut position, mut step) = (0, 1);
    for axis in axes.iter().rev() {
        let from = output % axis.output * axis.stride + tap % axis.kernel * axis.dilation;
        position += from.checked_sub(axis.padding).filter(|i| *i < axis.input)? * step;
        step *= axis.input;
        tap /= axis.kernel;
        output /= axis.output;
    }
    Some(position)
}

fn unexpected() -> Error {
    Error::Msg("is no operator on windows".to_owned())
}

pub(super) fn convolution(op: &Op, shapes: &[Vec<usize>], out: &[usize], device: &Device) -> Result<Lowered> {
    let (Op::Conv { stride, padding, dilation, groups }
    | Op::ConvTranspose { stride, padding, dilation, groups, .. }
    | Op::ConvWeightGrad { stride, padding, dilation, groups, .. }) = op
    else {
        return Err(unexpected());
    };
    // The plain convolution's input, weight and output.
    let (x, w, y) = match op {
        Op::Conv { .. } => (&*shapes[0], &*shapes[1], out),
        Op::ConvTranspose { .. } => (out, &*shapes[1], &*shapes[0]),
        _ => (&*shapes[0], out, &*shapes[1]),
    };
    let axis = |a: usize| Axis {
        input: x[a + 2],
        output: y[a + 2],
        kernel: w[a + 2],
        stride: stride[a],
        padding: padding[a],
        dilation: dilation[a],
    };
    let windows = Windows::new(&(0..stride.len()).map(axis).collect::<Vec<_>>(), device)?;
    let (n, g) = (x[0], *groups);
    let (inner, outer) = (x[1] / g, y[1] / g);
    let (k, p) = (inner * windows.taps, windows.outputs);
    let (op, out) = (op.clone(), out.to_vec());
    Ok(one(move |operands| {
        let patches =
            |x: &Tensor| windows.gather(&x.reshape((n * g * inner, windows.inputs))?, 0.0)?.reshape((n, g, k, p));
        let (a, b) = (&operands[0], &operands[1]);
        let result = match op {
            Op::Conv { .. } => b.reshape((1, g, outer, k))?.broadcast_matmul(&patches(a)?)?,
            Op::ConvTranspose { .. } => {
                let weight = b.reshape((1, g, outer, k))?.transpose(2, 3)?.contiguous()?;
                let columns = weight.broadcast_matmul(&a.reshape((n, g, outer, p))?)?;
                windows.scatter(&columns.reshape((n * g * inner, windows.taps, p))?)?
            }
            _ => {
                let patches = patches(a)?.transpose(2, 3)?.contiguous()?;
                b.reshape((n, g, outer, p))?.matmul(&patches)?.sum(0)?
            }
        };
        let result = result.reshape(out.as_slice())?;
        match operands.get(2) {
            Some(bias) => {
                let mut column = vec![1; out.len()];
                column[1] = out[1];
                result.broadcast_add(&bias.reshape(column)?)
            }
            None => Ok(result),
        }
    }))
}

pub(super) fn pooling(op: &Op, shapes: &[Vec<usize>], out: &[usize], device: &Device) -> Result<Lowered> {
    let (Op::MaxPool { kernel, stride, padding }
    | Op::MaxPoolGrad { kernel, stride, padding }
    | Op::AvgPool { kernel, stride, padding, .. }
    | Op::AvgPoolGrad { kernel, stride, padding, .. }) = op
    else {
        return Err(unexpected());
    };
    let (x, y) = match op {
        Op::MaxPoolGrad { .. } => (out, &*shapes[1]),
        Op::AvgPoolGrad { .. } => (out, &*shapes[0]),
        _ => (&*shapes[0], out),
    };
    let axis = |a: usize| Axis {
        input: x[a + 2],
        output: y[a + 2],
        kernel: kernel[a],
        stride: stride[a],
        padding: padding[a],
        dilation: 1,
    };
    let windows = Windows::new(&(0..stride.len()).map(axis).collect::<Vec<_>>(), device)?;
    let include_padding =
        matches!(op, Op::AvgPool { count_include_pad: true, .. } | Op::AvgPoolGrad { count_include_pad: true, .. });
    let share = |valid: &f32| 1.0 / if include_padding { windows.taps as f32 } else { *valid };
    let shares = Tensor::new(windows.valid.iter().map(share).collect::<Vec<_>>(), device)?;
    let shares = shares.reshape((1, windows.outputs))?;
    let planes = x[0] * x[1];
    let (op, out) = (op.clone(), out.to_vec());
    Ok(one(move |operands| {
        let (taps, outputs) = (windows.taps, windows.outputs);
        let gather = |padding| windows.gather(&operands[0].reshape((planes, windows.inputs))?, padding);
        let result = match op {
            Op::MaxPool { .. } => gather(f32::NEG_INFINITY)?.max(1)?,
            Op::MaxPoolGrad { .. } => {
                let rows = gather(f32::NEG_INFINITY)?.transpose(1, 2)?.contiguous()?;
                let (ones, _) = first_maximum(&rows.reshape((planes * outputs, taps))?)?;
                let ones = ones.reshape((planes, outputs, taps))?.transpose(1, 2)?;
                windows.scatter(&ones.broadcast_mul(&operands[1].reshape((planes, 1, outputs))?)?)?
            }
            Op::AvgPool { .. } => gather(0.0)?.sum(1)?.broadcast_mul(&shares)?,
            _ => {
                let dy = operands[0].reshape((planes, outputs))?.broadcast_mul(&shares)?;
                windows.scatter(&dy.unsqueeze(1)?.broadcast_as((planes, taps, outputs))?)?
            }
        };
        result.reshape(out.as_slice())
    }))
}

/// Resampling as one small matrix for each axis, or its transpose for the gradient.
pub(super) fn resampling(
    from: &[usize],
    to: &[usize],
    (mode, align_corners): (Mode, bool),
    adjoint: bool,
    device: &Device,
) -> Result<Lowered> {
    let mut matrices = Vec::new();
    for (from, to) in from.iter().zip(to).skip(2) {
        let (n, m) = if adjoint { (*to, *from) } else { (*from, *to) };
        // `[n, m]`, for products from the right.
        let mut matrix = vec![0.0_f32; n * m];
        for (i, (first, second, weight)) in taps(n, m, mode, align_corners).into_iter().enumerate() {
            matrix[first * m + i] += (1.0 - weight) as f32;
            matrix[second * m + i] += weight as f32;
        }
        let matrix = Tensor::from_vec(matrix, (n, m), device)?;
        matrices.push(if adjoint { matrix.t()?.contiguous()? } else { matrix });
    }
    Ok(one(move |x| {
        let mut y = x[0].clone();
        for (i, matrix) in matrices.iter().enumerate() {
            let last = y.transpose(i + 2, y.rank() - 1)?.contiguous()?;
            let (n, m) = matrix.dims2()?;
            let mut shape = last.dims().to_vec();
            let rows = last.elem_count() / n;
            if let Some(extent) = shape.last_mut() {
                *extent = m;
            }
            let product = last.reshape((rows, n))?.matmul(matrix)?.reshape(shape)?;
            y = product.transpose(i + 2, product.rank() - 1)?;
        }
        Ok(y)
    }))
}
