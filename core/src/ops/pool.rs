//! Maximum and average over windows, in 1 to 3 dimensions, and their gradients.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::reference::Array;
use crate::tensor::{Shape, ValueType, strides};

/// The windows of an operator: attributes by spatial axis.
struct Windows<'a> {
    kernel: &'a [usize],
    stride: &'a [usize],
    padding: &'a [usize],
}

fn windows(op: &Op) -> Result<Windows<'_>> {
    match op {
        Op::MaxPool { kernel, stride, padding }
        | Op::MaxPoolGrad { kernel, stride, padding }
        | Op::AvgPool { kernel, stride, padding, .. }
        | Op::AvgPoolGrad { kernel, stride, padding, .. } => Ok(Windows { kernel, stride, padding }),
        _ => check::fail("is no pooling"),
    }
}

impl Windows<'_> {
    /// Shape of the pooled output for an input of shape `x`, with the constraints C2 to C5.
    fn output(&self, x: &[usize]) -> Result<Shape> {
        let rank = x.len().saturating_sub(2);
        if !(1..=3).contains(&rank) {
            return check::fail(format!("has {rank} spatial axes, expects 1 to 3"));
        }
        for (name, list) in [("kernel", self.kernel), ("stride", self.stride), ("padding", self.padding)] {
            check::per_axis(name, list, rank)?;
        }
        check::positive("kernel", self.kernel)?;
        check::positive("stride", self.stride)?;
        let mut shape = x[..2].to_vec();
        for a in 0..rank {
            let (kernel, padding) = (self.kernel[a], self.padding[a]);
            if padding > kernel / 2 {
                return check::fail(format!("padding {padding} is more than half the window {kernel}"));
            }
            let padded = x[a + 2].saturating_add(2 * padding);
            if kernel > padded {
                return check::fail(format!("window {kernel} is larger than the padded input {padded}"));
            }
            shape.push((padded - kernel) / self.stride[a] + 1);
        }
        Ok(shape)
    }

    /// For output position `o` along a spatial axis: the window's range within the input, and its length with padding.
    fn range(&self, axis: usize, o: usize, extent: usize) -> (std::ops::Range<usize>, usize) {
        let start = o * self.stride[axis];
        let end = (start + self.kernel[axis]).min(extent + 2 * self.padding[axis]);
        let inside = |i: usize| i.saturating_sub(self.padding[axis]).min(extent);
        (inside(start)..inside(end), end - start)
    }

    /// Calls `f(output index, positions of the window in the input, window size with padding)` for every window.
    fn visit(&self, x: &[usize], y: &[usize], mut f: impl FnMut(usize, &[usize], usize)) {
        let (steps, plane) = (strides(&x[2..]), x[2..].iter().product::<usize>());
        let windows: usize = y[2..].iter().product();
        for p in 0..x[0] * x[1] {
            for w in 0..windows {
                let (mut positions, mut full, mut rest) = (vec![p * plane], 1, windows);
                for a in 0..steps.len() {
                    rest /= y[a + 2];
                    let (range, length) = self.range(a, w / rest % y[a + 2], x[a + 2]);
                    full *= length;
                    let spread = |base: &usize| range.clone().map(|i| base + i * steps[a]).collect::<Vec<_>>();
                    positions = positions.iter().flat_map(spread).collect();
                }
                f(p * windows + w, &positions, full);
            }
        }
    }
}

/// Constraints: C1 f32; C2 1 to 3 spatial axes, one attribute entry for each; C3 windows and strides at least 1; C4 padding at
/// most half the window; C5 a window fits; C6 gradients: `dy` has the pooled shape.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let n = if matches!(op, Op::MaxPoolGrad { .. }) { 2 } else { 1 };
    expect_inputs(op, inputs, n..=n)?;
    check::floats(inputs)?;
    let windows = windows(op)?;
    let x = &inputs[0].shape;
    match op {
        Op::MaxPoolGrad { .. } => {
            check::shape("the gradient", inputs[1], &windows.output(x)?)?;
            Ok(vec![inputs[0].clone()])
        }
        Op::AvgPoolGrad { size, .. } => {
            check::per_axis("size", size, x.len().saturating_sub(2))?;
            let full = check::sized(inputs[0].dtype, [&x[..2], size].concat())?;
            check::shape("the gradient", inputs[0], &windows.output(&full.shape)?)?;
            Ok(vec![full])
        }
        _ => Ok(vec![check::sized(inputs[0].dtype, windows.output(x)?)?]),
    }
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; context.inputs.len()]) };
    let x = context.inputs[0];
    let b = &mut *context.builder;
    let dx = match op.clone() {
        Op::MaxPool { kernel, stride, padding } => b.node(Op::MaxPoolGrad { kernel, stride, padding }, &[x, dy])?,
        Op::AvgPool { kernel, stride, padding, count_include_pad } => {
            let size = b.shape(x)[2..].to_vec();
            b.node(Op::AvgPoolGrad { size, kernel, stride, padding, count_include_pad }, &[dy])?
        }
        Op::AvgPoolGrad { kernel, stride, padding, count_include_pad, .. } => {
            b.node(Op::AvgPool { kernel, stride, padding, count_include_pad }, &[dy])?
        }
        _ => return check::fail("has no second gradient"),
    };
    Ok(vec![Some(dx)])
}

/// The first maximal element of a window, in row-major order.
fn first_maximum(x: &[f64], window: &[usize]) -> usize {
    window.iter().copied().reduce(|best, i| if x[best].is_nan() || x[i] <= x[best] { best } else { i }).unwrap_or(0)
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let types: Vec<ValueType> = inputs.iter().map(|x| x.ty()).collect();
    let shape = infer(op, &types.iter().collect::<Vec<_>>())?.swap_remove(0).shape;
    let windows = windows(op)?;
    let x = inputs[0].floats()?;
    let mut result = vec![0.0; shape.iter().product()];
    match op {
        Op::MaxPool { .. } => {
            windows.visit(&inputs[0].shape, &shape, |o, window, _| result[o] = x[first_maximum(x, window)]);
        }
        Op::MaxPoolGrad { .. } => {
            let dy = inputs[1].floats()?;
            windows.visit(&shape, &inputs[1].shape, |o, window, _| result[first_maximum(x, window)] += dy[o]);
        }
        Op::AvgPool { count_include_pad, .. } => windows.visit(&inputs[0].shape, &shape, |o, window, full| {
            let divisor = if *count_include_pad { full } else { window.len() };
            result[o] = window.iter().map(|i| x[*i]).sum::<f64>() / divisor as f64;
        }),
        Op::AvgPoolGrad { count_include_pad, .. } => windows.visit(&shape, &inputs[0].shape, |o, window, full| {
            let divisor = if *count_include_pad { full } else { window.len() };
            window.iter().for_each(|i| result[*i] += x[o] / divisor as f64);
        }),
        _ => return check::fail("is no pooling"),
    }
    Ok(vec![Array::float(shape, result)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let geometries = [
            (vec![3], vec![2], vec![1]),
            (vec![2, 3], vec![1, 2], vec![1, 0]),
            (vec![2, 2, 2], vec![1, 1, 2], vec![0, 1, 1]),
        ];
        geometries
            .into_iter()
            .flat_map(|(kernel, stride, padding)| window(stream, &kernel, &stride, &padding))
            .collect()
    }

    fn window(stream: &mut Stream, kernel: &[usize], stride: &[usize], padding: &[usize]) -> Vec<Case> {
        let (kernel, stride, padding) = (|| kernel.to_vec(), || stride.to_vec(), || padding.to_vec());
        let size = [5, 4, 3][..kernel().len()].to_vec();
        let x = random(stream, &[&[2, 2], size.as_slice()].concat(), [-1.0, 1.0]);
        let max = Op::MaxPool { kernel: kernel(), stride: stride(), padding: padding() };
        let mut cases = vec![Case::new(max, [x.clone()])];
        for count_include_pad in [true, false] {
            let op = Op::AvgPool { kernel: kernel(), stride: stride(), padding: padding(), count_include_pad };
            let dy = random(stream, &op.infer(&[&x.ty()]).unwrap()[0].shape, [-1.0, 1.0]);
            cases.push(Case::new(op, [x.clone()]));
            let size = size.clone();
            let op =
                Op::AvgPoolGrad { size, kernel: kernel(), stride: stride(), padding: padding(), count_include_pad };
            cases.push(Case::new(op, [dy]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_counts_in_the_average_only_if_asked() {
        let x = Array::float([1, 1, 3], vec![3.0, 6.0, 9.0]);
        let run = |count_include_pad| {
            let op = Op::AvgPool { kernel: vec![2], stride: vec![2], padding: vec![1], count_include_pad };
            op.evaluate(&[&x]).unwrap()[0].floats().unwrap().to_vec()
        };
        assert_eq!(run(true), [1.5, 7.5]);
        assert_eq!(run(false), [3.0, 7.5]);
    }

    #[test]
    fn c4_padding_beyond_half_the_window_is_refused() {
        let op = Op::MaxPool { kernel: vec![3], stride: vec![1], padding: vec![2] };
        let error = op.infer(&[&ValueType::f32([1, 1, 8])]).unwrap_err();
        assert_eq!(error.message(), "padding 2 is more than half the window 3");
    }
}
