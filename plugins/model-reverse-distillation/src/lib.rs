//! Reverse Distillation: a decoder learns to restore the features of a pretrained teacher from a compact embedding of them, which on
//! normal images alone keeps what makes them normal (Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class
//! Embedding", CVPR 2022).
//!
//! Follows the official code: its loss compares each level's whole map as one vector, where the paper compares position by position
//! (`loss = "position"`), and its embedding is twice as wide inside as in other implementations.
#![forbid(unsafe_code)]

mod network;

use mimus_core::blocks::resnet::Resnet;
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::plugin::{
    Clip, Color, ComponentInfo, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec, Preprocessing,
    Pretrained, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Error, Result};

use network::Network;

/// Height and width are divided by this down to the embedding.
const MULTIPLE: usize = 32;

/// The detector.
#[derive(Debug)]
pub struct ReverseDistillation;

impl Model for ReverseDistillation {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(
            Kind::Model,
            "reverse-distillation",
            "decoder that restores a pretrained teacher's features from a one-class embedding",
        )
        .with_paper("Deng and Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022")
        .with_option(OptionSpec::choice(
            "network",
            "wide_resnet50_2",
            Resnet::NAMES,
            "architecture of the teacher, mirrored by the decoder",
        ))
        .with_option(OptionSpec::int("channels", 64, [1, 1024], "channels of its stem; 64 for published weights"))
        .with_option(OptionSpec::choice(
            "embedding",
            "wide",
            &["wide", "narrow"],
            "inner width of the embedding's bottleneck blocks: as the teacher's (official code), or half of it (anomalib)",
        ))
        .with_option(OptionSpec::choice(
            "loss",
            "map",
            &["map", "position"],
            "cosine distance of whole maps (official code), or of every position (paper)",
        ))
        .with_option(OptionSpec::float(
            "smoothing",
            4.0,
            [0.0, 64.0],
            "standard deviation of the score map's Gaussian smoothing in pixels; 0 for none",
        ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        for (name, extent) in [("height", request.height), ("width", request.width)] {
            if extent == 0 || extent % MULTIPLE != 0 {
                let error = Error::config(format!("is {extent}, expects a multiple of {MULTIPLE}")).with("key", name);
                return Err(error.hint("the decoder doubles what the teacher halved"));
            }
        }
        let options = &request.options;
        let network = Network {
            backbone: Resnet::named(options.text("network")?, options.usize("channels")?)?,
            input: [request.batch, Color::Rgb.channels(), request.height, request.width],
            narrow: options.text("embedding")? == "narrow",
            by_position: options.text("loss")? == "position",
            smoothing: options.float("smoothing")?,
        };
        let tap = |(name, help): (&str, &str)| TapSpec { name: name.to_owned(), help: help.to_owned() };
        let optimizer = OptimizerSpec::Adam { betas: [0.5, 0.999], eps: 1e-8, weight_decay: 0.0 };
        Ok(ModelSpec {
            stages: vec![Stage::single(network.train()?, optimizer, 5e-3)],
            eval: network.eval()?,
            image_score: Some(score::image_score([request.batch, request.height, request.width], Pooling::Max)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::imagenet(),
            taps: network::TAPS.map(tap).to_vec(),
            clip: Clip::image(),
            pretrained: Some(Pretrained {
                prefix: "encoder".to_owned(),
                what: format!("{} of torchvision, trained on ImageNet", options.text("network")?),
            }),
            statistics: Vec::new(),
            prepares: false,
        })
    }
}

mimus_core::plugin! { Model(ReverseDistillation) }

#[cfg(test)]
mod tests {
    use mimus_core::graph::Role;
    use mimus_core::plugin::{OptionValue, Options};

    use super::*;

    fn spec(given: &[(&str, &str)]) -> ModelSpec {
        let given = given.iter().map(|(name, word)| ((*name).to_owned(), OptionValue::Text((*word).to_owned())));
        let options = Options::resolve(&ReverseDistillation.info().options, given.collect()).unwrap();
        let request = ModelRequest { options, batch: 2, height: 256, width: 256 };
        let spec = ReverseDistillation.describe(&request).unwrap();
        spec.verify().unwrap();
        spec
    }

    #[test]
    fn the_modules_have_the_published_sizes() {
        let cases = [
            ("wide_resnet50_2", "wide", "bn.", 67_277_824, 84),
            ("wide_resnet50_2", "narrow", "bn.", 39_222_272, 84),
            ("wide_resnet50_2", "wide", "decoder.", 24_917_504, 252),
            ("wide_resnet50_2", "wide", "encoder.", 24_862_528, 258),
            ("resnet18", "wide", "bn.", 12_205_312, 54),
            ("resnet18", "wide", "decoder.", 3_703_168, 90),
            ("resnet18", "wide", "encoder.", 2_782_784, 90),
        ];
        for (network, embedding, prefix, expected, entries) in cases {
            let graph = spec(&[("network", network), ("embedding", embedding)]).stages.remove(0).turns.remove(0).graph;
            let own = || graph.variables.iter().filter(|variable| variable.name.starts_with(prefix));
            let parameters = own().filter(|variable| variable.role == Role::Parameter);
            let count: usize = parameters.map(|variable| variable.ty.elements()).sum();
            assert_eq!((count, own().count()), (expected, entries), "{network} {embedding} {prefix}");
        }
    }

    #[test]
    fn names_and_shapes_are_the_official_ones() {
        let wide = spec(&[]).stages.remove(0).turns.remove(0).graph;
        let basic = spec(&[("network", "resnet18")]).stages.remove(0).turns.remove(0).graph;
        let cases = [
            (&wide, "bn.bn_layer.0.conv1.weight", &[1024, 3072, 1, 1]),
            (&wide, "bn.bn_layer.0.downsample.0.weight", &[2048, 3072, 1, 1]),
            (&wide, "bn.conv3.weight", &[1024, 512, 3, 3]),
            (&wide, "bn.conv4.weight", &[2048, 4096, 1, 1]),
            (&wide, "decoder.layer1.0.conv2.weight", &[512, 512, 2, 2]),
            (&wide, "decoder.layer1.0.upsample.0.weight", &[2048, 1024, 2, 2]),
            (&wide, "decoder.layer3.5.conv3.weight", &[256, 128, 1, 1]),
            (&basic, "bn.bn_layer.0.conv1.weight", &[512, 768, 3, 3]),
            (&basic, "bn.conv4.weight", &[512, 1024, 1, 1]),
            (&basic, "decoder.layer1.0.conv1.weight", &[512, 256, 2, 2]),
            (&basic, "decoder.layer3.0.upsample.0.weight", &[128, 64, 2, 2]),
        ];
        for (graph, name, shape) in cases {
            let found = graph.variable(name).map(|variable| variable.ty.shape.as_slice());
            assert_eq!(found, Some(shape.as_slice()), "{name}");
        }
        let tap = wide.expect_tap("bn").unwrap();
        assert_eq!(wide.ty(tap).shape, [2, 2048, 8, 8]);
    }
}
