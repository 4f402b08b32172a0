//! Spatio-channel attention, the paper's own: a weight for every element of the feature (method, section 2, `sca`).
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::reduced;
use mimus_core::blocks::convolution::Conv;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `sigmoid(D(relu(E(Fea_I))))` with convolutions E and D of kernel 1, weights `[N, C, H, W]`.
#[derive(Debug)]
pub struct Sca;

impl AttentionModule for Sca {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "sca", "spatio-channel attention on the inconsistency")
            .with_paper("s41598-026-37667-9")
            .with_option(OptionSpec::int(
                "reduction",
                8,
                [1, 4096],
                "channels are reduced by this factor, to one at least",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("sca");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let channels = request.student[1];
        let hidden = reduced(channels, request.options.usize("reduction")?);
        let kernel = vec![1; request.student.len() - 2];
        let hidden = Conv::new(hidden, &kernel).without_bias().forward(&mut b, "encoder", x)?;
        let hidden = b.relu(hidden)?;
        let logits = Conv::new(channels, &kernel).without_bias().forward(&mut b, "decoder", hidden)?;
        let map = b.sigmoid(logits)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(Sca) }
