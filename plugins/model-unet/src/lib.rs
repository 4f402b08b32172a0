//! A U-Net that reconstructs images: the network of a PyTorch version of RIAD (Zavrtanik et al., "Reconstruction by Inpainting for
//! Visual Anomaly Detection", Pattern Recognition 2021), with its names.
//!
//! RIAD itself hides parts of the picture and compares gradient magnitudes at several scales too; here the whole picture is seen,
//! and the loss is the mean squared error, with SSIM beside it if `ssim_weight` says so. With its skip connections such a network learns to copy, defects included: it is a baseline that a
//! boost can be measured against, not a published detector. `skips = false` leaves the connections out, which makes it an
//! autoencoder of the same layers.
#![forbid(unsafe_code)]

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::loss;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::blocks::ssim::{self, Range};
use mimus_core::plugin::{
    Clip, Color, ComponentInfo, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec, Preprocessing,
    TapSpec,
};
use mimus_core::train::{OptimizerSpec, Schedule, Stage};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

/// The U-Net.
#[derive(Debug)]
pub struct Unet;

impl Model for Unet {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(
            Kind::Model,
            "unet",
            "U-Net that reconstructs images (RIAD's network, seeing the whole image)",
        )
        .with_paper(
            "Zavrtanik et al., Reconstruction by Inpainting for Visual Anomaly Detection, Pattern Recognition 2021",
        )
        .with_option(OptionSpec::ints("widths", &[64, 128, 256, 512, 512], [1, 4096], "channels of every level"))
        .with_option(OptionSpec::bool("skips", true, "whether the decoder sees the encoder's finer levels"))
        .with_option(OptionSpec::float("ssim_weight", 0.0, [0.0, 1e6], "weight of 1 - SSIM in the loss; 1 in RIAD"))
        .with_option(OptionSpec::choice(
            "image_score",
            "max",
            &["max", "mean"],
            "image score from the error map: maximum, or mean",
        ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let options = &request.options;
        let network = Network {
            widths: options.levels("widths")?,
            skips: options.bool("skips")?,
            ssim_weight: options.float("ssim_weight")?,
            input: [request.batch, Color::Rgb.channels(), request.height, request.width],
        };
        let optimizer = OptimizerSpec::Adam { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-5 };
        let max = options.text("image_score")? == "max";
        let pooling = if max { Pooling::Max } else { Pooling::Mean };
        Ok(ModelSpec {
            stages: vec![Stage {
                // The published training lowers the rate once, late.
                schedule: Schedule::Fractions { at: vec![0.8], gamma: 0.1 },
                ..Stage::single(network.train()?, optimizer, 1e-4)
            }],
            eval: network.eval()?,
            image_score: Some(score::image_score([request.batch, request.height, request.width], pooling)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(Color::Rgb, 0.5, 0.5),
            taps: vec![TapSpec { name: "encoder".to_owned(), help: "the coarsest level".to_owned() }],
            prepares: false,
            clip: Clip::image(),
            pretrained: None,
            statistics: Vec::new(),
        })
    }
}

struct Network {
    /// Channels of every level, the finest first.
    widths: Vec<usize>,
    skips: bool,
    ssim_weight: f64,
    /// `[N, C, H, W]`.
    input: [usize; 4],
}

impl Network {
    /// Input and reconstruction.
    fn forward(&self, b: &mut Builder, phase: Phase) -> Result<[ValueId; 2]> {
        let x = b.input("x", ValueType::f32(self.input))?;
        let mut features: Vec<ValueId> = Vec::new();
        for (i, channels) in self.widths.iter().enumerate() {
            let finer = features.last().copied();
            features.push(b.scope(&format!("down{}", i + 1), |b| match finer {
                None => level(b, [3, 1], x, *channels, phase),
                Some(finer) => level(b, [4, 2], finer, *channels, phase),
            })?);
        }
        let mut x_up = features.pop().unwrap_or(x);
        b.tap("encoder", x_up)?;
        for (i, skip) in features.iter().rev().enumerate() {
            let channels = b.shape(*skip)[1];
            x_up = b.scope(&format!("up{}", i + 1), |b| {
                let conv = Conv::new(channels, &[4, 4]).stride(&[2, 2]).padding(&[1, 1]);
                let up = conv.transposed(b, "upconv", x_up)?;
                let both = if self.skips { b.concat(&[up, *skip], 1)? } else { up };
                level(b, [3, 1], both, channels, phase)
            })?;
        }
        let output = Conv::new(self.input[1], &[3, 3]).padding(&[1, 1]).forward(b, "conv_final.0", x_up)?;
        Ok([x, b.tanh(output)?])
    }

    fn train(&self) -> Result<Graph> {
        let mut b = Builder::new("unet");
        let [x, output] = self.forward(&mut b, Phase::Train)?;
        let mse = loss::mse(&mut b, output, x)?;
        b.output("loss.mse", mse)?;
        let mut total = mse;
        if self.ssim_weight != 0.0 {
            // Pixels are from -1 to 1.
            let ssim = ssim::loss(&mut b, output, x, Range::Fixed(2.0))?;
            b.output("loss.ssim", ssim)?;
            let weighted = b.affine(ssim, self.ssim_weight, 0.0)?;
            total = b.add(mse, weighted)?;
        }
        b.output("loss", total)?;
        b.output("output", output)?;
        Ok(b.finish())
    }

    fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("unet");
        let [x, output] = self.forward(&mut b, Phase::Eval)?;
        let square = loss::squared_difference(&mut b, output, x)?;
        let map = b.mean_keep(square, &[1])?;
        b.output("score_map", map)?;
        b.output("output", output)?;
        Ok(b.finish())
    }
}

/// Two convolutions with batch norm and ReLU, layers `conv1`, `bn1`, `conv2`, `bn2`; the first of the given kernel and stride.
fn level(b: &mut Builder, [kernel, stride]: [usize; 2], x: ValueId, channels: usize, phase: Phase) -> Result<ValueId> {
    let first = Conv::new(channels, &[kernel; 2]).stride(&[stride; 2]).padding(&[1, 1]);
    let second = Conv::new(channels, &[3, 3]).padding(&[1, 1]);
    [first, second].iter().enumerate().try_fold(x, |x, (i, conv)| {
        let x = conv.forward(b, &format!("conv{}", i + 1), x)?;
        let x = batch_norm(b, &format!("bn{}", i + 1), x, phase, 0.1, Init::ONES)?;
        b.relu(x)
    })
}

mimus_core::plugin! { Model(Unet) }
