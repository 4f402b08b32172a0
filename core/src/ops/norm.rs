//! Softmax and batch normalisation.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::Result;
use crate::graph::ValueId;
use crate::reference::Array;
use crate::tensor::ValueType;

fn n_inputs(op: &Op) -> usize {
    match op {
        Op::BatchNorm { .. } | Op::BatchNormTrainGrad { .. } => 5,
        Op::BatchNormTrain { .. } => 3,
        _ => 1,
    }
}

/// Constraints: C1 f32; C2 `axis` within the rank; C3 batch norm: rank 2 or more, every statistic and weight `[C]`;
/// C4 `batch_norm_train_grad`: `dy` has the shape of `x`; C5 `batch_norm_train`: more than one element for each channel.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    expect_inputs(op, inputs, n_inputs(op)..=n_inputs(op))?;
    check::floats(inputs)?;
    let x = inputs[0];
    if let Op::Softmax { axis } | Op::LogSoftmax { axis } = op {
        check::axis(*axis, x.shape.len())?;
        return Ok(vec![x.clone()]);
    }
    if x.shape.len() < 2 {
        return check::fail(format!("input has shape {:?}, expects [N, C, ..]", x.shape));
    }
    let channels = &x.shape[1..2];
    let last = if matches!(op, Op::BatchNormTrainGrad { .. }) { 4 } else { inputs.len() };
    for (i, ty) in inputs.iter().enumerate().take(last).skip(1) {
        check::shape(&format!("input {i}"), ty, channels)?;
    }
    let vector = ValueType::f32(channels);
    match op {
        Op::BatchNorm { .. } => Ok(vec![x.clone()]),
        Op::BatchNormTrain { .. } if x.elements() == channels[0] => {
            check::fail(format!("input {:?} has one element for each channel: its variance is undefined", x.shape))
        }
        Op::BatchNormTrain { .. } => Ok(vec![x.clone(), vector.clone(), vector]),
        _ => {
            check::shape("the gradient", inputs[4], &x.shape)?;
            Ok(vec![x.clone(), vector.clone(), vector])
        }
    }
}

pub(super) fn gradient(op: &Op, context: &mut GradientContext<'_>) -> Result<InputGradients> {
    match op {
        Op::Softmax { axis } => softmax_gradient(context, *axis),
        Op::LogSoftmax { axis } => log_softmax_gradient(context, *axis),
        Op::BatchNorm { eps } => batch_norm_gradient(context, *eps),
        Op::BatchNormTrain { eps } => batch_norm_train_gradient(context, *eps),
        _ => check::fail("has no second gradient"),
    }
}

/// `dx = y * (dy - sum(dy * y))`.
fn softmax_gradient(context: &mut GradientContext<'_>, axis: usize) -> Result<InputGradients> {
    let (Some(dy), y) = (context.gradients[0], context.outputs[0]) else { return Ok(vec![None]) };
    let b = &mut *context.builder;
    let product = b.mul(dy, y)?;
    let sum = b.sum_keep(product, &[axis])?;
    let centred = b.sub(dy, sum)?;
    Ok(vec![Some(b.mul(y, centred)?)])
}

/// `dx = dy - softmax(x) * sum(dy)`.
fn log_softmax_gradient(context: &mut GradientContext<'_>, axis: usize) -> Result<InputGradients> {
    let (Some(dy), y) = (context.gradients[0], context.outputs[0]) else { return Ok(vec![None]) };
    let b = &mut *context.builder;
    let softmax = b.exp(y)?;
    let sum = b.sum_keep(dy, &[axis])?;
    let product = b.mul(softmax, sum)?;
    Ok(vec![Some(b.sub(dy, product)?)])
}

/// With the statistics as constants of the batch: `y = (x - mean) * s * weight + bias`, `s = (var + eps)^-1/2`.
fn batch_norm_gradient(context: &mut GradientContext<'_>, eps: f64) -> Result<InputGradients> {
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; 5]) };
    let [x, weight, _, mean, var] = *context.inputs else { return check::fail("has 5 inputs") };
    let b = &mut *context.builder;
    let rank = b.shape(x).len();
    let mut column = vec![1; rank];
    column[1] = b.shape(weight)[0];
    let axes: Vec<usize> = (0..rank).filter(|a| *a != 1).collect();
    let shifted = b.affine(var, 1.0, eps)?;
    let scale = b.pow(shifted, -0.5)?;
    let slope = b.mul(scale, weight)?;
    let by_channel = b.reshape(slope, column.clone())?;
    let dx = b.mul(dy, by_channel)?;
    let sum_dy = b.sum(dy, &axes)?;
    let mean_column = b.reshape(mean, column)?;
    let centred = b.sub(x, mean_column)?;
    let product = b.mul(dy, centred)?;
    let sum_product = b.sum(product, &axes)?;
    let dweight = b.mul(sum_product, scale)?;
    let against = b.mul(sum_dy, slope)?;
    let dmean = b.neg(against)?;
    let per_variance = b.mul(sum_product, slope)?;
    let ratio = b.div(per_variance, shifted)?;
    let dvar = b.affine(ratio, -0.5, 0.0)?;
    Ok(vec![Some(dx), Some(dweight), Some(sum_dy), Some(dmean), Some(dvar)])
}

fn batch_norm_train_gradient(context: &mut GradientContext<'_>, eps: f64) -> Result<InputGradients> {
    if context.gradients[1..].iter().any(Option::is_some) {
        return check::fail(
            "a gradient arrives at the batch's mean or variance, which are for running statistics only",
        );
    }
    let Some(dy) = context.gradients[0] else { return Ok(vec![None; 3]) };
    let inputs: [ValueId; 5] = [context.inputs[0], context.inputs[1], context.outputs[1], context.outputs[2], dy];
    let gradients = context.builder.nodes(Op::BatchNormTrainGrad { eps }, &inputs)?;
    Ok(gradients.into_iter().map(Some).collect())
}

pub(super) fn evaluate(op: &Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    match op {
        Op::Softmax { axis } | Op::LogSoftmax { axis } => {
            Ok(vec![softmax(inputs[0], *axis, matches!(op, Op::LogSoftmax { .. }))?])
        }
        Op::BatchNorm { eps } => {
            let statistics: Vec<&[f64]> = inputs[1..].iter().map(|v| v.floats()).collect::<Result<_>>()?;
            let [weight, bias, mean, var] = statistics[..] else { return check::fail("has 5 inputs") };
            let scale = |c: usize| weight[c] / (var[c] + eps).sqrt();
            Ok(vec![by_channel(inputs[0], |c, x| (x - mean[c]) * scale(c) + bias[c])?])
        }
        Op::BatchNormTrain { eps } => batch_norm_train(inputs, *eps),
        Op::BatchNormTrainGrad { eps } => batch_norm_train_grad(inputs, *eps),
        _ => check::fail("is no normalisation"),
    }
}

fn softmax(x: &Array, axis: usize, logarithm: bool) -> Result<Array> {
    let inner: usize = x.shape[axis + 1..].iter().product();
    let extent = x.shape[axis];
    let mut y = x.floats()?.to_vec();
    for row in y.chunks_exact_mut(extent * inner) {
        for i in 0..inner {
            let column = || (0..extent).map(|k| k * inner + i);
            let peak = column().map(|at| row[at]).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = column().map(|at| (row[at] - peak).exp()).sum();
            for at in column() {
                let shifted = row[at] - peak;
                row[at] = if logarithm { shifted - total.ln() } else { shifted.exp() / total };
            }
        }
    }
    Ok(Array::float(x.shape.clone(), y))
}

/// Applies `f(channel, element)`.
fn by_channel(x: &Array, f: impl Fn(usize, f64) -> f64) -> Result<Array> {
    let (plane, channels) = (x.shape[2..].iter().product::<usize>(), x.shape[1]);
    let elements = x.floats()?.iter().enumerate();
    Ok(Array::float(x.shape.clone(), elements.map(|(i, x)| f(i / plane % channels, *x)).collect()))
}

/// Sums `f(channel, element)` for each channel.
fn channel_sums(x: &Array, f: impl Fn(usize, f64) -> f64) -> Result<Vec<f64>> {
    let (plane, channels) = (x.shape[2..].iter().product::<usize>(), x.shape[1]);
    let mut sums = vec![0.0; channels];
    for (i, x) in x.floats()?.iter().enumerate() {
        sums[i / plane % channels] += f(i / plane % channels, *x);
    }
    Ok(sums)
}

fn batch_norm_train(inputs: &[&Array], eps: f64) -> Result<Vec<Array>> {
    let (x, weight, bias) = (inputs[0], inputs[1].floats()?, inputs[2].floats()?);
    let n = (x.len() / weight.len()) as f64;
    let mean: Vec<f64> = channel_sums(x, |_, x| x)?.iter().map(|sum| sum / n).collect();
    let var: Vec<f64> = channel_sums(x, |c, x| (x - mean[c]).powi(2))?.iter().map(|sum| sum / n).collect();
    let y = by_channel(x, |c, x| (x - mean[c]) / (var[c] + eps).sqrt() * weight[c] + bias[c])?;
    let vector = |v: Vec<f64>| Array::float([v.len()], v);
    Ok(vec![y, vector(mean), vector(var)])
}

/// `dx = weight * s * (dy - mean(dy) - xhat * mean(dy * xhat))`.
fn batch_norm_train_grad(inputs: &[&Array], eps: f64) -> Result<Vec<Array>> {
    let (x, dy) = (inputs[0], inputs[4].floats()?);
    let (weight, mean, var) = (inputs[1].floats()?, inputs[2].floats()?, inputs[3].floats()?);
    let n = (x.len() / weight.len()) as f64;
    let values = x.floats()?;
    let plane: usize = x.shape[2..].iter().product();
    let channel = |i: usize| i / plane % weight.len();
    let normal = |i: usize| (values[i] - mean[channel(i)]) / (var[channel(i)] + eps).sqrt();
    let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    for (i, dy) in dy.iter().enumerate() {
        dweight[channel(i)] += dy * normal(i);
        dbias[channel(i)] += dy;
    }
    let element = |(i, dy): (usize, &f64)| {
        let c = channel(i);
        weight[c] / (var[c] + eps).sqrt() * (dy - dbias[c] / n - normal(i) * dweight[c] / n)
    };
    let dx = Array::float(x.shape.clone(), dy.iter().enumerate().map(element).collect());
    let vector = |v: Vec<f64>| Array::float([v.len()], v);
    Ok(vec![dx, vector(dweight), vector(dbias)])
}

#[cfg(test)]
pub(super) mod differentiable {
    use super::super::testing::{Case, extents, random};
    use super::*;
    use crate::random::Stream;

    pub(in crate::ops) fn cases(stream: &mut Stream) -> Vec<Case> {
        let mut cases = Vec::new();
        for axis in 0..3 {
            for op in [Op::Softmax { axis }, Op::LogSoftmax { axis }] {
                let shape = extents(stream, 3, 4);
                cases.push(Case::new(op, [random(stream, &shape, [-2.0, 2.0])]));
            }
        }
        for x in [vec![2, 3, 2, 2], vec![4, 3], vec![2, 3, 3]] {
            let x = random(stream, &x, [-1.0, 1.0]);
            let [weight, bias, mean, var] = [0.5, -0.5, -0.5, 0.5].map(|lo| random(stream, &[3], [lo, lo + 1.0]));
            cases.push(Case::new(Op::BatchNormTrain { eps: 1e-5 }, [x.clone(), weight.clone(), bias.clone()]));
            cases.push(Case::new(Op::BatchNorm { eps: 1e-5 }, [x, weight, bias, mean, var]));
        }
        cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow() {
        let x = Array::float([2], vec![1000.0, 1001.0]);
        let y = Op::Softmax { axis: 0 }.evaluate(&[&x]).unwrap().remove(0);
        assert!((y.floats().unwrap()[1] - 0.731_058_578_630_004_9).abs() < 1e-12);
    }

    #[test]
    fn c5_one_element_for_each_channel_is_refused() {
        let types = [ValueType::f32([1, 3]), ValueType::f32([3]), ValueType::f32([3])];
        let error = Op::BatchNormTrain { eps: 1e-5 }.infer(&types.iter().collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.message(), "input [1, 3] has one element for each channel: its variance is undefined");
    }
}
