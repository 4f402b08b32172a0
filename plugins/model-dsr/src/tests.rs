//! The description against the published modules, and properties of prepared batches.

use std::collections::BTreeMap;

use mimus_core::plugin::{Batch, Model, ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::random::Stream;
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::{HostTensor, Role};

use super::{Dsr, prepare};

fn request(options: &[(&str, OptionValue)], batch: usize, side: usize) -> ModelRequest {
    let given = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    let options = Options::resolve(&Dsr.info().options, given).unwrap();
    ModelRequest { options, batch, height: side, width: side }
}

const TINY: [(&str, i64); 6] = [
    ("hidden", 4),
    ("residual_hidden", 2),
    ("codes", 8),
    ("subspace_width", 2),
    ("detection_width", 2),
    ("candidates", 2),
];

fn tiny(upsampling: &str, batch: usize) -> ModelRequest {
    let sizes = TINY.map(|(name, value)| (name, OptionValue::Int(value)));
    let options = [sizes.as_slice(), &[("upsampling", OptionValue::Text(upsampling.to_owned()))]].concat();
    request(&options, batch, 64)
}

/// Parameters below a scope.
fn count(spec: &ModelSpec, scope: &str) -> usize {
    let own = |name: &str| name.strip_prefix(scope).is_some_and(|rest| rest.starts_with('.'));
    let own = spec.variables().into_iter().filter(|v| v.role == Role::Parameter && own(&v.name));
    own.map(|v| v.ty.elements()).sum()
}

#[test]
fn all_modules_have_the_published_parameters() {
    let spec = Dsr.describe(&request(&[], 1, 256)).unwrap();
    spec.verify().unwrap();
    // The published latent model holds sums of its own training besides.
    let sums = 2 * 4096 * 128;
    assert_eq!(count(&spec, "vq") + sums, 4_021_379);
    let scopes = ["subspace_hi", "subspace_lo", "image_reconstruction", "anomaly_detection", "upsampling"];
    assert_eq!(scopes.map(|scope| count(&spec, scope)), [7_818_240, 7_818_240, 9_418_371, 5_610_690, 5_611_842]);
    let all: usize = spec.variables().iter().map(|variable| variable.ty.elements()).sum();
    assert_eq!(all + sums, 40_298_762);
    let counts = ["vq.", "subspace_hi.", "image_reconstruction.", "anomaly_detection.", "upsampling."]
        .map(|scope| spec.variables().iter().filter(|variable| variable.name.starts_with(scope)).count());
    assert_eq!(counts, [40 - 4, 26, 24, 36, 36]);
}

#[test]
fn names_are_the_published_ones() {
    let spec = Dsr.describe(&request(&[], 1, 256)).unwrap();
    let shape =
        |name: &str| spec.variables().iter().find(|v| v.name == name).map(|v| v.ty.shape.clone()).unwrap_or_default();
    for (name, expected) in [
        ("vq._encoder_b._conv_1.weight", vec![64, 3, 4, 4]),
        ("vq._encoder_t._residual_stack._layers.1._block.3.weight", vec![128, 64, 1, 1]),
        ("vq._vq_vae_top._embedding.weight", vec![4096, 128]),
        ("vq._pre_vq_conv_bot.weight", vec![128, 256, 1, 1]),
        ("vq._decoder_b._conv_trans_2.weight", vec![64, 3, 4, 4]),
        ("vq.upsample_t.bias", vec![128]),
        ("subspace_lo.unet.decoder.up2.1.weight", vec![256, 512, 3, 3]),
        ("image_reconstruction.block2.3.weight", vec![1024, 512, 3, 3]),
        ("image_reconstruction.upblock2.weight", vec![64, 64, 4, 4]),
        ("anomaly_detection.unet.decoder.db1.0.weight", vec![256, 512, 3, 3]),
        ("upsampling.unet.encoder.block1.0.weight", vec![64, 8, 3, 3]),
        ("upsampling.unet.decoder.fin_out.0.weight", vec![2, 64, 3, 3]),
    ] {
        assert_eq!(shape(name), expected, "{name}");
    }
}

fn pictures(samples: usize, side: usize) -> Batch {
    let mut stream = Stream::keyed("pictures");
    let values = (0..samples * 3 * side * side).map(|_| stream.uniform() as f32).collect();
    BTreeMap::from([(prepare::X.to_owned(), HostTensor::f32([samples, 3, side, side], values).unwrap())])
}

#[test]
fn every_turn_trains_its_modules_and_leaves_the_latent_model_alone() {
    for (upsampling, first) in [("after", "object"), ("along", "upsampling")] {
        let request = tiny(upsampling, 2);
        let spec = Dsr.describe(&request).unwrap();
        spec.verify().unwrap();
        let turns: Vec<_> = spec.stages.iter().flat_map(|stage| &stage.turns).collect();
        assert_eq!((turns.len(), turns[0].name.as_str()), (2, first));
        let batch = Dsr.prepare(&request, pictures(2, 64), 1).unwrap();
        for turn in turns {
            let step = turn.step().unwrap();
            assert!(!step.trained.is_empty());
            assert!(step.trained.iter().all(|name| turn.may_train(name) && !name.starts_with("vq.")));
            let reached = spec.variables().iter().filter(|v| turn.may_train(&v.name)).count();
            assert_eq!(step.trained.len(), reached, "{}", turn.name);
            let mut interpreter = Interpreter::new(Precision::F32);
            interpreter.initialise(&step.program, 3).unwrap();
            let mut inputs: BTreeMap<String, Array> = batch.iter().map(|(name, x)| (name.clone(), x.into())).collect();
            inputs.insert("lr".to_owned(), Array::float([], vec![1e-3]));
            let mut run = || interpreter.run(&step.program, &inputs).unwrap()[0].floats().unwrap()[0];
            let losses: Vec<f64> = (0..6).map(|_| run()).collect();
            assert!(losses.iter().all(|loss| loss.is_finite()) && losses[5] < losses[0], "{}: {losses:?}", turn.name);
        }
    }
}

#[test]
fn masks_are_binary_and_levels_have_defects_as_often_as_published() {
    const SAMPLES: usize = 400;
    let request = tiny("along", SAMPLES);
    let batch = Dsr.prepare(&request, pictures(SAMPLES, 64), 5).unwrap();
    let values = |name: &str| batch[name].as_f32().unwrap();
    let filled = |name: &str, i: usize| {
        let all = values(name);
        let one = all.len() / SAMPLES;
        assert!(all.iter().all(|x| *x == 0.0 || *x == 1.0), "{name}");
        all[i * one..][..one].contains(&1.0)
    };
    let (mut hi, mut lo, mut both, mut any) = (0, 0, 0, 0);
    for i in 0..SAMPLES {
        let levels = [filled("mask_hi", i), filled("mask_lo", i)];
        assert_eq!(filled("target", i), levels[0] || levels[1]);
        assert!(!(levels[0] && levels[1]) || values("both")[i] == 1.0);
        match levels {
            [true, true] => both += 1,
            [true, false] => hi += 1,
            [false, true] => lo += 1,
            _ => continue,
        }
        any += 1;
    }
    // A tenth and more of the masks are empty without having been emptied.
    assert!((120..220).contains(&any), "{any} of {SAMPLES} samples have defects");
    assert!(both > hi && both > lo && hi > any / 8 && lo > any / 8, "{both} {hi} {lo}");
    assert!(values("limit_hi").iter().all(|k| (2.0..=7.0).contains(k)));
    assert!(batch["candidates_lo"].as_i64().unwrap().iter().all(|code| (0..8).contains(code)));
    let patched = values("other");
    let plane = 64 * 64;
    for (i, (x, other)) in values("x").iter().zip(patched).enumerate() {
        let inside = values("patches")[i / (3 * plane) * plane + i % plane] == 1.0;
        assert!(inside || x.to_bits() == other.to_bits());
        assert!((0.0..=1.0).contains(other));
    }
}

#[test]
fn a_batch_depends_on_pictures_and_seed_alone() {
    let request = tiny("after", 3);
    let made = |seed: u64| Dsr.prepare(&request, pictures(3, 64), seed).unwrap();
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
    assert_eq!(made(1).len(), prepare::inputs().len() + 1);
    let error = Dsr.prepare(&request, Batch::new(), 0).unwrap_err();
    assert_eq!(error.message(), "the batch has no input `x`");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let error = Dsr.describe(&request(&[], 1, 100)).unwrap_err();
    assert_eq!(error.message(), "its input is 100 x 100 pixels; the modules halve it five times");
    let error = Dsr.describe(&request(&[("hidden", OptionValue::Int(5))], 1, 64)).unwrap_err();
    assert_eq!(error.message(), "option `hidden` is 5, expects an even number");
}
