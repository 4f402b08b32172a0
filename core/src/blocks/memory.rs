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
    let weights = shrink(b, softmax, addressing.threshold)?;
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

/// `relu(w - t) * w / (|w - t| + eps)` for weights `[N, slots, ..]`, then divided by the L1 norm over the slots. The gradient flows
/// through all three factors, as in the official code: within rounding distance of the threshold it is not that of a mask.
///
/// # Errors
/// If `w` has no second axis.
pub fn shrink(b: &mut Builder, w: ValueId, threshold: f64) -> Result<ValueId> {
    if threshold == 0.0 {
        return Ok(w);
    }
    let over = b.affine(w, 1.0, -threshold)?;
    let kept = b.relu(over)?;
    let product = b.mul(kept, w)?;
    let distance = b.abs(over)?;
    let guarded = b.affine(distance, 1.0, EPS)?;
    let shrunk = b.div(product, guarded)?;
    let magnitude = b.abs(shrunk)?;
    let sum = b.sum_keep(magnitude, &[1])?;
    let least = b.scalar(EPS)?;
    let norm = b.maximum(sum, least)?;
    b.div(shrunk, norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    #[test]
    fn shrinkage_of_the_published_example() {
        let logits = Array::float([1, 4], vec![2.0, 1.0, 0.0, -1.0]);
        let results = evaluate(&[logits], |b, x| {
            let softmax = b.softmax(x[0], 1)?;
            let weights = shrink(b, softmax, 0.1)?;
            Ok(vec![weights, super::super::loss::entropy(b, weights)?])
        });
        let expected = [0.731_058_6, 0.268_941_4, 0.0, 0.0];
        assert!(results[0].floats().unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7));
        assert!((results[1].floats().unwrap()[0] - 0.582_203_1).abs() < 1e-7);
    }
}
