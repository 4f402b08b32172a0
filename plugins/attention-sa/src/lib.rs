//! Spatial attention: where the features disagree (method, section 2, `sa`).
#![forbid(unsafe_code)]

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
            .with_option(OptionSpec::int("kernel", 7, [1, 63], "extent of the kernel, odd"))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("sa");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.student.clone()))?;
        let kernel = kernel(request)?;
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

/// The same extent in every axis; along time clipped to the largest odd number within the clip.
fn kernel(request: &FeatureRequest) -> Result<Vec<usize>> {
    let extent = request.options.usize("kernel")?;
    if extent % 2 == 0 {
        return Err(mimus_core::Error::config(format!("is {extent}, expects an odd number")).with("key", "kernel"));
    }
    let spatial = &request.student[2..];
    let clip = |(i, length): (usize, &usize)| {
        if spatial.len() == 3 && i == 0 {
            extent.min(if length % 2 == 0 { length - 1 } else { *length })
        } else {
            extent
        }
    };
    Ok(spatial.iter().enumerate().map(clip).collect())
}

mimus_core::plugin! { Attention(Sa) }
