//! VEC: every patch and every flow of a short event is completed from the event's other patches, by a U-Net of its own (Yu et al.,
//! "Cloze Test Helps: Effective Video Anomaly Detection via Learning to Complete Video Events", ACM MM 2020).
//!
//! An event is a clip of one region, an object, which the host cuts from the frames. Flow leads from each frame to the one behind it, as
//! published. The score is the sum of the squared errors of patches and of flows, each standardised by its mean and deviation over the
//! training samples. A frame without objects scores like errors of zero; the published code gives it -1e5, which ranks the same.
#![forbid(unsafe_code)]

mod detector;

use mimus_core::Result;
use mimus_core::plugin::{ComponentInfo, Kind, Model, ModelRequest, ModelSpec, OptionSpec};

/// The detector.
#[derive(Debug)]
pub struct Cloze;

impl Model for Cloze {
    fn info(&self) -> ComponentInfo {
        let weight = |name: &str, what: &str| OptionSpec::float(name, 1.0, [0.0, 1e6], what);
        ComponentInfo::new(Kind::Model, "vec", "completes patches and flows of video events, a cloze test")
            .with_paper("Yu et al., Cloze Test Helps, ACM MM 2020")
            .with_weights("yuguangnudt/VEC_VAD, MIT: nested lists of state_dicts, to be taken out one by one")
            .with_option(OptionSpec::choice(
                "method",
                "5raw5of",
                &["5raw5of", "5raw1of", "1raw1of"],
                "what is erased and completed: every patch and every flow; every patch and the last flow; the last of both \
                 (published with widths 64, 128, 256, 512)",
            ))
            .with_option(OptionSpec::ints("widths", &[32, 64, 128, 256], [1, 4096], "channels of every U-Net's levels"))
            .with_option(OptionSpec::int("frames", 5, [2, 64], "patches of an event"))
            .with_option(weight("raw_weight", "weight of the patches' error in the score"))
            .with_option(weight("flow_weight", "weight of the flows' error in the score"))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        detector::Detector::new(request)?.spec()
    }
}

mimus_core::plugin! { Model(Cloze) }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mimus_core::plugin::{OptionValue, Options};
    use mimus_core::random::Stream;
    use mimus_core::reference::{Array, Interpreter, Precision};

    use super::*;

    fn spec(method: &str) -> ModelSpec {
        let given = [
            ("method", OptionValue::Text(method.to_owned())),
            // Wide enough that no network is dead at its first values and says the same of every patch.
            ("widths", OptionValue::Ints(vec![8, 8])),
            ("raw_weight", OptionValue::Float(0.5)),
        ];
        let given: BTreeMap<_, _> = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let options = Options::resolve(&Cloze.info().options, given).unwrap();
        Cloze.describe(&ModelRequest { options, batch: 2, height: 8, width: 8 }).unwrap()
    }

    fn inputs(spec: &ModelSpec) -> BTreeMap<String, Array> {
        let mut stream = Stream::keyed("vec");
        let mut random = |shape: &[usize]| {
            Array::float(shape, (0..shape.iter().product()).map(|_| stream.uniform()).collect::<Vec<_>>())
        };
        spec.eval.inputs().map(|(name, input)| (name.to_owned(), random(&spec.eval.ty(input).shape))).collect()
    }

    fn run(spec: &ModelSpec, state: &mut Interpreter, inputs: &BTreeMap<String, Array>) -> BTreeMap<String, Vec<f64>> {
        let names = spec.eval.outputs.iter().map(|named| named.name.clone());
        let values = state.run(&spec.eval, inputs).unwrap().into_iter().map(|value| value.floats().unwrap().to_vec());
        names.zip(values).collect()
    }

    #[test]
    fn sums_of_squares_are_standardised_and_weighted() {
        for method in ["5raw5of", "5raw1of", "1raw1of"] {
            let spec = spec(method);
            spec.verify().unwrap();
            let mut state = Interpreter::new(Precision::F64);
            state.initialise(&spec.eval, 0).unwrap();
            for (name, value) in [("raw.mean", 3.0), ("raw.std", 2.0), ("flow.mean", -1.0), ("flow.std", 4.0)] {
                state.variables.insert(format!("statistics.{name}"), Array::float([], vec![value]));
            }
            let results = run(&spec, &mut state, &inputs(&spec));
            for (i, score) in results["score"].iter().enumerate() {
                let [raw, flow] = ["raw", "flow"].map(|name| results[&format!("statistics.{name}")][i]);
                assert!((score - (0.5 * (raw - 3.0) / 2.0 + (flow + 1.0) / 4.0)).abs() < 1e-12, "{method}");
            }
        }
    }

    #[test]
    fn what_completes_a_patch_does_not_see_it() {
        let spec = spec("5raw5of");
        let mut state = Interpreter::new(Precision::F64);
        state.initialise(&spec.eval, 0).unwrap();
        let before = inputs(&spec);
        let patch = 3 * 8 * 8;
        for erased in 0..5 {
            let mut after = before.clone();
            let mut values = after["x"].floats().unwrap().to_vec();
            for sample in values.chunks_exact_mut(5 * patch) {
                sample[erased * patch..][..patch].fill(0.0);
            }
            after.insert("x".to_owned(), Array::float([2, 15, 8, 8], values));
            let [before, after] = [&before, &after].map(|inputs| run(&spec, &mut state, inputs));
            for (output, channels) in [("output.raw", 3), ("output.flow", 2)] {
                let length = channels * 8 * 8;
                let pairs = before[output].chunks_exact(length).zip(after[output].chunks_exact(length));
                for (i, (before, after)) in pairs.enumerate() {
                    assert_eq!(before == after, i % 5 == erased, "{output} {i} without {erased}");
                }
            }
        }
    }
}
