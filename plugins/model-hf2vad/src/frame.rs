//! VUnet: a conditional variational autoencoder with two latent stages that predicts a frame from past frames and flows.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::dropout::Dropout;
use mimus_core::blocks::shuffle::{depth_to_space, space_to_depth};
use mimus_core::{Builder, Init, Result, ValueId};

/// Resolutions: the input's and three halvings.
const STAGES: usize = 4;

/// Groups of channels of a latent map that are predicted one after the other: the places of a block of 2 x 2.
const GROUPS: usize = 4;

pub(super) struct Predictor {
    /// Channels at the highest resolution; they double at every stage.
    pub(super) start: usize,
    /// Most channels, and those of the latent maps.
    pub(super) max: usize,
    /// Channels of the predicted frame.
    pub(super) colors: usize,
}

/// What comes of a sample. Latent maps are `[N, max, H / 8, W / 8]` and `[N, max, H / 4, W / 4]`.
pub(super) struct Prediction {
    /// `[N, colors, H, W]`, between 0 and 1.
    pub(super) frame: ValueId,
    /// The posterior encoder's last features, `[N, max, H / 8, W / 8]`.
    pub(super) code: ValueId,
    /// What enters the decoder, `[N, max, H / 4, W / 4]`.
    pub(super) bottleneck: ValueId,
    /// Means of the posterior.
    pub(super) posterior: Vec<ValueId>,
    /// Means of the prior.
    pub(super) prior: Vec<ValueId>,
}

/// Both features of every stage, the highest resolution first.
type Features = Vec<[ValueId; 2]>;

/// The network under construction.
struct Net<'a> {
    b: &'a mut Builder,
    dropout: &'a mut Dropout,
    sizes: &'a Predictor,
}

/// Standard normal noise on the latent maps.
#[derive(Clone, Copy)]
pub(super) struct Noise {
    pub(super) coarse: ValueId,
    /// Training only.
    pub(super) fine: Option<ValueId>,
}

impl Predictor {
    /// `past [N, frames * colors, H, W]`, `flows [N, frames * 2, H, W]`; height and width must be multiples of 16. The latent maps
    /// are the posterior's means plus `noise`; in evaluation they are the means, although the fine mean follows from the coarse map with
    /// its noise, as in the official code.
    pub(super) fn forward(
        &self,
        b: &mut Builder,
        [past, flows]: [ValueId; 2],
        noise: Noise,
        mut dropout: Dropout,
    ) -> Result<Prediction> {
        let seen = b.concat(&[past, flows], 1)?;
        let mut net = Net { b, dropout: &mut dropout, sizes: self };
        let f = net.encoder("f_phi", seen)?;
        let e = net.encoder("e_theta", flows)?;
        let (posterior, latents) = net.posterior(&f, noise)?;
        let (prior, bottleneck) = net.bottleneck(&e, &latents)?;
        let frame = net.decoder(bottleneck, &f)?;
        Ok(Prediction { frame, code: f[STAGES - 1][1], bottleneck, posterior, prior })
    }

    /// Channels of a stage, counted from 1.
    fn channels(&self, stage: usize) -> usize {
        (self.start << (stage - 1)).min(self.max)
    }
}

impl Net<'_> {
    fn scope<T>(&mut self, label: &str, body: impl FnOnce(&mut Net<'_>) -> Result<T>) -> Result<T> {
        let Self { b, dropout, sizes } = self;
        b.scope(label, |b| body(&mut Net { b, dropout, sizes }))
    }

    /// `gamma * convolution + beta` with a weight-normalised convolution.
    fn conv(&mut self, label: &str, x: ValueId, channels: usize, [kernel, stride]: [usize; 2]) -> Result<ValueId> {
        self.b.scope(label, |b| {
            let conv = Conv::new(channels, &[kernel; 2]).stride(&[stride; 2]).padding(&[kernel / 2; 2]);
            let x = conv.weight_normalised(b, "conv", x)?;
            let gamma = b.parameter("gamma", [1, channels, 1, 1], Init::ONES)?;
            let beta = b.parameter("beta", [1, channels, 1, 1], Init::ZEROS)?;
            let scaled = b.mul(x, gamma)?;
            b.add(scaled, beta)
        })
    }

    /// `x + convolution(dropout(ELU([x, pre(ELU(beside))])))`, the bracket without its second half if there is nothing beside.
    fn residual(&mut self, label: &str, x: ValueId, beside: Option<ValueId>) -> Result<ValueId> {
        let channels = self.b.shape(x)[1];
        self.scope(label, |net| {
            let joined = match beside {
                Some(beside) => {
                    let beside = net.b.elu(beside, 1.0)?;
                    let beside = net.conv("pre", beside, channels, [1, 1])?;
                    net.b.concat(&[x, beside], 1)?
                }
                None => x,
            };
            let active = net.b.elu(joined, 1.0)?;
            let active = net.dropout.apply(net.b, active)?;
            let change = net.conv("conv2d", active, channels, [3, 1])?;
            net.b.add(x, change)
        })
    }

    /// Twice the resolution.
    fn up(&mut self, label: &str, x: ValueId, channels: usize) -> Result<ValueId> {
        let x = self.scope(label, |net| net.conv("up", x, GROUPS * channels, [3, 1]))?;
        depth_to_space(self.b, x)
    }

    fn encoder(&mut self, label: &str, x: ValueId) -> Result<Features> {
        self.scope(label, |net| {
            let mut x = net.conv("in_op", x, net.sizes.start, [1, 1])?;
            let mut features = Features::new();
            for stage in 1..=STAGES {
                if stage > 1 {
                    let channels = net.sizes.channels(stage);
                    x = net.conv(&format!("downs.s{stage}.down"), x, channels, [3, 2])?;
                }
                let first = net.residual(&format!("blocks.s{stage}_1"), x, None)?;
                x = net.residual(&format!("blocks.s{stage}_2"), first, None)?;
                features.push([first, x]);
            }
            Ok(features)
        })
    }

    /// Means and latent maps of the posterior, whose variance is 1.
    fn posterior(&mut self, f: &Features, noise: Noise) -> Result<(Vec<ValueId>, Vec<ValueId>)> {
        let [[_, f3], [f4_before, f4]] = [f[STAGES - 2], f[STAGES - 1]];
        self.scope("zc", |net| {
            let max = net.sizes.max;
            let h = net.conv("conv1x1", f4, max, [1, 1])?;
            let coarse = net.residual("blocks.0", h, Some(f4))?;
            let z_coarse = net.b.add(coarse, noise.coarse)?;
            let joined = net.b.concat(&[f4_before, z_coarse], 1)?;
            let joined = net.conv("channel_norm", joined, max, [1, 1])?;
            let h = net.residual("blocks.1", coarse, Some(joined))?;
            let h = net.up("up", h, max)?;
            let fine = net.residual("blocks.2", h, Some(f3))?;
            let latents = match noise.fine {
                Some(noise) => vec![z_coarse, net.b.add(fine, noise)?],
                None => vec![coarse, fine],
            };
            Ok((vec![coarse, fine], latents))
        })
    }

    /// Means of the prior given the flows' features, and the decoder's input made of the latent maps.
    fn bottleneck(&mut self, e: &Features, latents: &[ValueId]) -> Result<(Vec<ValueId>, ValueId)> {
        self.scope("bottleneck", |net| {
            let max = net.sizes.max;
            let mut h = net.conv("conv1x1", e[STAGES - 1][1], max, [1, 1])?;
            let mut prior = Vec::new();
            for (stage, latent) in [STAGES, STAGES - 1].into_iter().zip(latents) {
                let [first, second] = e[stage - 1];
                h = net.residual(&format!("blocks.s{stage}_2"), h, Some(second))?;
                prior.push(net.prior(h, *latent)?);
                let joined = net.b.concat(&[first, *latent], 1)?;
                let joined = net.conv(&format!("channel_norm.s{stage}"), joined, max, [1, 1])?;
                h = net.residual(&format!("blocks.s{stage}_1"), h, Some(joined))?;
                if stage == STAGES {
                    h = net.up("up", h, max)?;
                }
            }
            Ok((prior, h))
        })
    }

    /// The prior's mean of one stage, group after group: each sees the posterior's latent values of the group before it. Both
    /// stages share these layers.
    fn prior(&mut self, h: ValueId, latent: ValueId) -> Result<ValueId> {
        let features = self.residual("auto_blocks.0", h, None)?;
        let features = space_to_depth(self.b, features)?;
        let mut mean = self.conv("param_converter", features, self.sizes.max, [1, 1])?;
        let known = space_to_depth(self.b, latent)?;
        let mut means = vec![mean];
        for group in 1..GROUPS {
            let [n, channels, height, width] = [0, 1, 2, 3].map(|axis| self.b.shape(known)[axis]);
            let size = channels / GROUPS;
            let before = self.b.slice(known, &[0, (group - 1) * size, 0, 0], &[n, group * size, height, width])?;
            mean = self.residual(&format!("auto_blocks.{group}"), mean, Some(before))?;
            means.push(mean);
        }
        let joined = self.b.concat(&means, 1)?;
        depth_to_space(self.b, joined)
    }

    /// The official code always ends with a sigmoid.
    fn decoder(&mut self, bottleneck: ValueId, f: &Features) -> Result<ValueId> {
        self.scope("decoder", |net| {
            let mut h = bottleneck;
            for stage in [2, 1] {
                h = net.up(&format!("ups.s{}", stage + 1), h, net.sizes.channels(stage))?;
                for block in [2, 1] {
                    h = net.residual(&format!("blocks.s{stage}_{block}"), h, Some(f[stage - 1][block - 1]))?;
                }
            }
            let frame = net.conv("final_layer", h, net.sizes.colors, [1, 1])?;
            net.b.sigmoid(frame)
        })
    }
}
