//! The variables of detectors against the published `state_dict`s: names, shapes, and the number of parameters.
//!
//! A list in `state_dicts` has a line for every layer: its name and its tensors, `BN 64` for the five of a batch norm. `{}` stands
//! for what a row puts there. A tensor of no layer has a line of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeMap;

use mimus_core::Role;
use mimus_core::abi::Registry;
use mimus_core::plugin::{ModelRequest, ModelSpec, OptionValue, Options};

struct Published {
    model: &'static str,
    options: Vec<(&'static str, OptionValue)>,
    /// Height and width of the pictures.
    side: usize,
    /// Lists of layers, and what is put for `{}`, one after another.
    parts: Vec<(&'static str, &'static [&'static str])>,
    /// Of all parameters together.
    parameters: usize,
    /// Variables of ours that the file does not have.
    besides: &'static [&'static str],
}

const VEC_NETWORK: &str = include_str!("../state_dicts/vec-network.txt");
const VEC_RAW: &str = "outc{}.conv weight[3,32,1,1] bias[3]\n";
const VEC_FLOW: &str = "outc{}.conv weight[2,32,1,1] bias[2]\n";
const VEC_BESIDES: &[&str] =
    &["statistics.raw.mean", "statistics.raw.std", "statistics.flow.mean", "statistics.flow.std"];
const DMAD_BESIDES: &[&str] = &[
    "statistics.offset.mean",
    "statistics.offset.std",
    "statistics.error.mean",
    "statistics.error.std",
    "statistics.gradient.mean",
    "statistics.gradient.std",
];
const EACH: &[&str] = &["0", "1", "2", "3", "4"];
const EACH_FLOW: &[&str] = &["_of0", "_of1", "_of2", "_of3", "_of4"];
const GENERATOR: &str = include_str!("../state_dicts/frame-prediction-generator.txt");
const DISCRIMINATOR: &str = include_str!("../state_dicts/frame-prediction-discriminator.txt");

fn published() -> Vec<Published> {
    let plain = |model, lists: &[&'static str], parameters, besides| Published {
        model,
        options: Vec::new(),
        side: SIDE,
        parts: lists.iter().map(|list| (*list, [""].as_slice())).collect(),
        parameters,
        besides,
    };
    let vec = |method: &str, parts: &[_], parameters| Published {
        model: "vec",
        options: vec![("method", OptionValue::Text(method.to_owned()))],
        side: SIDE,
        parts: parts.to_vec(),
        parameters,
        besides: VEC_BESIDES,
    };
    // The background is as large as the frames.
    let dmad = |options: &[_], list, parameters| Published {
        options: options.to_vec(),
        side: 256,
        ..plain("dmad", &[list], parameters, DMAD_BESIDES)
    };
    let avenue = [
        ("variant", OptionValue::Text("avenue".to_owned())),
        ("widths", OptionValue::Ints(vec![64, 128, 256, 512])),
        ("items", OptionValue::Int(420)),
    ];
    let (raw, flow) = ([(VEC_NETWORK, EACH), (VEC_RAW, EACH)], [(VEC_NETWORK, EACH_FLOW), (VEC_FLOW, EACH_FLOW)]);
    let last: [(_, &[_]); 2] = [(VEC_NETWORK, &["_of"]), (VEC_FLOW, &["_of"])];
    vec![
        plain("mnad", &[include_str!("../state_dicts/mnad.txt")], 15_651_843, &["m_items"]),
        plain(
            "mnad-reconstruction",
            &[include_str!("../state_dicts/mnad-reconstruction.txt")],
            17_196_291,
            &["m_items"],
        ),
        plain("unet", &[include_str!("../state_dicts/unet.txt")], 28_805_699, &[]),
        plain("frame-prediction", &[GENERATOR, DISCRIMINATOR], 7_707_011 + 6_831_489, &[]),
        dmad(&[], include_str!("../state_dicts/dmad-ped2.txt"), 5_680_522),
        dmad(&avenue, include_str!("../state_dicts/dmad-avenue.txt"), 21_093_578),
        vec("5raw5of", &[raw, flow].concat(), 21_460_985),
        vec("5raw1of", &[raw, last].concat(), 12_876_657),
        vec("1raw1of", &[&[(VEC_NETWORK, [""].as_slice()), (VEC_RAW, &[""])], last.as_slice()].concat(), 4_292_197),
    ]
}

/// Of the pictures, where no variable depends on it.
const SIDE: usize = 64;

/// Name and shape of every tensor of a list's line.
fn tensors(line: &str) -> Vec<(String, Vec<usize>)> {
    let shape = |text: &str| text.split(',').map(|extent| extent.parse().unwrap()).collect();
    let Some((layer, rest)) = line.split_once(' ') else {
        let (name, extents) = line.trim_end_matches(']').split_once('[').unwrap();
        return vec![(name.to_owned(), shape(extents))];
    };
    if let Some(channels) = rest.strip_prefix("BN ") {
        let shape = vec![channels.parse().unwrap()];
        let statistics = ["weight", "bias", "running_mean", "running_var"].map(|name| (name, shape.clone()));
        let all = statistics.into_iter().chain([("num_batches_tracked", vec![])]);
        return all.map(|(name, shape)| (format!("{layer}.{name}"), shape)).collect();
    }
    let tensor = |text: &str| {
        let (name, extents) = text.trim_end_matches(']').split_once('[').unwrap();
        (format!("{layer}.{name}"), shape(extents))
    };
    rest.split(' ').map(tensor).collect()
}

fn describe(plugins: &Registry, model: &str, side: usize, given: &[(&str, OptionValue)]) -> ModelSpec {
    let model = plugins.model(model).unwrap();
    let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let options = Options::resolve(&model.info().options, given.collect()).unwrap();
    model.describe(&ModelRequest { options, batch: 2, height: side, width: side }).unwrap()
}

fn parameters(spec: &ModelSpec) -> usize {
    spec.variables().iter().filter(|variable| variable.role == Role::Parameter).map(|v| v.ty.elements()).sum()
}

#[test]
fn names_and_shapes_are_those_of_the_published_state_dicts() {
    let plugins = mimus_tests::plugins().unwrap();
    for Published { model, options, side, parts, parameters: expected, besides } in published() {
        let spec = describe(&plugins, model, side, &options);
        let filled =
            |(list, fillings): &(&str, &[&str])| fillings.iter().map(|by| list.replace("{}", by)).collect::<String>();
        let lists: String = parts.iter().map(filled).collect();
        let listed: BTreeMap<String, Vec<usize>> = lists.lines().flat_map(tensors).collect();
        let ours = spec.variables().into_iter().filter(|variable| !besides.contains(&variable.name.as_str()));
        let ours: BTreeMap<String, Vec<usize>> =
            ours.map(|variable| (variable.name.clone(), variable.ty.shape.to_vec())).collect();
        let differing: Vec<_> = listed.iter().filter(|(name, shape)| ours.get(*name) != Some(shape)).collect();
        assert!(differing.is_empty(), "{model} {options:?} lacks {differing:?}");
        let more: Vec<_> = ours.keys().filter(|name| !listed.contains_key(*name)).collect();
        assert!(more.is_empty(), "{model} {options:?} also has {more:?}");
        assert_eq!(parameters(&spec), expected, "{model} {options:?}");
    }
}

#[test]
fn wider_and_official_variants_have_the_published_number_of_parameters() {
    let plugins = mimus_tests::plugins().unwrap();
    let text = |text: &str| OptionValue::Text(text.to_owned());
    let widths = OptionValue::Ints(vec![64, 128, 256, 512]);
    let spec = describe(&plugins, "vec", SIDE, &[("method", text("1raw1of")), ("widths", widths)]);
    assert_eq!(parameters(&spec), 17_136_837);
    let spec = describe(&plugins, "frame-prediction", SIDE, &[("variant", text("official"))]);
    assert_eq!(parameters(&spec), 7_704_195 + 6_831_489);
}
