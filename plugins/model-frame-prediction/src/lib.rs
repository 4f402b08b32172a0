//! Prediction of the next frame by a U-Net that an adversary keeps sharp (Liu et al., "Future Frame Prediction for Anomaly
//! Detection - A New Baseline", CVPR 2018).
//!
//! `variant = "port"` is the common PyTorch port, whose names the parameters have: batch norm in the generator, zeros around the
//! discriminator's inputs. `variant = "official"` is the authors' TensorFlow code: no normalisation, a ReLU behind every
//! enlargement, mirrored borders, Glorot's first values; the names stay.
//!
//! What is left out: the flow loss, which compares the optical flow of the predicted frame with that of the true one. It needs the
//! gradient of a trained flow network, and there is none here; the port detaches that flow, so that its flow loss does not
//! train either. The official code draws another batch for the discriminator; here both turns see the same. The port adds the
//! generator's adversarial gradient to the discriminator's by mistake; here each has its own.
#![forbid(unsafe_code)]

mod detector;
mod discriminator;

use mimus_core::Result;
use mimus_core::plugin::{ComponentInfo, Kind, Model, ModelRequest, ModelSpec, OptionSpec};

/// The detector.
#[derive(Debug)]
pub struct FramePrediction;

impl Model for FramePrediction {
    fn info(&self) -> ComponentInfo {
        let weight = |name: &str, default, what: &str| OptionSpec::float(name, default, [0.0, 1e6], what);
        ComponentInfo::new(
            Kind::Model,
            "frame-prediction",
            "adversarial prediction of the next frame, without the flow loss",
        )
        .with_paper("Liu et al., Future Frame Prediction for Anomaly Detection - A New Baseline, CVPR 2018")
        .with_weights("feiyuhuahuo/Anomaly_Prediction (sections net_g and net_d of one file), without a licence")
        .with_option(OptionSpec::choice(
            "variant",
            "port",
            &["port", "official"],
            "port: PyTorch, batch norm; official: TensorFlow, no normalisation, mirrored borders",
        ))
        .with_option(OptionSpec::ints("widths", &[64, 128, 256, 512], [1, 4096], "channels of the generator's levels"))
        .with_option(OptionSpec::ints(
            "discriminator_widths",
            &[128, 256, 512, 512],
            [1, 4096],
            "channels of the discriminator's layers; all but the last halve the extents",
        ))
        .with_option(OptionSpec::int("frames", 5, [2, 64], "frames of a clip; the last is predicted from the others"))
        .with_option(weight("intensity_weight", 1.0, "weight of the squared error in the generator's loss"))
        .with_option(weight("gradient_weight", 1.0, "weight of the difference of image gradients"))
        .with_option(weight("adversarial_weight", 0.05, "weight of what the discriminator says"))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        detector::Detector::new(request)?.spec()
    }
}

mimus_core::plugin! { Model(FramePrediction) }

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use mimus_core::Role;
    use mimus_core::plugin::{OptionValue, Options};

    use super::*;

    fn spec(variant: &str) -> ModelSpec {
        let ints = |list: &[i64]| OptionValue::Ints(list.to_vec());
        let given = [
            ("variant", OptionValue::Text(variant.to_owned())),
            ("widths", ints(&[2, 3])),
            ("discriminator_widths", ints(&[2, 3])),
        ];
        let given: BTreeMap<_, _> = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let options = Options::resolve(&FramePrediction.info().options, given).unwrap();
        FramePrediction.describe(&ModelRequest { options, batch: 2, height: 16, width: 16 }).unwrap()
    }

    #[test]
    fn each_turn_trains_a_network_of_its_own_and_together_they_train_all() {
        for variant in ["port", "official"] {
            let spec = spec(variant);
            spec.verify().unwrap();
            let [discriminator, generator] = &spec.stages[0].turns[..] else { panic!("there are two turns") };
            let [judged, predicted] = [discriminator, generator].map(|turn| turn.step().unwrap().trained);
            assert!(judged.iter().all(|name| name.starts_with("net.")), "{judged:?}");
            assert!(!predicted.iter().any(|name| name.starts_with("net.")), "{predicted:?}");
            let trained: BTreeSet<String> = judged.into_iter().chain(predicted).collect();
            let all = spec.variables().into_iter().filter(|variable| variable.role == Role::Parameter);
            assert_eq!(trained, all.map(|variable| variable.name.clone()).collect());
            let statistics = |turn: &mimus_core::train::Turn| turn.graph.assignments.len();
            // Six batch norms of three statistics each, which move once in a step.
            assert_eq!([statistics(discriminator), statistics(generator)], [0, if variant == "port" { 18 } else { 0 }]);
        }
    }
}
