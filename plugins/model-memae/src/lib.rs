//! MemAE: an autoencoder whose decoder sees only combinations of learned prototypes (Gong et al., "Memorizing Normality to
//! Detect Anomaly", ICCV 2019), for images and for clips.
//!
//! Follows the official code where it differs from the paper: addressing by dot product (`addressing = "cosine"` is the paper's),
//! threshold 0.0025. The official image networks were never released; the layers here are those of the paper's text with the
//! names of the official video network.
#![forbid(unsafe_code)]

mod network;

use mimus_core::Result;
use mimus_core::blocks::coder::Stage;
use mimus_core::blocks::memory::Addressing;
use mimus_core::blocks::score::Pooling;
use mimus_core::plugin::{Clip, Color, ComponentInfo, Edge, Kind, Model, ModelRequest, ModelSpec, OptionSpec, Options};

use network::Network;

/// The 2-d network for images.
#[derive(Debug)]
pub struct Memae;

/// The official 3-d network for clips.
#[derive(Debug)]
pub struct MemaeVideo;

fn info(name: &str, summary: &str, slots: i64, widths: &[i64], color: &str) -> ComponentInfo {
    ComponentInfo::new(Kind::Model, name, summary)
        .with_paper("Gong et al., Memorizing Normality to Detect Anomaly, ICCV 2019")
        .with_option(OptionSpec::ints("widths", widths, [1, 4096], "channels after each encoder stage"))
        .with_option(OptionSpec::int("slots", slots, [1, 1_000_000], "number of memory slots"))
        .with_option(OptionSpec::float(
            "shrink_threshold",
            0.0025,
            [0.0, 1.0],
            "hard shrinkage of the addressing weights; 0 for none",
        ))
        .with_option(OptionSpec::choice(
            "shrink_gradient",
            "published",
            &["published", "mask"],
            "mask: without the peak at the threshold, which makes rounding decide a training",
        ))
        .with_option(OptionSpec::float(
            "entropy_weight",
            0.0002,
            [0.0, 1e6],
            "weight of the addressing entropy in the loss",
        ))
        .with_option(OptionSpec::choice("addressing", "dot", &["dot", "cosine"], "similarity: official code, or paper"))
        .with_option(OptionSpec::choice("color", color, &["rgb", "gray"], "input channels"))
}

fn color(options: &Options) -> Result<Color> {
    Ok(if options.text("color")? == "gray" { Color::Gray } else { Color::Rgb })
}

fn addressing(options: &Options) -> Result<Addressing> {
    Ok(Addressing {
        slots: options.usize("slots")?,
        threshold: options.float("shrink_threshold")?,
        cosine: options.text("addressing")? == "cosine",
        mask_gradient: options.text("shrink_gradient")? == "mask",
    })
}

impl Model for Memae {
    fn info(&self) -> ComponentInfo {
        info("memae", "memory-augmented autoencoder for images", 500, &[64, 128, 128, 256], "rgb")
            .with_option(OptionSpec::choice(
                "layout",
                "same",
                &["same", "mnist"],
                "same: kernel 3, stride 2, padding 1 (CIFAR-10, any size); mnist: first kernel 1, no padding (28x28)",
            ))
            .with_option(OptionSpec::choice(
                "image_score",
                "mean",
                &["mean", "max"],
                "image score from the error map: mean (published), or maximum for small defects",
            ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let options = &request.options;
        let mnist = options.text("layout")? == "mnist";
        let widths = options.usizes("widths")?;
        let stage = |(i, channels): (usize, &usize)| {
            let mut stage = Stage::three(*channels, &[2, 2]);
            if mnist {
                stage.padding = vec![0, 0];
                // The decoder's output paddings are 1, 0, 1: the middle map of 28x28 pixels grows from 6 to 13.
                stage.output_padding = Some(vec![(i + 1) % 2; 2]);
                if i == 0 {
                    stage.kernel = vec![1, 1];
                }
            }
            stage
        };
        let color = color(options)?;
        let network = Network {
            name: "memae",
            stages: widths.iter().enumerate().map(stage).collect(),
            slope: if mnist { 0.0 } else { 0.2 },
            addressing: addressing(options)?,
            entropy_weight: options.float("entropy_weight")?,
            input: vec![request.batch, color.channels(), request.height, request.width],
        };
        let max = options.text("image_score")? == "max";
        network.spec(color, Some(if max { Pooling::Max } else { Pooling::Mean }), Clip::image())
    }
}

impl Model for MemaeVideo {
    fn info(&self) -> ComponentInfo {
        info("memae-video", "memory-augmented 3-d autoencoder for clips", 2000, &[96, 128, 256, 256], "gray")
            .with_option(OptionSpec::int("frames", 16, [1, 1024], "frames of a clip"))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let options = &request.options;
        let color = color(options)?;
        let frames = options.usize("frames")?;
        let widths = options.usizes("widths")?;
        // The first stage keeps the frame rate.
        let stage = |(i, channels): (usize, &usize)| Stage::three(*channels, &[if i == 0 { 1 } else { 2 }, 2, 2]);
        let network = Network {
            name: "memae-video",
            stages: widths.iter().enumerate().map(stage).collect(),
            slope: 0.2,
            addressing: addressing(options)?,
            entropy_weight: options.float("entropy_weight")?,
            input: vec![request.batch, color.channels(), frames, request.height, request.width],
        };
        // The official evaluation gives the error of the frames k to k + 15 to frame k + 8.
        network.spec(color, None, Clip { frames, stride: 1, score_frame: frames / 2, edge: Edge::Drop })
    }
}

mimus_core::plugin! { Model(Memae), Model(MemaeVideo) }
