//! HF2-VAD: the flow of an object's last frames is reconstructed by an autoencoder with memories at several levels (ML-MemAE-SC),
//! and the reconstructed flows guide a conditional variational autoencoder (VUnet) that predicts the next frame; anomalies spoil
//! both (Liu et al., "A Hybrid Video Anomaly Detection Framework via Memory-Augmented Flow Reconstruction and Flow-Guided Frame
//! Prediction", ICCV 2021).
//!
//! Follows the official code, down to the decoder that always ends with a sigmoid and the gradient loss that sums channels before
//! the absolute value. The published pipeline feeds boxes that an object detector found, of 32 x 32 pixels; the model takes what
//! pictures it is given. `memories = [2, 3]`, `skips = [3]` are the variant for ShanghaiTech.
#![forbid(unsafe_code)]

mod detector;
mod flow;
mod frame;

use std::collections::BTreeSet;

use mimus_core::blocks::memory::Addressing;
use mimus_core::plugin::{
    Clip, Color, ComponentInfo, Edge, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec, Options,
    Preprocessing, TapSpec,
};
use mimus_core::train::{OptimizerSpec, Schedule, Stage, Turn};
use mimus_core::{Error, Graph, Result};

use detector::{Detector, HISTORY, Parts};
use flow::Autoencoder;
use frame::Predictor;

/// Height and width are halved three times, and maps of an eighth are cut into blocks of 2 x 2.
const MULTIPLE: usize = 16;

/// The detector and its parts.
#[derive(Debug)]
pub struct Hf2vad;

impl Model for Hf2vad {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "hf2vad", "memory-augmented flow reconstruction and flow-guided frame prediction")
            .with_paper(
                "Liu et al., A Hybrid Video Anomaly Detection Framework via Memory-Augmented Flow Reconstruction and \
                 Flow-Guided Frame Prediction, ICCV 2021",
            )
            .with_option(OptionSpec::choice(
                "parts",
                "both",
                &["both", "flow", "frame"],
                "both: the detector; flow: ML-MemAE-SC alone, on the last frame's flow; frame: VUnet alone, guided by the flows as they are",
            ))
            .with_option(OptionSpec::int("flow_width", 32, [1, 1024], "channels of the flow autoencoder at full resolution"))
            .with_option(OptionSpec::int("slots", 2000, [1, 1_000_000], "slots of each memory"))
            .with_option(OptionSpec::float("shrink_threshold", 0.0005, [0.0, 1.0], "hard shrinkage of the addressing weights; 0 for none"))
            .with_option(OptionSpec::ints(
                "memories",
                &[1, 2, 3],
                [1, 3],
                "levels with a memory; 3 is the code, 1 half the resolution (ShanghaiTech: 2, 3)",
            ))
            .with_option(OptionSpec::ints(
                "skips",
                &[2, 3],
                [1, 3],
                "up-sampling blocks with a skip connection; 3 is the one after the code (ShanghaiTech: 3)",
            ))
            .with_option(OptionSpec::float("entropy_weight", 0.0002, [0.0, 1e6], "weight of the addressing entropy in the loss"))
            .with_option(OptionSpec::int("frame_width", 64, [1, 1024], "channels of the frame predictor at full resolution"))
            .with_option(OptionSpec::int("frame_width_max", 128, [1, 4096], "most channels of the frame predictor, and those of its latent maps"))
            .with_option(OptionSpec::float("dropout", 0.1, [0.0, 0.9], "probability with which the frame predictor drops features"))
            .with_option(OptionSpec::float("flow_weight", 1.0, [0.0, 1e6], "weight of the flow error in the score (Ped2 1, Avenue 0.05, ShanghaiTech 0.02)"))
            .with_option(OptionSpec::float("frame_weight", 0.1, [0.0, 1e6], "weight of the frame error in the score (Ped2 0.1, others 1)"))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        for (name, extent) in [("height", request.height), ("width", request.width)] {
            if extent == 0 || extent % MULTIPLE != 0 {
                return Err(Error::config(format!("is {extent}, expects a multiple of {MULTIPLE}"))
                    .with("key", name)
                    .hint("the published networks take 32 x 32 pixels"));
            }
        }
        let detector = detector(request)?;
        let has_flow = detector.parts != Parts::Frame;
        let taps = [
            (has_flow, "memAE.down_3", "the flow autoencoder's code of the last flow"),
            (detector.parts != Parts::Flow, "vunet.f_phi.s4_2", "the last features of the posterior's encoder"),
            (detector.parts != Parts::Flow, "vunet.bottleneck", "what enters the frame predictor's decoder"),
        ];
        let taps = taps.into_iter().filter(|(there, ..)| *there);
        let stages = stages(&detector)?;
        let both = detector.parts == Parts::Both;
        let mut spec = ModelSpec {
            stages,
            eval: detector.eval()?,
            image_score: None,
            inputs: Vec::new(),
            preprocessing: Preprocessing::uniform(Color::Bgr, 0.0, 1.0),
            taps: taps.map(|(_, name, help)| TapSpec { name: name.to_owned(), help: help.to_owned() }).collect(),
            // The protocol leaves the first frames out of the evaluation.
            clip: Clip { frames: HISTORY + 1, stride: 1, score_frame: HISTORY, edge: Edge::Repeat },
            pretrained: None,
            statistics: if both { detector::ERRORS.map(str::to_owned).to_vec() } else { Vec::new() },
            prepares: false,
        };
        // Layers that drop features add an input each.
        let names: BTreeSet<String> =
            spec.training().flat_map(|(_, graph)| graph.inputs().map(|(name, _)| name.to_owned())).collect();
        spec.inputs = names.into_iter().map(input).collect();
        Ok(spec)
    }
}

/// The published recipe: first the flow autoencoder, then the frame predictor behind it, then both, with as many epochs each.
fn stages(detector: &Detector) -> Result<Vec<Stage>> {
    let stage = |name: &str, graph: Graph, scope: &str, learning_rate: f64| {
        let adam = OptimizerSpec::Adam { betas: [0.9, 0.999], eps: 1e-7, weight_decay: 0.0 };
        let trains = if scope.is_empty() { Vec::new() } else { vec![scope.to_owned()] };
        let turns = vec![Turn { trains, ..Turn::new(graph, adam, learning_rate) }];
        let schedule = Schedule::Fractions { at: vec![50.0 / 80.0], gamma: 0.8 };
        let share = if detector.parts == Parts::Both { 1.0 / 3.0 } else { 1.0 };
        Stage { name: name.to_owned(), share, schedule, turns }
    };
    Ok(match detector.parts {
        Parts::Flow => vec![stage("flow", detector.flow_stage()?, "", 1e-4)],
        Parts::Frame => vec![stage("frame", detector.frame_stage()?, "", 1e-4)],
        Parts::Both => vec![
            stage("flow", detector.flow_stage()?, "memAE", 1e-4),
            stage("frame", detector.frame_stage()?, "vunet", 1e-4),
            stage("both", detector.joint_stage()?, "", 8e-5),
        ],
    })
}

/// Frames and flows come from the clip; the rest is noise.
fn input(name: String) -> InputSpec {
    let fill = match name.as_str() {
        "frames" => Fill::Image,
        "flow" => Fill::Flow,
        _ => Fill::Noise,
    };
    InputSpec { name, fill }
}

fn detector(request: &ModelRequest) -> Result<Detector> {
    let options = &request.options;
    Ok(Detector {
        parts: match options.text("parts")? {
            "flow" => Parts::Flow,
            "frame" => Parts::Frame,
            _ => Parts::Both,
        },
        autoencoder: autoencoder(options)?,
        predictor: Predictor {
            start: options.usize("frame_width")?,
            max: options.usize("frame_width_max")?,
            colors: Color::Bgr.channels(),
        },
        extents: [request.batch, request.height, request.width],
        dropout: options.float("dropout")?,
        entropy_weight: options.float("entropy_weight")?,
        score_weights: [options.float("flow_weight")?, options.float("frame_weight")?],
    })
}

fn autoencoder(options: &Options) -> Result<Autoencoder> {
    Ok(Autoencoder {
        width: options.usize("flow_width")?,
        addressing: Addressing {
            slots: options.usize("slots")?,
            threshold: options.float("shrink_threshold")?,
            cosine: false,
            mask_gradient: false,
        },
        memories: options.usizes("memories")?,
        skips: options.usizes("skips")?,
    })
}

mimus_core::plugin! { Model(Hf2vad) }

#[cfg(test)]
mod tests {
    use mimus_core::graph::Role;
    use mimus_core::plugin::{OptionValue, Options};

    use super::*;

    fn spec(given: &[(&str, OptionValue)], batch: usize) -> ModelSpec {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let options = Options::resolve(&Hf2vad.info().options, given.collect()).unwrap();
        let request = ModelRequest { options, batch, height: 32, width: 32 };
        let spec = Hf2vad.describe(&request).unwrap();
        spec.verify().unwrap();
        spec
    }

    fn parts(name: &str) -> (&'static str, OptionValue) {
        ("parts", OptionValue::Text(name.to_owned()))
    }

    #[test]
    fn networks_have_the_published_sizes() {
        let levels = |name: &'static str, levels: &[i64]| (name, OptionValue::Ints(levels.to_vec()));
        let shanghaitech = vec![parts("flow"), levels("memories", &[2, 3]), levels("skips", &[3])];
        let one = vec![parts("flow"), levels("memories", &[3]), levels("skips", &[])];
        let cases = [
            (vec![], 69_243_246, 435),
            (vec![parts("flow")], 60_252_578, 115),
            (vec![parts("frame")], 8_990_668, 320),
            (shanghaitech, 27_447_714, 114),
            (one, 10_916_258, 113),
        ];
        for (given, expected, entries) in cases {
            let spec = spec(&given, 2);
            let graph = &spec.main().unwrap().graph;
            let published = || graph.variables.iter().filter(|variable| !variable.name.starts_with("statistics."));
            let parameters = published().filter(|variable| variable.role == Role::Parameter);
            let count: usize = parameters.map(|variable| variable.ty.elements()).sum();
            assert_eq!((count, published().count()), (expected, entries), "{given:?}");
        }
    }

    #[test]
    fn names_and_shapes_are_the_official_ones() {
        let spec = spec(&[], 2);
        let graph = &spec.main().unwrap().graph;
        let cases: [(&str, &[usize]); 8] = [
            ("memAE.in_conv.conv.conv.0.weight", &[32, 2, 3, 3]),
            ("memAE.down_3.mpconv.1.conv.4.running_mean", &[256]),
            ("memAE.mem1.memMatrix", &[2000, 16384]),
            ("memAE.up_2.conv.conv.0.weight", &[64, 128, 3, 3]),
            ("vunet.f_phi.in_op.conv.weight_v", &[64, 20, 1, 1]),
            ("vunet.bottleneck.param_converter.conv.weight_g", &[128, 1, 1, 1]),
            ("vunet.decoder.ups.s2.up.gamma", &[1, 256, 1, 1]),
            ("vunet.zc.blocks.2.pre.conv.bias", &[128]),
        ];
        for (name, shape) in cases {
            let found = graph.variable(name).map(|variable| variable.ty.shape.as_slice());
            assert_eq!(found, Some(shape), "{name}");
        }
    }

    #[test]
    fn every_stage_trains_what_it_should() {
        let spec = spec(&[], 2);
        let trained = |stage: &Stage| {
            let step = stage.main().unwrap().step().unwrap();
            ["memAE.", "vunet."].map(|scope| step.trained.iter().filter(|name| name.starts_with(scope)).count())
        };
        assert_eq!(spec.stages.iter().map(trained).collect::<Vec<_>>(), [[73, 0], [0, 320], [73, 320]]);
        // The autoencoder's statistics stand still while the predictor is trained, and move with all flows afterwards.
        let assigned = spec.stages.iter().map(|stage| stage.main().unwrap().graph.assignments.len());
        assert_eq!(assigned.collect::<Vec<_>>(), [42, 0, 42]);
    }

    #[test]
    fn features_are_dropped_in_training_alone() {
        let spec = spec(&[], 2);
        let drops = |graph: &mimus_core::Graph| graph.inputs().filter(|(name, _)| name.starts_with("dropout.")).count();
        // Two encoders of 8 blocks, 3 of the posterior, 4 and twice 4 of the prior, 4 of the decoder.
        assert_eq!((drops(&spec.main().unwrap().graph), drops(&spec.eval)), (16 + 3 + 4 + 8 + 4, 0));
    }
}
