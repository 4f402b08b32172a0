//! Channel attention: which channels of the feature disagree (method, section 2, `ca`).
#![forbid(unsafe_code)]

use mimus_core::blocks::convolution::linear;
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
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.student.clone()))?;
        let (n, channels) = (request.student[0], request.student[1]);
        let hidden = (channels / request.options.usize("reduction")?).max(1);
        let spatial: Vec<usize> = (2..request.student.len()).collect();
        let pooled = b.mean(x, &spatial)?;
        let hidden = linear(&mut b, "mlp.0", pooled, hidden)?;
        let hidden = b.relu(hidden)?;
        let logits = linear(&mut b, "mlp.2", hidden, channels)?;
        let weights = b.sigmoid(logits)?;
        let map = b.reshape(weights, [vec![n, channels], vec![1; spatial.len()]].concat())?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(Ca) }
