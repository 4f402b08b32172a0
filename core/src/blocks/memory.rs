//! Memory addressing of MemAE (Gong et al., ICCV 2019) and ML-MemAE-SC.

use crate::error::{Error, Result};
use crate::graph::{Builder, Init, ValueId};
use crate::ops::Op;

/// Guards divisions, as in the official code.
const EPS: f64 = 1e-12;

/// How a query meets the memory.
#[derive(Clone, Copy, Debug)]
pub struct Addressing {
    /// Number of slots.
    pub slots: usize,
    /// Shrinkage threshold; 0 for none.
    pub threshold: f64,
    /// Cosine similarity (the paper) instead of the dot product (the official code).
    pub cosine: bool,
    /// Whether the gradient of the shrinkage is that of a mask, see [`shrink`].
    pub mask_gradient: bool,
}

/// What a read gives.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The combination of slots, shape of the feature.
    pub output: ValueId,
    /// Addressing weights after shrinkage, `[N, slots, ..]`.
    pub weights: ValueId,
}

/// Reads the memory `weight [slots, C]` of layer `label` with every position of `x [N, C, ..]` as a query:
/// softmax over the similarities, hard shrinkage, L1 normalisation, weighted sum of slots (equations 3 to 7).
///
/// # Errors
/// If `x` has no channel axis.
pub fn read(b: &mut Builder, label: &str, x: ValueId, addressing: Addressing) -> Result<Read> {
    b.scope(label, |b| {
        let shape = b.shape(x).to_vec();
        if shape.len() < 3 {
            return Err(Error::graph(format!("memory reads features [N, C, ..], found shape {shape:?}")));
        }
        let rows = rows(b, x)?;
        let read = address(b, "weight", rows, addressing)?;
        Ok(Read { output: restore(b, read.output, &shape)?, weights: restore(b, read.weights, &shape)? })
    })
}

/// Reads the memory `memMatrix [slots, C * ..]` of layer `label` with each whole sample of `x [N, C, ..]` as one query, as
/// ML-MemAE-SC does (Liu et al., ICCV 2021); the weights are `[N, slots]`.
///
/// # Errors
/// If `x` is a scalar.
pub fn read_whole(b: &mut Builder, label: &str, x: ValueId, addressing: Addressing) -> Result<Read> {
    b.scope(label, |b| {
        let shape = b.shape(x).to_vec();
        let Some((samples, rest)) = shape.split_first() else {
            return Err(Error::graph("memory reads features [N, ..], found a scalar"));
        };
        let rows = b.reshape(x, [*samples, rest.iter().product()])?;
        let read = address(b, "memMatrix", rows, addressing)?;
        Ok(Read { output: b.reshape(read.output, shape)?, ..read })
    })
}

/// Reads the memory `name [slots, K]` with the queries `rows [queries, K]`.
fn address(b: &mut Builder, name: &str, rows: ValueId, addressing: Addressing) -> Result<Read> {
    let width = b.shape(rows)[1];
    let memory = b.parameter(name, [addressing.slots, width], Init::fan_in(width))?;
    let logits = similarity(b, rows, memory, addressing.cosine)?;
    let softmax = b.softmax(logits, 1)?;
    let weights = shrink(b, softmax, addressing.threshold, addressing.mask_gradient)?;
    Ok(Read { output: b.matmul(weights, memory)?, weights })
}

/// Every position of `x [N, C, ..]` as a row of `[queries, C]`.
pub(super) fn rows(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    let last: Vec<usize> = std::iter::once(0).chain(2..shape.len()).chain([1]).collect();
    let moved = b.permute(x, &last)?;
    let channels = shape[1];
    b.reshape(moved, [shape.iter().product::<usize>() / channels, channels])
}

/// `rows [queries, K]` as `[N, K, ..]`, where `shape` is `[N, _, ..]`.
///
/// # Errors
/// If the rows are not those of the shape's positions.
pub fn restore(b: &mut Builder, rows: ValueId, shape: &[usize]) -> Result<ValueId> {
    let rank = shape.len();
    let width = b.shape(rows)[1];
    let unfolded = b.reshape(rows, [&shape[..1], &shape[2..], &[width]].concat())?;
    let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    b.permute(unfolded, &order)
}

fn similarity(b: &mut Builder, rows: ValueId, memory: ValueId, cosine: bool) -> Result<ValueId> {
    let (rows, memory) = if cosine { (unit(b, rows)?, unit(b, memory)?) } else { (rows, memory) };
    b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[rows, memory])
}

/// `x [N, C, ..]` with every position's channels divided by `max(norm, 1e-12)`; the maximum is taken of the squares, so that
/// a position of zeros has a gradient.
///
/// # Errors
/// If `x` has no second axis.
pub fn unit(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let square = b.mul(x, x)?;
    let sum = b.sum_keep(square, &[1])?;
    let least = b.scalar(EPS * EPS)?;
    let sum = b.maximum(sum, least)?;
    let norm = b.sqrt(sum)?;
    b.div(x, norm)
}

/// `relu(w - t) * w / (|w - t| + eps)` for weights `[N, slots, ..]`, then divided by the L1 norm over the slots; computed as
/// `w * (1 - eps / (relu(w - t) + eps))`, whose gradient is no difference of large numbers.
///
/// The gradient flows through all factors, as in the official code. It is 1 above the threshold, 0 below, and right above it
/// `w * eps / (w - t)^2` more: one weight in thousands decides a step, and where it lies is a matter of rounding. With `mask_gradient`
/// it is 1 or 0, so that trainings on different machines stay together.
///
/// # Errors
/// If `w` has no second axis.
pub fn shrink(b: &mut Builder, w: ValueId, threshold: f64, mask_gradient: bool) -> Result<ValueId> {
    if threshold == 0.0 {
        return Ok(w);
    }
    let over = b.affine(w, 1.0, -threshold)?;
    let over = b.relu(over)?;
    let guarded = b.affine(over, 1.0, EPS)?;
    let eps = b.scalar(EPS)?;
    let lost = b.div(eps, guarded)?;
    let kept = b.affine(lost, -1.0, 1.0)?;
    let kept = if mask_gradient { b.stop_gradient(kept)? } else { kept };
    let shrunk = b.mul(w, kept)?;
    let magnitude = b.abs(shrunk)?;
    let sum = b.sum_keep(magnitude, &[1])?;
    let least = b.scalar(EPS)?;
    let norm = b.maximum(sum, least)?;
    b.div(shrunk, norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::differentiate;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    #[test]
    fn shrinkage_of_the_published_example() {
        let logits = Array::float([1, 4], vec![2.0, 1.0, 0.0, -1.0]);
        let results = evaluate(&[logits], |b, x| {
            let softmax = b.softmax(x[0], 1)?;
            let weights = shrink(b, softmax, 0.1, false)?;
            Ok(vec![weights, super::super::loss::entropy(b, weights)?])
        });
        let expected = [0.731_058_6, 0.268_941_4, 0.0, 0.0];
        assert!(results[0].floats().unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7));
        assert!((results[1].floats().unwrap()[0] - 0.582_203_1).abs() < 1e-7);
    }

    /// The middle weight lies one part in ten million above the threshold.
    #[test]
    fn a_mask_has_the_same_weights_and_no_peak_in_the_gradient() {
        let results = |mask| {
            evaluate(&[Array::float([1, 3], vec![0.3, 0.1 + 1e-8, 0.05])], |b, x| {
                let weights = shrink(b, x[0], 0.1, mask)?;
                let first = b.slice(weights, &[0, 0], &[1, 1])?;
                let sum = b.sum(first, &[0, 1])?;
                let gradient = differentiate(b, sum, &[x[0]])?[0].unwrap();
                Ok(vec![weights, gradient])
            })
        };
        let [published, mask] = [false, true].map(results);
        let floats = |array: &Array| array.floats().unwrap().to_vec();
        assert_eq!(floats(&published[0]), floats(&mask[0]));
        // Of `a / (a + b)` with respect to `b`: `-a / (a + b)^2`, times the slope of `b`, which is `1 + w eps / (w - t)^2`.
        let (slope, peak) = (-0.3 / 0.4_f64.powi(2), 1.0 + 0.1 * EPS / 1e-8_f64.powi(2));
        assert!((floats(&mask[1])[1] - slope).abs() < 1e-3, "{:?}", mask[1]);
        assert!((floats(&published[1])[1] / (slope * peak) - 1.0).abs() < 1e-3, "{:?}", published[1]);
        assert_eq!([floats(&published[1])[2], floats(&mask[1])[2]], [0.0; 2]);
    }
}
