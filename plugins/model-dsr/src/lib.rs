//! DSR: defects are made among the codes of a latent model, undone by modules that know one kind of object, and found by comparing the
//! two pictures (Zavrtanik et al., "DSR - A dual subspace re-projection network for surface anomaly detection", ECCV 2022).
//!
//! Follows the published code. Its image score comes from the map before refinement, its pixel metrics from the refined map within
//! the middle 224 x 224 pixels; here both come from the one map that the option `map` chooses, wholly.
#![forbid(unsafe_code)]

mod graphs;
mod latent;
mod modules;
mod prepare;
#[cfg(test)]
mod tests;

use mimus_core::blocks::score::{self, Pooling};
use mimus_core::plugin::{
    Batch, Clip, Color, ComponentInfo, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec,
    Preprocessing, Pretrained, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Schedule, Stage, Turn};
use mimus_core::{Error, Result};

/// Latent model, subspace restriction, image reconstruction, anomaly detection, upsampling.
#[derive(Debug)]
pub struct Dsr;

/// Sizes of the modules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// Channels of features and codes.
    pub(crate) hidden: usize,
    /// Channels within residual blocks.
    pub(crate) residual: usize,
    /// Codes of each level.
    pub(crate) codes: usize,
    /// First layers of the subspace restriction.
    pub(crate) subspace: usize,
    /// First layers of detection and upsampling.
    pub(crate) detection: usize,
}

impl Widths {
    fn of(request: &ModelRequest) -> Result<Self> {
        let options = &request.options;
        Ok(Self {
            hidden: options.usize("hidden")?,
            residual: options.usize("residual_hidden")?,
            codes: options.usize("codes")?,
            subspace: options.usize("subspace_width")?,
            detection: options.usize("detection_width")?,
        })
    }
}

impl Model for Dsr {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "dsr", "defects among the codes of a latent model, undone and found")
            .with_paper("Zavrtanik et al., DSR, ECCV 2022")
            .with_weights("by the authors, the latent model among them: github.com/VitjanZ/DSR_anomaly_detection, Apache-2.0")
            .with_option(OptionSpec::int("hidden", 128, [2, 4096], "channels of features and codes of the latent model, even"))
            .with_option(OptionSpec::int("residual_hidden", 64, [1, 4096], "channels within residual blocks"))
            .with_option(OptionSpec::int("codes", 4096, [4, 65536], "codes of each level of the latent model"))
            .with_option(OptionSpec::int(
                "subspace_width",
                128,
                [1, 1024],
                "channels of the first layers of the subspace restriction; deeper ones have up to 4 times as many",
            ))
            .with_option(OptionSpec::int(
                "detection_width",
                64,
                [1, 1024],
                "channels of the first layers of detection and upsampling; deeper ones have up to 4 times as many",
            ))
            .with_option(OptionSpec::int(
                "candidates",
                16,
                [1, 256],
                "codes drawn for each feature; the first of fitting strength makes the defect (more: rarely none fits; slower)",
            ))
            .with_option(OptionSpec::choice(
                "upsampling",
                "after",
                &["after", "along"],
                "train the upsampling in the last third of the epochs (published), or along with the other modules: then a boost can \
                 attach to those",
            ))
            .with_option(OptionSpec::choice(
                "map",
                "refined",
                &["refined", "detection"],
                "score map: refined by the upsampling (published for pixels), or before it (published for the image score)",
            ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let options = &request.options;
        check(request)?;
        let along = options.text("upsampling")? == "along";
        let refined = options.text("map")? == "refined";
        let prepared = prepare::inputs().into_iter().map(|name| InputSpec { name, fill: Fill::Prepared });
        let image = InputSpec { name: prepare::X.to_owned(), fill: Fill::Image };
        Ok(ModelSpec {
            stages: stages(request, along)?,
            eval: graphs::eval(request, refined)?,
            image_score: Some(score::image_score(
                [request.batch, request.height, request.width],
                Pooling::MaxOfMeans(21),
            )?),
            inputs: std::iter::once(image).chain(prepared).collect(),
            preprocessing: Preprocessing::uniform(Color::Bgr, 0.0, 1.0),
            taps: taps(along),
            prepares: true,
            clip: Clip::image(),
            pretrained: Some(Pretrained {
                prefix: latent::SCOPE.to_owned(),
                what:
                    "the discrete latent model of the authors, trained on ImageNet (vq_model_pretrained_128_4096.pckl)"
                        .to_owned(),
            }),
            statistics: Vec::new(),
        })
    }

    fn prepare(&self, request: &ModelRequest, batch: Batch, seed: u64) -> Result<Batch> {
        prepare::prepare(request, batch, request.options.text("upsampling")? == "after", seed)
    }
}

fn check(request: &ModelRequest) -> Result<()> {
    let (height, width) = (request.height, request.width);
    if !(height.is_multiple_of(32) && width.is_multiple_of(32)) {
        return Err(Error::config(format!("its input is {height} x {width} pixels; the modules halve it five times"))
            .hint("choose a height and width that 32 divides, for example 256"));
    }
    let hidden = request.options.usize("hidden")?;
    if !hidden.is_multiple_of(2) {
        return Err(Error::config(format!("option `hidden` is {hidden}, expects an even number")));
    }
    Ok(())
}

/// 100 epochs for the object, whose rate falls at 80 %, and 50 for the upsampling, whose published milestones are never reached.
/// What the last turn sees is the input `x`, so that a teacher sees the same.
fn stages(request: &ModelRequest, along: bool) -> Result<Vec<Stage>> {
    let turn = |name: &str, graph, trains: &[&str]| Turn {
        name: name.to_owned(),
        trains: trains.iter().map(|scope| (*scope).to_owned()).collect(),
        ..Turn::new(graph, OptimizerSpec::adam(), 2e-4)
    };
    let [for_object, for_upsampling] = if along { [prepare::X, prepare::OTHER] } else { [prepare::OTHER, prepare::X] };
    let object = turn("object", graphs::object(request, for_object)?, &graphs::OBJECT);
    let upsampling = turn("upsampling", graphs::upsampling(request, for_upsampling)?, &[graphs::UPSAMPLING]);
    let stage = |name: &str, share: f64, schedule: Schedule, turns: Vec<Turn>| Stage {
        name: name.to_owned(),
        share,
        schedule,
        turns,
    };
    let falling = Schedule::Fractions { at: vec![0.8], gamma: 0.1 };
    Ok(if along {
        vec![stage("train", 1.0, falling, vec![upsampling, object])]
    } else {
        vec![
            stage("object", 2.0 / 3.0, falling, vec![object]),
            stage("upsampling", 1.0 / 3.0, Schedule::Constant, vec![upsampling]),
        ]
    })
}

/// Those in what the last turn trains.
fn taps(along: bool) -> Vec<TapSpec> {
    let tap = |name: &str, help: &str| TapSpec { name: name.to_owned(), help: help.to_owned() };
    if !along {
        return vec![tap("upsampling.unet.encoder.block4", "the deepest feature of the upsampling module")];
    }
    vec![
        tap("subspace_lo.unet.encoder.block3", "the code of the coarse level's subspace restriction"),
        tap("subspace_hi.unet.encoder.block3", "the code of the fine level's subspace restriction"),
        tap("image_reconstruction.pre_vq_conv", "the code of the image reconstruction"),
        tap("anomaly_detection.unet.encoder.block4", "the deepest feature of the detection"),
    ]
}

mimus_core::plugin! { Model(Dsr) }
