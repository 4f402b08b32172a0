//! Normalisation layers with PyTorch's parameter names.

use crate::error::Result;
use crate::graph::{Builder, Init, Phase, Role, ValueId};
use crate::ops::Op;
use crate::tensor::{Dtype, ValueType};

/// PyTorch's default for every batch norm.
const EPS: f64 = 1e-5;

/// Batch norm of `x [N, C, ..]` as layer `label`: `weight`, `bias`, `running_mean`, `running_var` `[C]` and the counter
/// `num_batches_tracked`. In training the running statistics move by `momentum` towards the batch's mean and unbiased variance.
///
/// # Errors
/// If there is one element for each channel in training.
pub fn batch_norm(
    b: &mut Builder,
    label: &str,
    x: ValueId,
    phase: Phase,
    momentum: f64,
    weight: Init,
) -> Result<ValueId> {
    b.scope(label, |b| {
        let channels = b.shape(x).get(1).copied().unwrap_or(1);
        let weight = b.parameter("weight", [channels], weight)?;
        let bias = b.parameter("bias", [channels], Init::ZEROS)?;
        let mean = b.buffer("running_mean", [channels], Init::ZEROS)?;
        let var = b.buffer("running_var", [channels], Init::ONES)?;
        let counter = b.variable("num_batches_tracked", ValueType::i64([]), Role::Buffer, Init::ZEROS)?;
        if phase == Phase::Eval {
            return b.node(Op::BatchNorm { eps: EPS }, &[x, weight, bias, mean, var]);
        }
        let n = b.shape(x).iter().product::<usize>() as f64 / channels as f64;
        let [y, batch_mean, batch_var] = b.nodes(Op::BatchNormTrain { eps: EPS }, &[x, weight, bias])?[..] else {
            return Err(crate::Error::graph("batch_norm_train has three outputs"));
        };
        let unbiased = b.affine(batch_var, n / (n - 1.0), 0.0)?;
        for (name, running, batch) in [("running_mean", mean, batch_mean), ("running_var", var, unbiased)] {
            let old = b.affine(running, 1.0 - momentum, 0.0)?;
            let new = b.affine(batch, momentum, 0.0)?;
            let moved = b.add(old, new)?;
            b.assign(name, moved)?;
        }
        let one = b.node(Op::Fill { dtype: Dtype::I64, shape: vec![], value: 1.0 }, &[])?;
        let counted = b.add(counter, one)?;
        b.assign("num_batches_tracked", counted)?;
        Ok(y)
    })
}
