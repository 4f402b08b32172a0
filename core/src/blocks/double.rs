//! Pairs of 3x3 convolutions between pooling and bilinear enlargement: the layers that DRAEM's and DSR's networks are made of, with
//! their names.

use super::convolution::Conv;
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
}

/// What all layers have in common.
#[derive(Clone, Debug)]
pub struct Style {
    /// The normalisation.
    pub norm: Norm,
    /// First values of the convolutions' weights; `None` for PyTorch's default.
    pub weight: Option<Init>,
}

impl Style {
    /// A 3x3 convolution that keeps the extents.
    pub fn conv(&self, channels: usize) -> Conv {
        let conv = Conv::new(channels, &[3, 3]).padding(&[1, 1]);
        match &self.weight {
            Some(init) => conv.init(init.clone()),
            None => conv,
        }
    }

    /// Convolution as layer `number`, normalisation as the next, ReLU: `[N, C, H, W]` to `[N, channels, H, W]`.
    ///
    /// # Errors
    /// If `x` is no image or has one pixel.
    pub fn layer(&self, b: &mut Builder, number: usize, x: ValueId, channels: usize) -> Result<ValueId> {
        let x = self.conv(channels).forward(b, &number.to_string(), x)?;
        let label = (number + 1).to_string();
        let x = match &self.norm {
            Norm::Batch(phase, weight) => batch_norm(b, &label, x, *phase, 0.1, weight.clone())?,
            Norm::Instance => b.scope(&label, |b| instance_norm(b, x))?,
        };
        b.scope(&(number + 2).to_string(), |b| b.relu(x))
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
