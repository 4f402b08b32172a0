//! What attention modules are made of: pooled channels, their weights as a map, kernels that fit a clip, masked convolutions.

use super::convolution::{Conv, linear, linear_with_bias};
use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};

/// The channels reduced by a factor, to one at least.
pub fn reduced(channels: usize, reduction: usize) -> usize {
    (channels / reduction.max(1)).max(1)
}

/// The mean of every channel over its positions: `x [N, C, ..]` to `[N, C]`.
///
/// # Errors
/// If `x` is not f32.
pub fn squeeze(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let positions = positions(b, x);
    b.mean(x, &positions)
}

/// The largest value of every channel: `x [N, C, ..]` to `[N, C]`.
///
/// # Errors
/// If `x` is not f32.
pub fn squeeze_max(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let positions = positions(b, x);
    b.max(x, &positions)
}

fn positions(b: &Builder, x: ValueId) -> Vec<usize> {
    (2..b.shape(x).len()).collect()
}

/// Weights `[N, C]` as a map `[N, C, 1, ..]` for features of rank `rank`.
///
/// # Errors
/// If `weights` is not of rank 2.
pub fn channel_map(b: &mut Builder, weights: ValueId, rank: usize) -> Result<ValueId> {
    let shape = [b.shape(weights).to_vec(), vec![1; rank.saturating_sub(2)]].concat();
    b.reshape(weights, shape)
}

/// Two linear layers with a ReLU between, from `[N, I]` by way of `hidden` to `[N, outputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Excitation<'a> {
    /// Names of the layers.
    pub labels: [&'a str; 2],
    /// Width between them.
    pub hidden: usize,
    /// Width behind them.
    pub outputs: usize,
    /// Whether they have biases.
    pub bias: bool,
}

impl Excitation<'_> {
    /// The logits; called again it shares the parameters.
    ///
    /// # Errors
    /// If `x` is not of rank 2.
    pub fn forward(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let layer = if self.bias { linear_with_bias } else { linear };
        let hidden = layer(b, self.labels[0], x, self.hidden)?;
        let hidden = b.relu(hidden)?;
        layer(b, self.labels[1], hidden, self.outputs)
    }

    /// `sigmoid(W2 relu(W1 GAP(x)))` of a feature `[N, I, ..]` as a map `[N, O, 1, ..]` (squeeze-and-excitation, Hu et al., CVPR 2018).
    ///
    /// # Errors
    /// If `x` is not f32.
    pub fn gate(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let rank = b.shape(x).len();
        let pooled = squeeze(b, x)?;
        let logits = self.forward(b, pooled)?;
        let weights = b.sigmoid(logits)?;
        channel_map(b, weights, rank)
    }
}

/// The same odd extent in every axis of a feature `[N, C, ..]`; along time clipped to the largest odd number within the clip.
///
/// # Errors
/// If `extent` is even; names the option `kernel`.
pub fn clipped(extent: usize, feature: &[usize]) -> Result<Vec<usize>> {
    if extent.is_multiple_of(2) {
        return Err(Error::config(format!("is {extent}, expects an odd number")).with("key", "kernel"));
    }
    let spatial = feature.get(2..).unwrap_or_default();
    let clip = |(i, length): (usize, &usize)| {
        let is_time = spatial.len() == 3 && i == 0;
        if is_time { extent.min(length - (length + 1) % 2) } else { extent }
    };
    Ok(spatial.iter().enumerate().map(clip).collect())
}

/// A kernel of which only the corners are seen (SSPCAB, Ristea et al., CVPR 2022; in three axes SSMCTB, Madan et al., TPAMI 2024):
/// what stands at a position is predicted from what lies around it.
#[derive(Clone, Copy, Debug)]
pub struct Corners {
    /// Extent of each corner.
    pub kernel: usize,
    /// Distance from the corners to the masked position.
    pub dilation: usize,
}

/// Name of a corner's layer, and for every axis whether it lies at the far end.
type Corner = (&'static str, &'static [bool]);

const IN_TWO_AXES: [Corner; 4] =
    [("conv1", &[false, false]), ("conv2", &[true, false]), ("conv3", &[false, true]), ("conv4", &[true, true])];

const IN_THREE_AXES: [Corner; 8] = [
    ("conv1", &[false, false, true]),
    ("conv1_1", &[false, false, false]),
    ("conv2", &[true, false, true]),
    ("conv2_2", &[true, false, false]),
    ("conv3", &[false, true, true]),
    ("conv3_3", &[false, true, false]),
    ("conv4", &[true, true, true]),
    ("conv4_4", &[true, true, false]),
];

impl Corners {
    /// One ReLU of the sum of a convolution for each corner, with zeros around `x [N, C, ..]`; same shape as `x`.
    ///
    /// A clip too short to have a frame at a corner's distance would show padding alone: there the corners lie in the frame itself,
    /// four layers as for pictures, with a kernel of extent 1 in time.
    ///
    /// # Errors
    /// If `x` has neither two nor three spatial axes.
    pub fn forward(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let extents = b.shape(x)[2..].to_vec();
        let corners: &[Corner] = match extents[..] {
            [_, _] => &IN_TWO_AXES,
            [time, _, _] if time <= self.dilation + 1 => &IN_TWO_AXES,
            [_, _, _] => &IN_THREE_AXES,
            _ => {
                return Err(Error::graph(format!("corners are defined in two or three axes, found {}", extents.len())));
            }
        };
        let flat = extents.len() - corners[0].1.len();
        let kernel = [vec![1; flat], vec![self.kernel; extents.len() - flat]].concat();
        let margin = [vec![0; 2 + flat], vec![self.kernel + self.dilation; extents.len() - flat]].concat();
        let padded = b.pad(x, &margin, &margin, 0.0)?;
        let mut sum: Option<ValueId> = None;
        for (label, far) in corners {
            let window = self.window(b, padded, &extents, flat, far)?;
            let channels = b.shape(x)[1];
            let seen = Conv::new(channels, &kernel).forward(b, label, window)?;
            sum = Some(match sum {
                Some(sum) => b.add(sum, seen)?,
                None => seen,
            });
        }
        b.relu(sum.ok_or_else(|| Error::graph("a kernel without corners"))?)
    }

    /// What one corner sees of the padded feature: as many positions as the feature has, and the kernel's own extent.
    fn window(
        &self,
        b: &mut Builder,
        padded: ValueId,
        extents: &[usize],
        flat: usize,
        far: &[bool],
    ) -> Result<ValueId> {
        let mut starts = vec![0; b.shape(padded).len()];
        let mut ends = b.shape(padded).to_vec();
        for (i, far) in far.iter().enumerate() {
            let axis = 2 + flat + i;
            starts[axis] = if *far { self.kernel + 2 * self.dilation + 1 } else { 0 };
            ends[axis] = starts[axis] + extents[flat + i] + self.kernel - 1;
        }
        b.slice(padded, &starts, &ends)
    }
}
