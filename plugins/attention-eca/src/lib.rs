//! Efficient channel attention (Wang et al., ECA-Net, CVPR 2020): each channel is weighed by its own disagreement and its neighbours'.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{channel_map, squeeze};
use mimus_core::blocks::convolution::Conv;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Error, Graph, Result, ValueType};

/// `sigmoid(conv1d(GAP(Fea_I)))` along the channels, weights `[N, C, 1, 1]`.
#[derive(Debug)]
pub struct Eca;

impl AttentionModule for Eca {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "eca", "efficient channel attention on the inconsistency")
            .with_paper("Wang et al., ECA-Net: Efficient Channel Attention, CVPR 2020")
            .with_option(OptionSpec::int(
                "kernel",
                3,
                [0, 63],
                "channels that weigh one channel, odd (official code: 3); 0 for the paper's rule, |log2(C) / 2 + 1 / 2| made odd",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("eca");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let (n, channels) = (request.student[0], request.common_channels()?);
        let kernel = kernel(request.options.usize("kernel")?, channels)?;
        let pooled = squeeze(&mut b, x)?;
        let row = b.reshape(pooled, [n, 1, channels])?;
        let logits = Conv::new(1, &[kernel]).padding(&[kernel / 2]).without_bias().forward(&mut b, "conv", row)?;
        let logits = b.reshape(logits, [n, channels])?;
        let weights = b.sigmoid(logits)?;
        let map = channel_map(&mut b, weights, request.student.len())?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

/// The given extent, or by the paper's rule: the whole part of `(log2(C) + 1) / 2`, and one more if that is even.
fn kernel(given: usize, channels: usize) -> Result<usize> {
    match given {
        0 => Ok((((channels as f64).log2() + 1.0) as usize / 2) | 1),
        odd if odd % 2 == 1 => Ok(odd),
        even => Err(Error::config(format!("is {even}, expects an odd number or 0")).with("key", "kernel")),
    }
}

mimus_core::plugin! { Attention(Eca) }

#[cfg(test)]
mod tests {
    #[test]
    fn the_rule_gives_the_extents_of_the_paper() {
        let extents = [64, 128, 256, 512, 1024, 2048].map(|channels| super::kernel(0, channels).ok());
        assert_eq!(extents, [3, 5, 5, 5, 5, 7].map(Some));
    }
}
