//! Spatial attention: where the features disagree (method, section 2, `sa`).
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::clipped;
use mimus_core::blocks::convolution::Conv;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `sigmoid(conv7x7([mean_c(Fea_I); max_c(Fea_I)]))`, weights `[N, 1, H, W]`.
#[derive(Debug)]
pub struct Sa;

impl AttentionModule for Sa {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "sa", "spatial attention on the inconsistency")
            .with_paper("s41598-026-37667-9")
            .with_option(OptionSpec::int(
                "kernel",
                7,
                [1, 63],
                "extent of the kernel, odd; clipped to a clip's length in time",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("sa");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let kernel = clipped(request.options.usize("kernel")?, &request.teacher)?;
        let padding: Vec<usize> = kernel.iter().map(|extent| extent / 2).collect();
        let mean = b.mean_keep(x, &[1])?;
        let max = b.max_keep(x, &[1])?;
        let pooled = b.concat(&[mean, max], 1)?;
        let logits = Conv::new(1, &kernel).padding(&padding).without_bias().forward(&mut b, "conv", pooled)?;
        let map = b.sigmoid(logits)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(Sa) }
