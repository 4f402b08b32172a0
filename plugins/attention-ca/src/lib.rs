//! Channel attention: which channels of the feature disagree (method, section 2, `ca`).
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{Excitation, reduced};
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `sigmoid(W2 relu(W1 GAP(Fea_I)))`, weights `[N, C, 1, 1]`.
#[derive(Debug)]
pub struct Ca;

impl AttentionModule for Ca {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "ca", "channel attention on the inconsistency")
            .with_paper("s41598-026-37667-9")
            .with_option(OptionSpec::int(
                "reduction",
                16,
                [1, 4096],
                "channels are reduced by this factor, to one at least",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("ca");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let excitation = Excitation {
            labels: ["mlp.0", "mlp.2"],
            hidden: reduced(request.student[1], request.options.usize("reduction")?),
            outputs: request.student[1],
            bias: false,
        };
        let map = excitation.gate(&mut b, x)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(Ca) }
