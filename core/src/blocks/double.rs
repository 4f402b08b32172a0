//! Pairs of 3x3 convolutions between pooling and enlargement, numbered as in a PyTorch `Sequential`: what DRAEM, DSR, MNAD and the
//! U-Nets of video detectors are made of.

use super::convolution::{Conv, channels_of};
use super::norm::{batch_norm, instance_norm};
use crate::error::Result;
use crate::graph::{Builder, Init, Phase, ValueId};
use crate::ops::Mode;

/// What follows every convolution.
#[derive(Clone, Debug)]
pub enum Norm {
    /// Batch norm whose weight begins so.
    Batch(Phase, Init),
    /// Instance norm without parameters.
    Instance,
    /// Nothing.
    None,
}

/// How a convolution's weight begins.
#[derive(Clone, Debug)]
pub enum Weight {
    /// PyTorch's default.
    Torch,
    /// So, whatever its shape.
    Given(Init),
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).
    Xavier,
}

/// The biases of convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// They begin as PyTorch's default.
    Torch,
    /// They begin at 0.
    Zero,
    /// Convolutions of the numbered layers have none, as the norm behind them makes it useless; others begin at 0.
    Last,
}

/// What all layers have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// The normalisation.
    pub norm: Norm,
    /// The convolutions' weights.
    pub weight: Weight,
    /// The convolutions' biases.
    pub bias: Bias,
}

impl Style {
    /// PyTorch's defaults with batch norm.
    pub fn torch(phase: Phase) -> Self {
        Self { norm: Norm::Batch(phase, Init::ONES), weight: Weight::Torch, bias: Bias::Torch }
    }

    /// A square convolution of `x [N, C, H, W]`, plain or transposed, that begins as this style says; without padding.
    pub fn conv(&self, b: &Builder, x: ValueId, channels: usize, kernel: usize) -> Conv {
        let conv = Conv::new(channels, &[kernel; 2]);
        let conv = if self.bias == Bias::Torch { conv } else { conv.zero_bias() };
        match &self.weight {
            Weight::Torch => conv,
            Weight::Given(init) => conv.init(init.clone()),
            Weight::Xavier => {
                let fans = (channels_of(b, x) + channels) * kernel * kernel;
                let bound = (6.0 / fans.max(1) as f64).sqrt();
                conv.init(Init::Uniform { lo: -bound, hi: bound })
            }
        }
    }

    /// Convolution as layer `number`, normalisation as the next, ReLU: `[N, C, H, W]` to `[N, channels, H, W]`.
    ///
    /// # Errors
    /// If `x` is no image or has one pixel.
    pub fn layer(&self, b: &mut Builder, number: usize, x: ValueId, channels: usize) -> Result<ValueId> {
        let conv = self.conv(b, x, channels, 3).padding(&[1, 1]);
        let conv = if self.bias == Bias::Last { conv.without_bias() } else { conv };
        let x = conv.forward(b, &number.to_string(), x)?;
        self.activate(b, number + 1, x)
    }

    /// Normalisation as layer `number`, ReLU as the next.
    ///
    /// # Errors
    /// As [`Style::layer`].
    pub fn activate(&self, b: &mut Builder, number: usize, x: ValueId) -> Result<ValueId> {
        let label = number.to_string();
        let x = match &self.norm {
            Norm::Batch(phase, weight) => batch_norm(b, &label, x, *phase, 0.1, weight.clone())?,
            Norm::Instance => b.scope(&label, |b| instance_norm(b, x))?,
            Norm::None => x,
        };
        b.scope(&(number + 1).to_string(), |b| b.relu(x))
    }

    /// Two layers, numbers 0 and 3 of `label`: `[N, C, H, W]` to `[N, channels[1], H, W]`.
    ///
    /// # Errors
    /// As [`Style::layer`].
    pub fn double(&self, b: &mut Builder, label: &str, x: ValueId, channels: [usize; 2]) -> Result<ValueId> {
        b.scope(label, |b| {
            let x = self.layer(b, 0, x, channels[0])?;
            self.layer(b, 3, x, channels[1])
        })
    }

    /// Twice the extents by bilinear interpolation with aligned corners, then the layer 1 of `label`:
    /// `[N, C, H, W]` to `[N, channels, 2H, 2W]`.
    ///
    /// # Errors
    /// As [`Style::layer`].
    pub fn up(&self, b: &mut Builder, label: &str, x: ValueId, channels: usize) -> Result<ValueId> {
        b.scope(label, |b| {
            let size: Vec<usize> = b.shape(x).iter().skip(2).map(|extent| 2 * extent).collect();
            let x = b.scope("0", |b| b.resize(x, &size, Mode::Linear, true))?;
            self.layer(b, 1, x, channels)
        })
    }
}

/// Half the extents: the largest of every 2x2 pixels.
///
/// # Errors
/// If `x` is no image.
pub fn halve(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    b.max_pool(x, &[2, 2], &[2, 2], &[0, 0])
}
