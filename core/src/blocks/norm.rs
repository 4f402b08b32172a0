//! Normalisation layers with PyTorch's parameter names.

use crate::error::Result;
use crate::graph::{Builder, Init, Phase, Role, ValueId};
use crate::ops::Op;
use crate::tensor::{Dtype, ValueType};

/// PyTorch's default for every batch norm.
const EPS: f64 = 1e-5;

/// Batch norm of `x [N, C, ..]` as layer `label`: `weight`, `bias`, `running_mean`, `running_var` `[C]` and the counter
/// `num_batches_tracked`. In training the running statistics move by `momentum` towards the batch's mean and unbiased variance, once for
/// every call of the layer in a run.
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
            let before = b.assigned(name).unwrap_or(running);
            let old = b.affine(before, 1.0 - momentum, 0.0)?;
            let new = b.affine(batch, momentum, 0.0)?;
            let moved = b.add(old, new)?;
            b.reassign(name, moved)?;
        }
        let one = b.node(Op::Fill { dtype: Dtype::I64, shape: vec![], value: 1.0 }, &[])?;
        let before = b.assigned("num_batches_tracked").unwrap_or(counter);
        let counted = b.add(before, one)?;
        b.reassign("num_batches_tracked", counted)?;
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::ops::testing::{evaluate, random};
    use crate::random::Stream;
    use crate::reference::{Array, Interpreter, Precision};

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

    #[test]
    fn a_layer_that_is_called_twice_moves_its_statistics_twice() {
        let mut b = Builder::new("test");
        let inputs = [("first", vec![1.0, 3.0]), ("second", vec![10.0, 14.0])];
        for (name, _) in &inputs {
            let x = b.input(name, ValueType::f32([2, 1])).unwrap();
            batch_norm(&mut b, "norm", x, Phase::Train, 0.1, Init::ONES).unwrap();
        }
        let graph = b.finish();
        let mut interpreter = Interpreter::new(Precision::F64);
        interpreter.initialise(&graph, 0).unwrap();
        let inputs = inputs.map(|(name, values)| (name.to_owned(), Array::float([2, 1], values)));
        interpreter.run(&graph, &BTreeMap::from(inputs)).unwrap();
        // Means 2 and 12, unbiased variances 2 and 8.
        for (name, expected) in [("running_mean", 0.9 * 0.2 + 1.2), ("running_var", 0.9 * (0.9 + 0.2) + 0.8)] {
            let found = interpreter.variables[&format!("norm.{name}")].floats().unwrap()[0];
            assert!((found - expected).abs() < 1e-12, "{name} is {found}, expects {expected}");
        }
        assert_eq!(interpreter.variables["norm.num_batches_tracked"].ints().unwrap(), [2]);
    }
}
