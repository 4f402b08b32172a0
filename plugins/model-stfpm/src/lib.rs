//! STFPM: a student of the same architecture learns to give the features of a pretrained teacher on normal images; where it fails,
//! at any of three resolutions, is the anomaly (Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection",
//! BMVC 2021).
//!
//! The defaults are the paper's: the loss adds up the levels, the map is the product of the levels' enlarged maps. Implementations
//! differ in both, in smoothing and in weight decay, so that these are options.
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

/// The detector.
#[derive(Debug)]
pub struct Stfpm;

impl Model for Stfpm {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "stfpm", "student that matches a pretrained teacher's feature pyramid")
            .with_paper("Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021")
            .with_option(OptionSpec::choice(
                "network",
                "resnet18",
                Resnet::NAMES,
                "architecture of teacher and student",
            ))
            .with_option(OptionSpec::int("channels", 64, [1, 1024], "channels of its stem; 64 for published weights"))
            .with_option(OptionSpec::choice(
                "loss_levels",
                "sum",
                &["sum", "mean"],
                "how the loss joins the three levels: their sum (paper), or their mean",
            ))
            .with_option(OptionSpec::choice(
                "loss_batch",
                "sum",
                &["sum", "mean"],
                "how the loss joins the images of a batch: their sum (published code), or their mean",
            ))
            .with_option(OptionSpec::choice(
                "map",
                "product",
                &["product", "sum"],
                "how the score map joins the levels: product (paper), or sum of maps that are divided by their size",
            ))
            .with_option(OptionSpec::float(
                "smoothing",
                0.0,
                [0.0, 64.0],
                "standard deviation of the map's Gaussian smoothing in pixels; 0 for none (paper), 4 with map = \"sum\"",
            ))
            .with_option(OptionSpec::float("weight_decay", 1e-4, [0.0, 1.0], "L2 penalty; anomalib's is 1e-3"))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        if request.height < 32 || request.width < 32 {
            let message = format!("is {} x {} pixels, expects 32 x 32 or more", request.height, request.width);
            return Err(Error::config(message).with("key", "height and width"));
        }
        let options = &request.options;
        let network = Network {
            backbone: Resnet::named(options.text("network")?, options.usize("channels")?)?,
            input: [request.batch, Color::Rgb.channels(), request.height, request.width],
            mean_of_levels: options.text("loss_levels")? == "mean",
            mean_of_batch: options.text("loss_batch")? == "mean",
            product: options.text("map")? == "product",
            smoothing: options.float("smoothing")?,
        };
        let tap = |level: usize| TapSpec {
            name: network::tap(level),
            help: format!("the student's features of level {level} of 3"),
        };
        let optimizer =
            OptimizerSpec::Sgd { momentum: 0.9, weight_decay: options.float("weight_decay")?, nesterov: false };
        Ok(ModelSpec {
            stages: vec![Stage::single(network.train()?, optimizer, 0.4)],
            eval: network.eval()?,
            image_score: Some(score::image_score([request.batch, request.height, request.width], Pooling::Max)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::imagenet(),
            taps: [3, 2, 1].map(tap).to_vec(),
            clip: Clip::image(),
            pretrained: Some(Pretrained {
                prefix: "teacher".to_owned(),
                what: format!("{} of torchvision, trained on ImageNet", options.text("network")?),
            }),
            statistics: Vec::new(),
            prepares: false,
        })
    }
}

mimus_core::plugin! { Model(Stfpm) }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mimus_core::graph::Role;
    use mimus_core::plugin::{OptionValue, Options};
    use mimus_core::reference::{Array, Interpreter, Precision};

    use super::*;

    fn spec(given: &[(&str, OptionValue)]) -> ModelSpec {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let options = Options::resolve(&Stfpm.info().options, given.collect()).unwrap();
        let spec = Stfpm.describe(&ModelRequest { options, batch: 2, height: 64, width: 96 }).unwrap();
        spec.verify().unwrap();
        spec
    }

    #[test]
    fn teacher_and_student_have_the_published_size() {
        for (network, expected, entries) in [("resnet18", 2_782_784, 90), ("wide_resnet50_2", 24_862_528, 258)] {
            let graph =
                spec(&[("network", OptionValue::Text(network.to_owned()))]).stages.remove(0).turns.remove(0).graph;
            for prefix in ["teacher.", "student."] {
                let own = || graph.variables.iter().filter(|variable| variable.name.starts_with(prefix));
                let parameters = own().filter(|variable| variable.role == Role::Parameter);
                assert_eq!(parameters.map(|variable| variable.ty.elements()).sum::<usize>(), expected);
                assert_eq!(own().count(), entries, "{network} {prefix}");
            }
        }
    }

    #[test]
    fn the_maps_see_where_the_student_differs() {
        for (map, smoothing) in [("product", 0.0), ("sum", 4.0)] {
            let given = [
                ("channels", OptionValue::Int(2)),
                ("map", OptionValue::Text(map.to_owned())),
                ("smoothing", OptionValue::Float(smoothing)),
            ];
            let graph = spec(&given).eval;
            let mut interpreter = Interpreter::new(Precision::F64);
            interpreter.initialise(&graph, 0).unwrap();
            let n = 2 * 3 * 64 * 96;
            let x = Array::float([2, 3, 64, 96], (0..n).map(|i| f64::from(i * 37 % 101) / 50.0 - 1.0).collect());
            let inputs = BTreeMap::from([("x".to_owned(), x)]);
            let map = |interpreter: &mut Interpreter| interpreter.run(&graph, &inputs).unwrap()[0].clone();
            assert!(map(&mut interpreter).floats().unwrap().iter().any(|x| *x > 0.0));
            let teacher: Vec<_> =
                interpreter.variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            for (name, value) in teacher {
                if let Some(name) = name.strip_prefix("teacher.") {
                    interpreter.variables.insert(format!("student.{name}"), value);
                }
            }
            assert!(map(&mut interpreter).floats().unwrap().iter().all(|x| *x == 0.0));
        }
    }
}
