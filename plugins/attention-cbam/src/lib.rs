//! The convolutional block attention module (Woo et al., ECCV 2018): which channels of the feature disagree, and then where.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{Excitation, channel_map, clipped, reduced, squeeze, squeeze_max};
use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Init, Result, ValueId, ValueType};

/// Momentum of the spatial gate's batch norm in the official code.
const MOMENTUM: f64 = 0.01;

/// Channel gate `sigmoid(MLP(mean(X)) + MLP(max(X)))`, then spatial gate `sigmoid(BN(conv7x7([max_c; mean_c])))` of the gated `X`.
///
/// The module is a product of its input and both gates; the map is the product of the gates, `[N, C, H, W]`, both computed from the
/// inconsistency `X = Fea_I`.
#[derive(Debug)]
pub struct Cbam;

impl AttentionModule for Cbam {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "cbam", "channel and spatial gates on the inconsistency")
            .with_paper("Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018")
            .with_option(OptionSpec::int(
                "reduction",
                16,
                [1, 4096],
                "channels are reduced by this factor, to one at least",
            ))
            .with_option(OptionSpec::int(
                "kernel",
                7,
                [1, 63],
                "extent of the spatial gate's kernel, odd; clipped to a clip's length in time",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("cbam");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let channel = channel_gate(&mut b, request, x)?;
        let gated = b.mul(x, channel)?;
        let spatial = spatial_gate(&mut b, request, gated)?;
        let map = b.mul(channel, spatial)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

/// `[N, C, 1, 1]`; mean and maximum share the layers.
fn channel_gate(b: &mut Builder, request: &FeatureRequest, x: ValueId) -> Result<ValueId> {
    let channels = request.common_channels()?;
    let excitation = Excitation {
        labels: ["ChannelGate.mlp.1", "ChannelGate.mlp.3"],
        hidden: reduced(channels, request.options.usize("reduction")?),
        outputs: channels,
        bias: true,
    };
    let (mean, max) = (squeeze(b, x)?, squeeze_max(b, x)?);
    let (mean, max) = (excitation.forward(b, mean)?, excitation.forward(b, max)?);
    let logits = b.add(mean, max)?;
    let weights = b.sigmoid(logits)?;
    channel_map(b, weights, request.student.len())
}

/// `[N, 1, H, W]`.
fn spatial_gate(b: &mut Builder, request: &FeatureRequest, x: ValueId) -> Result<ValueId> {
    let kernel = clipped(request.options.usize("kernel")?, &request.teacher)?;
    let padding: Vec<usize> = kernel.iter().map(|extent| extent / 2).collect();
    let (max, mean) = (b.max_keep(x, &[1])?, b.mean_keep(x, &[1])?);
    let pooled = b.concat(&[max, mean], 1)?;
    b.scope("SpatialGate.spatial", |b| {
        let logits = Conv::new(1, &kernel).padding(&padding).without_bias().forward(b, "conv", pooled)?;
        let logits = batch_norm(b, "bn", logits, request.phase, MOMENTUM, Init::ONES)?;
        b.sigmoid(logits)
    })
}

mimus_core::plugin! { Attention(Cbam) }
