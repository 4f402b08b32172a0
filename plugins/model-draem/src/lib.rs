//! DRAEM: a network that removes synthetic defects, and one that finds them by comparing the image with what is left of it
//! (Zavrtanik et al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV 2021).
//!
//! Follows the published code where it differs from the paper: a reconstruction loss without a weight, a texture's opacity in
//! (0.2, 1], and the learning rate times 0.2 at 80 % and 90 % of the epochs.
#![forbid(unsafe_code)]

mod augment;
mod defect;
mod network;
mod picture;
#[cfg(test)]
mod tests;
mod texture;

use mimus_core::blocks::score::{self, Pooling};
use mimus_core::blocks::ssim::Range;
use mimus_core::blocks::{loss, ssim};
use mimus_core::plugin::{
    Batch, Clip, Color, ComponentInfo, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec,
    Preprocessing, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Schedule, Stage};
use mimus_core::{Builder, Error, Graph, Phase, Result, ValueId, ValueType};

use defect::Odds;
use network::Network;

/// Reconstructive and discriminative network, trained together on pictures with synthetic defects.
#[derive(Debug)]
pub struct Draem;

impl Model for Draem {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "draem", "removes synthetic defects and segments what it removed")
            .with_paper("Zavrtanik et al., DRAEM, ICCV 2021")
            .with_weights(
                "by the authors for each class of MVTec AD, one file for each network: github.com/VitjanZ/DRAEM, MIT",
            )
            .with_option(OptionSpec::int(
                "reconstructive_width",
                128,
                [1, 1024],
                "channels of the first layers of the reconstructive network; deeper ones have up to 8 times as many",
            ))
            .with_option(OptionSpec::int(
                "discriminative_width",
                64,
                [1, 1024],
                "channels of the first layers of the discriminative network; deeper ones have up to 8 times as many",
            ))
            .with_option(OptionSpec::choice(
                "ssim_range",
                "guessed",
                &["guessed", "unit"],
                "dynamic range of SSIM: guessed from the reconstruction as in the published code, or 1",
            ))
            .with_option(OptionSpec::float("clean", 0.5, [0.0, 1.0], "share of the training pictures without a defect"))
            .with_option(OptionSpec::float(
                "rotated",
                0.3,
                [0.0, 1.0],
                "share of the training pictures that are rotated by up to 90 degrees; 0 where direction tells a defect",
            ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let (height, width) = (request.height, request.width);
        if !(height.is_multiple_of(32) && width.is_multiple_of(32)) {
            return Err(Error::config(format!(
                "its input is {height} x {width} pixels; the networks halve it five times"
            ))
            .hint("choose a height and width that 32 divides, for example 256"));
        }
        let input = vec![request.batch, 3, height, width];
        let schedule = Schedule::Fractions { at: vec![0.8, 0.9], gamma: 0.2 };
        Ok(ModelSpec {
            stages: vec![Stage { schedule, ..Stage::single(train(request, &input)?, OptimizerSpec::adam(), 1e-4) }],
            eval: eval(request, &input)?,
            image_score: Some(score::image_score([input[0], input[2], input[3]], Pooling::MaxOfMeans(21))?),
            inputs: vec![
                InputSpec { name: X.to_owned(), fill: Fill::Image },
                InputSpec { name: TARGET.to_owned(), fill: Fill::Prepared },
                InputSpec { name: MASK.to_owned(), fill: Fill::Prepared },
                InputSpec { name: TEXTURE.to_owned(), fill: Fill::Texture },
            ],
            preprocessing: Preprocessing::uniform(Color::Bgr, 0.0, 1.0),
            taps: vec![
                TapSpec { name: network::CODE.to_owned(), help: "the code of the reconstructive network".to_owned() },
                TapSpec {
                    name: network::DEEPEST.to_owned(),
                    help: "the deepest feature of the discriminative network".to_owned(),
                },
            ],
            prepares: true,
            clip: Clip::image(),
            pretrained: None,
            statistics: Vec::new(),
        })
    }

    fn prepare(&self, request: &ModelRequest, batch: Batch, seed: u64) -> Result<Batch> {
        let options = &request.options;
        let odds = Odds { clean: options.float("clean")?, rotated: options.float("rotated")? };
        defect::prepare(batch, odds, seed)
    }
}

/// The picture; in training with a defect.
const X: &str = "x";

/// The picture without the defect.
const TARGET: &str = "target";

/// Where the defect is: 1 there, else 0.
const MASK: &str = "mask";

/// What defects are painted with, if the user has such pictures.
const TEXTURE: &str = "texture";

/// Input, reconstruction and the probabilities `[N, 2, H, W]` of "normal" and "anomalous".
fn forward(b: &mut Builder, request: &ModelRequest, input: &[usize], phase: Phase) -> Result<[ValueId; 3]> {
    let network = Network {
        reconstructive: request.options.usize("reconstructive_width")?,
        discriminative: request.options.usize("discriminative_width")?,
        phase,
    };
    let x = b.input(X, ValueType::f32(input))?;
    let reconstruction = network.reconstruct(b, x)?;
    let both = b.concat(&[reconstruction, x], 1)?;
    let logits = network.segment(b, both)?;
    b.output("reconstruction", reconstruction)?;
    b.output("logits", logits)?;
    Ok([x, reconstruction, b.softmax(logits, 1)?])
}

/// Squared error, SSIM and focal loss, all with weight 1 (equation 3).
fn train(request: &ModelRequest, input: &[usize]) -> Result<Graph> {
    let mut b = Builder::new("draem");
    let range = if request.options.text("ssim_range")? == "unit" { Range::Fixed(1.0) } else { Range::Guessed };
    let [_, reconstruction, probabilities] = forward(&mut b, request, input, Phase::Train)?;
    let target = b.input(TARGET, ValueType::f32(input))?;
    let mask = b.input(MASK, ValueType::f32([input[0], 1, input[2], input[3]]))?;
    let l2 = loss::mse(&mut b, reconstruction, target)?;
    let ssim = ssim::loss(&mut b, reconstruction, target, range)?;
    let focal = loss::focal(&mut b, probabilities, mask, 2.0, None)?;
    let sum = b.add(l2, ssim)?;
    let total = b.add(sum, focal)?;
    b.output("loss", total)?;
    [("l2", l2), ("ssim", ssim), ("focal", focal)]
        .into_iter()
        .try_for_each(|(name, term)| b.output(&format!("loss.{name}"), term))?;
    Ok(b.finish())
}

fn eval(request: &ModelRequest, input: &[usize]) -> Result<Graph> {
    let mut b = Builder::new("draem");
    let [_, _, probabilities] = forward(&mut b, request, input, Phase::Eval)?;
    let map = b.slice(probabilities, &[0, 1, 0, 0], &[input[0], 2, input[2], input[3]])?;
    b.output("score_map", map)?;
    Ok(b.finish())
}

mimus_core::plugin! { Model(Draem) }
