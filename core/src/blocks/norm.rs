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

/// Instance norm of `x [N, C, ..]` without parameters: every channel of every sample has mean 0 and (biased) variance 1, in training
/// and in evaluation. It has no state.
///
/// # Errors
/// If there is one element for each channel.
pub fn instance_norm(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    let channels = shape.iter().take(2).product::<usize>();
    // The batch norm of one sample whose channels are those of all samples.
    let flat = b.reshape(x, [&[1, channels], shape.get(2..).unwrap_or_default()].concat())?;
    let (weight, bias) = (b.fill([channels], 1.0)?, b.fill([channels], 0.0)?);
    let y = b.nodes(Op::BatchNormTrain { eps: EPS }, &[flat, weight, bias])?[0];
    b.reshape(y, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{evaluate, random};
    use crate::random::Stream;

    #[test]
    fn every_channel_of_every_sample_has_mean_0_and_variance_1() {
        let x = random(&mut Stream::keyed("instance norm"), &[2, 3, 4, 5], [-3.0, 8.0]);
        let results = evaluate(&[x], |b, x| Ok(vec![instance_norm(b, x[0])?]));
        for plane in results[0].floats().unwrap().chunks_exact(20) {
            let mean = plane.iter().sum::<f64>() / 20.0;
            let variance = plane.iter().map(|x| x * x).sum::<f64>() / 20.0;
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        }
    }
}
