//! Strided convolutional encoders and their mirrored decoders, with the layer numbers of a PyTorch `Sequential`.

use super::convolution::Conv;
use super::norm::batch_norm;
use crate::error::{Context, Result};
use crate::graph::{Builder, Init, Phase, ValueId};

/// One stage: a convolution down, and its transposed counterpart up.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Channels after the convolution.
    pub channels: usize,
    /// Kernel of the convolution.
    pub kernel: Vec<usize>,
    /// Kernel of the transposed convolution.
    pub up_kernel: Vec<usize>,
    /// Stride of both.
    pub stride: Vec<usize>,
    /// Padding of both.
    pub padding: Vec<usize>,
    /// Output padding of the transposed convolution; `None` for what restores the extents of the stage's input.
    pub output_padding: Option<Vec<usize>>,
}

impl Stage {
    /// Kernel 3 with padding 1 in every spatial axis.
    pub fn three(channels: usize, stride: &[usize]) -> Self {
        let n = stride.len();
        let three = vec![3; n];
        Self {
            channels,
            kernel: three.clone(),
            up_kernel: three,
            stride: stride.to_vec(),
            padding: vec![1; n],
            output_padding: None,
        }
    }
}

/// What all layers have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// Slope of the leaky ReLU after every normalisation.
    pub slope: f64,
    /// First values of the convolutions' weights; `None` for PyTorch's default.
    pub weight: Option<Init>,
    /// First values of the normalisations' weights.
    pub norm: Init,
    /// Training or evaluation.
    pub phase: Phase,
}

impl Style {
    fn conv(&self, channels: usize, kernel: &[usize], stage: &Stage) -> Conv {
        let conv = Conv::new(channels, kernel).stride(&stage.stride).padding(&stage.padding);
        match &self.weight {
            Some(init) => conv.init(init.clone()),
            None => conv,
        }
    }

    /// Batch norm as layer `number`, leaky ReLU as the next.
    fn activate(&self, b: &mut Builder, number: usize, x: ValueId) -> Result<ValueId> {
        let x = batch_norm(b, &number.to_string(), x, self.phase, 0.1, self.norm.clone())?;
        b.scope(&(number + 1).to_string(), |b| b.leaky_relu(x, self.slope))
    }
}

/// Convolution, batch norm and leaky ReLU for every stage: layers `encoder.0`, `encoder.1`, `encoder.3`, ...
///
/// # Errors
/// If the input is too small for the stages.
pub fn encode(b: &mut Builder, stages: &[Stage], style: &Style, x: ValueId) -> Result<ValueId> {
    b.scope("encoder", |b| {
        stages.iter().enumerate().try_fold(x, |x, (i, stage)| {
            let x = style.conv(stage.channels, &stage.kernel, stage).forward(b, &(3 * i).to_string(), x)?;
            style.activate(b, 3 * i + 1, x)
        })
    })
}

/// The stages backwards from the code `x` to the shape `target` of the encoder's input: layers `decoder.0`, `decoder.1`,
/// `decoder.3`, ...; the last one is bare.
///
/// # Errors
/// If the stages do not lead back to `target`.
pub fn decode(b: &mut Builder, stages: &[Stage], style: &Style, x: ValueId, target: &[usize]) -> Result<ValueId> {
    let inputs = extents(stages, target);
    let reconstruction = b.scope("decoder", |b| {
        stages.iter().enumerate().rev().enumerate().try_fold(x, |x, (k, (i, stage))| {
            let channels = if i == 0 { target[1] } else { stages[i - 1].channels };
            let padding = match &stage.output_padding {
                Some(given) => given.clone(),
                None => restoring(stage, &b.shape(x)[2..], &inputs[i]),
            };
            let conv = style.conv(channels, &stage.up_kernel, stage).output_padding(&padding);
            let x = conv.transposed(b, &(3 * k).to_string(), x)?;
            if i == 0 { Ok(x) } else { style.activate(b, 3 * k + 1, x) }
        })
    })?;
    if b.shape(reconstruction) != target {
        let found = b.shape(reconstruction).to_vec();
        return Err(crate::Error::graph(format!("reconstructs shape {found:?} from an input of shape {target:?}"))
            .hint("choose a height and width for which the stages invert each other"))
        .context("layer", "decoder");
    }
    Ok(reconstruction)
}

/// The spatial extents of every stage's input.
fn extents(stages: &[Stage], target: &[usize]) -> Vec<Vec<usize>> {
    let mut extents = vec![target[2..].to_vec()];
    for stage in stages {
        let last = &extents[extents.len() - 1];
        let axis = |(i, extent): (usize, &usize)| {
            (extent + 2 * stage.padding[i]).saturating_sub(stage.kernel[i]) / stage.stride[i] + 1
        };
        extents.push(last.iter().enumerate().map(axis).collect());
    }
    extents
}

/// `out = (in - 1) * stride - 2 * padding + kernel + output_padding`, solved for the last term.
fn restoring(stage: &Stage, from: &[usize], to: &[usize]) -> Vec<usize> {
    let axis = |i: usize| {
        let without = (from[i].saturating_sub(1)) * stage.stride[i] + stage.up_kernel[i];
        (to[i] + 2 * stage.padding[i]).saturating_sub(without)
    };
    (0..from.len()).map(axis).collect()
}
