//! Convolution, transposed convolution and the weight gradient, in 1 to 3 dimensions.
//!
//! The three close under differentiation: the input gradient of a convolution is the transposed convolution with the same
//! weight and the other way round, and one weight gradient serves both with the roles of its inputs exchanged.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::graph::ValueId;
use crate::reference::Array;
use crate::tensor::{Shape, ValueType};

/// What the three operators share: `x [N, C, ..]`, `w [O, C/groups, k..]`, `y [N, O, ..]` of the plain convolution.
struct Geometry {
    n: usize,
    c: usize,
    o: usize,
    groups: usize,
    /// Per spatial axis, brought to three axes.
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [usize; 3],
    dilation: [usize; 3],
}

fn three(list: &[usize], fill: usize) -> [usize; 3] {
    let mut result = [fill; 3];
    result[3 - list.len()..].copy_from_slice(list);
    result
}

/// Extent of a plain convolution's output along one axis.
fn conv_extent(n: usize, k: usize, stride: usize, padding: usize, dilation: usize) -> Result<usize> {
    let span = dilation.saturating_mul(k - 1).saturating_add(1);
    let padded = n.saturating_add(padding.saturating_mul(2));
    if span > padded {
        return check::fail(format!("kernel spans {span} elements, the padded input has {padded}"));
    }
    Ok((padded - span) / stride + 1)
}

/// Extent of a transposed convolution's output along one axis.
fn transposed_extent(
    n: usize,
    k: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    extra: usize,
) -> Result<usize> {
    let full = (n - 1).saturating_mul(stride).saturating_add(dilation.saturating_mul(k - 1)).saturating_add(extra + 1);
    match full.checked_sub(padding.saturating_mul(2)) {
        None | Some(0) => check::fail(format!("padding {padding} removes the whole output of extent {full}")),
        Some(extent) => Ok(extent),
    }
}

type Lists<'a> = (&'a [usize], &'a [usize], &'a [usize], usize);

fn lists(op: &Op) -> Result<Lists<'_>> {
    match op {
        Op::Conv { stride, padding, dilation, groups }
        | Op::ConvTranspose { stride, padding, dilation, groups, .. }
        | Op::ConvWeightGrad { stride, padding, dilation, groups, .. } => Ok((stride, padding, dilation, *groups)),
        _ => check::fail("is no convolution"),
    }
}

/// C2 to C4 for an operator with `rank` spatial axes.
fn check_lists((stride, padding, dilation, groups): Lists<'_>, rank: usize) -> Result<()> {
    if !(1..=3).contains(&rank) {
        return check::fail(format!("has {rank} spatial axes, expects 1 to 3"));
    }
    check::per_axis("stride", stride, rank)?;
    check::per_axis("padding", padding, rank)?;
    check::per_axis("dilation", dilation, rank)?;
    check::positive("stride", stride)?;
    check::positive("dilation", dilation)?;
    check::positive("groups", &[groups])
}

fn divides(what: &str, channels: usize, groups: usize) -> Result<()> {
    if channels.is_multiple_of(groups) {
        Ok(())
    } else {
        check::fail(format!("{what} has {channels} channels, which {groups} groups do not divide"))
    }
}

fn bias(inputs: &[&ValueType], channels: usize) -> Result<()> {
    inputs.get(2).map_or(Ok(()), |ty| check::shape("bias", ty, &[channels]))
}

/// Constraints: C1 f32; C2 1 to 3 spatial axes, one attribute entry for each; C3 stride, dilation, groups at least 1;
/// C4 equal ranks; C5 groups divide the channels; C6 the weight's channels fit the input's; C7 bias `[O]`;
/// C8 the output is not empty; C9 output padding is less than the stride.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    let most = if matches!(op, Op::ConvWeightGrad { .. }) { 2 } else { 3 };
    expect_inputs(op, inputs, 2..=most)?;
    check::floats(inputs)?;
    let (x, w) = (&inputs[0].shape, &inputs[1].shape);
    let rank = x.len().saturating_sub(2);
    check_lists(lists(op)?, rank)?;
    if w.len() != x.len() {
        return check::fail(format!("input of shape {x:?} and weight of shape {w:?} differ in rank"));
    }
    let shape = match op {
        Op::Conv { .. } => conv_shape(op, x, w)?,
        Op::ConvTranspose { output_padding, .. } => transposed_shape(op, x, w, output_padding)?,
        Op::ConvWeightGrad { kernel, .. } => weight_shape(op, x, w, kernel)?,
        _ => return check::fail("is no convolution"),
    };
    if !matches!(op, Op::ConvWeightGrad { .. }) {
        bias(inputs, shape[1])?;
    }
    Ok(vec![check::sized(inputs[0].dtype, shape)?])
}

fn conv_shape(op: &Op, x: &[usize], w: &[usize]) -> Result<Shape> {
    let (stride, padding, dilation, groups) = lists(op)?;
    divides("input", x[1], groups)?;
    divides("output", w[0], groups)?;
    if w[1] != x[1] / groups {
        let times = if groups == 1 { String::new() } else { format!(" in each of {groups} groups") };
        return check::fail(format!("input has {} channels, weight expects {}{times}", x[1], w[1]));
    }
    let mut shape = vec![x[0], w[0]];
    for a in 0..x.len() - 2 {
        shape.push(conv_extent(x[a + 2], w[a + 2], stride[a], padding[a], dilation[a])?);
    }
    Ok(shape)
}

fn transposed_shape(op: &Op, x: &[usize], w: &[usize], extra: &[usize]) -> Result<Shape> {
    let (stride, padding, dilation, groups) = lists(op)?;
    check::per_axis("output_padding", extra, x.len() - 2)?;
    divides("input", x[1], groups)?;
    if w[0] != x[1] {
        return check::fail(format!("input has {} channels, weight expects {}", x[1], w[0]));
    }
    let mut shape = vec![x[0], w[1].saturating_mul(groups)];
    for a in 0..x.len() - 2 {
        if extra[a] >= stride[a] {
            return check::fail(format!("output padding is {}, expects less than the stride {}", extra[a], stride[a]));
        }
        shape.push(transposed_extent(x[a + 2], w[a + 2], stride[a], padding[a], dilation[a], extra[a])?);
    }
    Ok(shape)
}

fn weight_shape(op: &Op, x: &[usize], dy: &[usize], kernel: &[usize]) -> Result<Shape> {
    let (stride, padding, dilation, groups) = lists(op)?;
    check::per_axis("kernel", kernel, x.len() - 2)?;
    check::positive("kernel", kernel)?;
    divides("input", x[1], groups)?;
    divides("gradient", dy[1], groups)?;
    let mut expected = vec![x[0], dy[1]];
    for a in 0..x.len() - 2 {
        expected.push(conv_extent(x[a + 2], kernel[a], stride[a], padding[a], dilation[a])?);
    }
    if dy != expected {
        return check::fail(format!("gradient has shape {dy:?}, expects {expected:?}"));
    }
    Ok([&[dy[1], x[1] / groups], kernel].concat())
}

/// What the output padding of the transposed convolution must be so that it undoes the extents of a convolution.
fn extra_padding(op: &Op, x: &[usize], y: &[usize], kernel: &[usize]) -> Result<Vec<usize>> {
    let (stride, padding, dilation, _) = lists(op)?;
    (0..kernel.len())
        .map(|a| {
            let least = (y[a + 2] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1;
            (x[a + 2] + 2 * padding[a]).checked_sub(least).map_or_else(|| check::fail("extents do not fit"), Ok)
        })
        .collect()
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; context.inputs.len()]) };
    let (stride, padding, dilation, groups) = lists(op)?;
    let (stride, padding, dilation) = (stride.to_vec(), padding.to_vec(), dilation.to_vec());
    let (x, w) = (context.inputs[0], context.inputs[1]);
    let b = &mut *context.builder;
    let (x_shape, y_shape) = (b.shape(x).to_vec(), b.shape(w).to_vec());
    let conv = Op::Conv { stride: stride.clone(), padding: padding.clone(), dilation: dilation.clone(), groups };
    let transposed = |output_padding| Op::ConvTranspose {
        stride: stride.clone(),
        padding: padding.clone(),
        output_padding,
        dilation: dilation.clone(),
        groups,
    };
    let weight = |kernel: &[usize]| Op::ConvWeightGrad {
        kernel: kernel.to_vec(),
        stride: stride.clone(),
        padding: padding.clone(),
        dilation: dilation.clone(),
        groups,
    };
    let kernel = &b.shape(w)[2..].to_vec();
    let mut gradients: InputGradients = vec![None; context.inputs.len()];
    match op {
        Op::Conv { .. } => {
            if context.needed[0] {
                let extra = extra_padding(op, &x_shape, b.shape(dy), kernel)?;
                gradients[0] = Some(b.node(transposed(extra), &[dy, w])?);
            }
            if context.needed[1] {
                gradients[1] = Some(b.node(weight(kernel), &[x, dy])?);
            }
        }
        Op::ConvTranspose { .. } => {
            if context.needed[0] {
                gradients[0] = Some(b.node(conv, &[dy, w])?);
            }
            if context.needed[1] {
                gradients[1] = Some(b.node(weight(kernel), &[dy, x])?);
            }
        }
        // Linear in both: dw = W(x, dy), so d/dx is the transposed convolution of dy, d/d(dy) the convolution of x, both by ddw.
        Op::ConvWeightGrad { kernel, .. } => {
            if context.needed[0] {
                let extra = extra_padding(op, &x_shape, &y_shape, kernel)?;
                gradients[0] = Some(b.node(transposed(extra), &[w, dy])?);
            }
            if context.needed[1] {
                gradients[1] = Some(b.node(conv, &[x, dy])?);
            }
        }
        _ => return check::fail("is no convolution"),
    }
    if context.inputs.len() == 3 && context.needed[2] {
        gradients[2] = Some(bias_gradient(context, dy)?);
    }
    Ok(gradients)
}

fn bias_gradient(context: &mut GradientContext<'_>, dy: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (0..context.builder.shape(dy).len()).filter(|a| *a != 1).collect();
    context.builder.sum(dy, &axes)
}

impl Geometry {
    fn new(op: &Op, x: &[usize], y: &[usize], kernel: &[usize]) -> Result<Self> {
        let (stride, padding, dilation, groups) = lists(op)?;
        Ok(Self {
            n: x[0],
            c: x[1],
            o: y[1],
            groups,
            input: three(&x[2..], 1),
            output: three(&y[2..], 1),
            kernel: three(kernel, 1),
            stride: three(stride, 1),
            padding: three(padding, 0),
            dilation: three(dilation, 1),
        })
    }

    /// Position in the input of output position `o` and kernel position `k` along an axis, if it is not padding.
    fn source(&self, axis: usize, o: usize, k: usize) -> Option<usize> {
        let i = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis])?;
        (i < self.input[axis]).then_some(i)
    }

    /// Calls `f(x row, y row, weight index, kernel column)` for every pair of rows that a weight connects.
    fn rows(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (cg, og) = (self.c / self.groups, self.o / self.groups);
        let kernel: usize = self.kernel.iter().product();
        for n in 0..self.n {
            for o in 0..self.o {
                for c in 0..cg {
                    let (x_plane, y_plane) = (n * self.c + o / og * cg + c, n * self.o + o);
                    for k in 0..kernel {
                        let (kt, kh, kw) = self.kernel_position(k);
                        for ot in 0..self.output[0] {
                            let Some(it) = self.source(0, ot, kt) else { continue };
                            for oh in 0..self.output[1] {
                                let Some(ih) = self.source(1, oh, kh) else { continue };
                                let x_row = (x_plane * self.input[0] + it) * self.input[1] + ih;
                                let y_row = (y_plane * self.output[0] + ot) * self.output[1] + oh;
                                f(x_row * self.input[2], y_row * self.output[2], (o * cg + c) * kernel + k, kw);
                            }
                        }
                    }
                }
            }
        }
    }

    fn kernel_position(&self, k: usize) -> (usize, usize, usize) {
        let [_, height, width] = self.kernel;
        (k / (height * width), k / width % height, k % width)
    }

    /// Output columns whose source column for kernel column `kw` is no padding, and the source of the first.
    fn columns(&self, kw: usize) -> (std::ops::Range<usize>, usize) {
        let inside: Vec<usize> = (0..self.output[2]).filter(|o| self.source(2, *o, kw).is_some()).collect();
        match (inside.first(), inside.last()) {
            (Some(first), Some(last)) => (*first..last + 1, self.source(2, *first, kw).unwrap_or(0)),
            _ => (0..0, 0),
        }
    }
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    let types: Vec<ValueType> = inputs.iter().map(|x| x.ty()).collect();
    let shape = infer(op, &types.iter().collect::<Vec<_>>())?.swap_remove(0).shape;
    let (a, b) = (inputs[0], inputs[1]);
    // Which of the arrays are the plain convolution's x, w and y.
    let geometry = match op {
        Op::Conv { .. } => Geometry::new(op, &a.shape, &shape, &b.shape[2..])?,
        Op::ConvTranspose { .. } => Geometry::new(op, &shape, &a.shape, &b.shape[2..])?,
        _ => Geometry::new(op, &a.shape, &b.shape, &shape[2..])?,
    };
    let columns: Vec<_> = (0..geometry.kernel[2]).map(|kw| geometry.columns(kw)).collect();
    let stride = geometry.stride[2];
    let (first, second) = (a.floats()?, b.floats()?);
    let mut result = vec![0.0; shape.iter().product()];
    geometry.rows(|x, y, w, kw| {
        let (range, source) = &columns[kw];
        let x = x + source;
        let ys = y + range.start..y + range.end;
        match op {
            Op::Conv { .. } => {
                let weight = second[w];
                result[ys].iter_mut().enumerate().for_each(|(i, y)| *y += weight * first[x + i * stride]);
            }
            Op::ConvTranspose { .. } => {
                let weight = second[w];
                first[ys].iter().enumerate().for_each(|(i, y)| result[x + i * stride] += weight * y);
            }
            _ => result[w] += second[ys].iter().enumerate().map(|(i, dy)| dy * first[x + i * stride]).sum::<f64>(),
        }
    });
    if let Some(bias) = inputs.get(2) {
        let plane: usize = shape[2..].iter().product();
        for (i, plane) in result.chunks_exact_mut(plane).enumerate() {
            let bias = bias.floats()?[i % shape[1]];
            plane.iter_mut().for_each(|y| *y += bias);
        }
    }
    Ok(vec![Array::float(shape, result)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, random};
    use super::*;
    use crate::random::Stream;

    /// Random geometries in 1 to 3 dimensions, with and without bias, and the weight gradient of each plain one.
    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = Vec::new();
        for i in 0..24 {
            let (op, x, w) = geometry(stream, 1 + i % 3, i % 4 < 2);
            let y = op.infer(&[&ValueType::f32(x.clone()), &ValueType::f32(w.clone())]).unwrap().swap_remove(0).shape;
            let [x, w, bias, dy] = [&x, &w, &y[1..2].to_vec(), &y].map(|shape| random(stream, shape, [-1.0, 1.0]));
            if let Op::Conv { stride, padding, dilation, groups } = op.clone() {
                let kernel = w.shape[2..].to_vec();
                let op = Op::ConvWeightGrad { kernel, stride, padding, dilation, groups };
                cases.push(Case::new(op, [x.clone(), dy]));
            }
            cases.push(if i % 2 == 0 { Case::new(op, [x, w, bias]) } else { Case::new(op, [x, w]) });
        }
        cases
    }

    /// A random geometry with `rank` spatial axes: operator, input shape, weight shape.
    fn geometry(stream: &mut Stream, rank: usize, transposed: bool) -> (Op, Shape, Shape) {
        let mut list =
            |lo: u64, hi: u64| -> Vec<usize> { (0..rank).map(|_| (lo + stream.below(hi - lo + 1)) as usize).collect() };
        let (stride, padding, dilation, kernel) = (list(1, 3), list(0, 1), list(1, 2), list(1, 3));
        let spatial: Vec<usize> = list(5, 6);
        let groups = 1 + stream.below(2) as usize;
        let (inner, outer) = (groups * (1 + stream.below(2) as usize), 1 + stream.below(2) as usize);
        let x = [&[2, inner], spatial.as_slice()].concat();
        if transposed {
            let output_padding = stride.iter().map(|s| stream.below(*s as u64) as usize).collect();
            let w = [&[inner, outer], kernel.as_slice()].concat();
            return (Op::ConvTranspose { stride, padding, output_padding, dilation, groups }, x, w);
        }
        let w = [&[outer * groups, inner / groups], kernel.as_slice()].concat();
        (Op::Conv { stride, padding, dilation, groups }, x, w)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::random;
    use super::*;
    use crate::random::Stream;

    #[test]
    fn three_dimensions_equal_the_sum_over_the_definition() {
        let mut stream = Stream::keyed("definition");
        let x = random(&mut stream, &[1, 2, 3, 4, 3], [-1.0, 1.0]);
        let w = random(&mut stream, &[3, 2, 2, 3, 2], [-1.0, 1.0]);
        let op = Op::Conv { stride: vec![1, 2, 1], padding: vec![0, 1, 0], dilation: vec![1, 1, 1], groups: 1 };
        let y = op.evaluate(&[&x, &w]).unwrap().remove(0);
        assert_eq!(y.shape, [1, 3, 2, 2, 2]);
        let at = |a: &Array, i: &[usize]| {
            let steps = crate::tensor::strides(&a.shape);
            a.floats().unwrap()[i.iter().zip(steps).map(|(i, s)| i * s).sum::<usize>()]
        };
        let mut expected = 0.0;
        for (c, t, h, v) in
            (0..2).flat_map(|c| (0..2).flat_map(move |t| (0..3).flat_map(move |h| (0..2).map(move |v| (c, t, h, v)))))
        {
            // Output (2, 1, 1, 1): source row 1 * 2 + h - 1.
            if let Some(row) = (2_usize + h).checked_sub(1).filter(|row| *row < 4) {
                expected += at(&x, &[0, c, 1 + t, row, 1 + v]) * at(&w, &[2, c, t, h, v]);
            }
        }
        assert!((at(&y, &[0, 2, 1, 1, 1]) - expected).abs() < 1e-12);
    }

    #[test]
    fn c6_channels_that_do_not_fit_are_named() {
        let op = Op::Conv { stride: vec![1, 1], padding: vec![0, 0], dilation: vec![1, 1], groups: 1 };
        let error = op.infer(&[&ValueType::f32([1, 64, 8, 8]), &ValueType::f32([8, 128, 3, 3])]).unwrap_err();
        assert_eq!(error.message(), "input has 64 channels, weight expects 128");
    }

    #[test]
    fn c8_and_c9_empty_outputs_and_large_output_paddings_are_refused() {
        let op = Op::Conv { stride: vec![1], padding: vec![0], dilation: vec![4], groups: 1 };
        let error = op.infer(&[&ValueType::f32([1, 1, 8]), &ValueType::f32([1, 1, 3])]).unwrap_err();
        assert_eq!(error.message(), "kernel spans 9 elements, the padded input has 8");
        let op = Op::ConvTranspose {
            stride: vec![2],
            padding: vec![0],
            output_padding: vec![2],
            dilation: vec![1],
            groups: 1,
        };
        let error = op.infer(&[&ValueType::f32([1, 1, 8]), &ValueType::f32([1, 1, 3])]).unwrap_err();
        assert_eq!(error.message(), "output padding is 2, expects less than the stride 2");
    }
}
