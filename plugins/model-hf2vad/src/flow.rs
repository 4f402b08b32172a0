//! ML-MemAE-SC: an autoencoder of optical flow with skip connections and a memory at several levels of its decoder.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::memory::{Addressing, read_whole};
use mimus_core::blocks::norm::batch_norm;
use mimus_core::{Builder, Init, Phase, Result, ValueId};

/// Channels of one flow: horizontal and vertical.
pub(super) const FLOW: usize = 2;

/// Levels below the input's resolution.
const LEVELS: usize = 3;

pub(super) struct Autoencoder {
    /// Channels at the highest resolution; they double at every level.
    pub(super) width: usize,
    pub(super) addressing: Addressing,
    /// Levels (3: the code, 1: half resolution) whose decoder features pass a memory.
    pub(super) memories: Vec<usize>,
    /// Up-sampling blocks (3: from the code) that see the encoder's features of their resolution.
    pub(super) skips: Vec<usize>,
}

/// What comes of one flow.
pub(super) struct Reconstruction {
    /// `[N, 2, H, W]`.
    pub(super) output: ValueId,
    /// The code before the deepest memory, `[N, 8 width, H / 8, W / 8]`.
    pub(super) code: ValueId,
    /// Level and addressing weights `[N, slots]` of every memory.
    pub(super) weights: Vec<(usize, ValueId)>,
}

impl Autoencoder {
    /// `flow [N, 2, H, W]`; height and width must be multiples of 8.
    pub(super) fn forward(&self, b: &mut Builder, flow: ValueId, phase: Phase) -> Result<Reconstruction> {
        let mut features = vec![b.scope("in_conv.conv", |b| double(b, flow, self.width, phase))?];
        for level in 1..=LEVELS {
            let x = features[level - 1];
            features.push(b.scope(&format!("down_{level}.mpconv"), |b| {
                let x = kaiming(b, x, self.width << level, 2).forward(b, "0", x)?;
                b.scope("1", |b| double(b, x, self.width << level, phase))
            })?);
        }
        let code = features[LEVELS];
        let (mut x, mut weights) = (code, Vec::new());
        for level in (1..=LEVELS).rev() {
            x = self.remember(b, level, x, &mut weights)?;
            let skip = self.skips.contains(&level).then(|| features[level - 1]);
            x = b.scope(&format!("up_{level}"), |b| up(b, x, skip, self.width << (level - 1), phase))?;
        }
        let output = b.scope("out_conv", |b| {
            let std = (2.0 / (1.01 * self.width as f64)).sqrt();
            Conv::new(FLOW, &[1, 1]).init(Init::Normal { mean: 0.0, std }).forward(b, "conv", x)
        })?;
        Ok(Reconstruction { output, code, weights })
    }

    /// The feature as the memory of this level gives it back, if there is one.
    fn remember(
        &self,
        b: &mut Builder,
        level: usize,
        x: ValueId,
        weights: &mut Vec<(usize, ValueId)>,
    ) -> Result<ValueId> {
        if !self.memories.contains(&level) {
            return Ok(x);
        }
        let read = read_whole(b, &format!("mem{level}"), x, self.addressing)?;
        weights.push((level, read.weights));
        Ok(read.output)
    }
}

/// A convolution of kernel 3 with the official first values: Kaiming's for a leaky ReLU of slope 0.1.
fn kaiming(b: &Builder, x: ValueId, channels: usize, stride: usize) -> Conv {
    let fan_in = 9 * b.shape(x).get(1).copied().unwrap_or(1);
    let std = (2.0 / (1.01 * fan_in as f64)).sqrt();
    let conv = Conv::new(channels, &[3, 3]).stride(&[stride, stride]).padding(&[1, 1]);
    conv.init(Init::Normal { mean: 0.0, std })
}

/// Twice convolution, batch norm and ReLU: layers `conv.0`, `conv.1`, `conv.3`, `conv.4`.
fn double(b: &mut Builder, x: ValueId, channels: usize, phase: Phase) -> Result<ValueId> {
    b.scope("conv", |b| {
        [0, 3].into_iter().try_fold(x, |x, i| {
            let x = kaiming(b, x, channels, 1).forward(b, &i.to_string(), x)?;
            let weight = Init::Normal { mean: 1.0, std: 0.02 };
            let x = batch_norm(b, &(i + 1).to_string(), x, phase, 0.1, weight)?;
            b.relu(x)
        })
    })
}

/// Twice the resolution, then the skip in front of it if there is one.
fn up(b: &mut Builder, x: ValueId, skip: Option<ValueId>, channels: usize, phase: Phase) -> Result<ValueId> {
    let conv = Conv::new(channels, &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).output_padding(&[1, 1]);
    let x = conv.transposed(b, "up", x)?;
    let x = match skip {
        Some(skip) => b.concat(&[skip, x], 1)?,
        None => x,
    };
    b.scope("conv", |b| double(b, x, channels, phase))
}
