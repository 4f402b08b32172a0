//! Squeeze-and-excitation (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018): which channels of the feature disagree.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{Excitation, reduced};
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `sigmoid(W2 relu(W1 GAP(Fea_I)))`, weights `[N, C, 1, 1]`. The formula is that of `ca`; names and their lack of biases are those
/// of the PyTorch version, the original Caffe models have biases (`bias`).
#[derive(Debug)]
pub struct Se;

impl AttentionModule for Se {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "se", "squeeze-and-excitation on the inconsistency")
            .with_paper("Hu et al., Squeeze-and-Excitation Networks, CVPR 2018")
            .with_option(OptionSpec::int(
                "reduction",
                16,
                [1, 4096],
                "channels are reduced by this factor, to one at least",
            ))
            .with_option(OptionSpec::bool("bias", false, "biases, as in the original Caffe models"))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("se");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let excitation = Excitation {
            labels: ["fc.0", "fc.2"],
            hidden: reduced(request.student[1], request.options.usize("reduction")?),
            outputs: request.student[1],
            bias: request.options.bool("bias")?,
        };
        let map = excitation.gate(&mut b, x)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(Se) }
