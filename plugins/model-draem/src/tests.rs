//! The description against the published networks, and properties of prepared batches.

use std::collections::BTreeMap;

use mimus_core::plugin::{Batch, Model, ModelRequest, OptionValue, Options};
use mimus_core::random::Stream;
use mimus_core::{HostTensor, Role};

use super::{Draem, MASK, TARGET, TEXTURE, X};

fn request(options: &[(&str, OptionValue)], batch: usize, side: usize) -> ModelRequest {
    let given = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    let options = Options::resolve(&Draem.info().options, given).unwrap();
    ModelRequest { options, batch, height: side, width: side }
}

/// Random pictures in [0, 1].
fn pictures(seed: u64, samples: usize, side: usize) -> HostTensor {
    let mut stream = Stream::new(seed, "pictures");
    let values = (0..samples * 3 * side * side).map(|_| stream.uniform() as f32).collect();
    HostTensor::f32([samples, 3, side, side], values).unwrap()
}

fn prepare(batch: Batch, samples: usize, side: usize, seed: u64) -> Batch {
    Draem.prepare(&request(&[], samples, side), batch, seed).unwrap()
}

fn values<'a>(batch: &'a Batch, name: &str) -> &'a [f32] {
    batch[name].as_f32().unwrap()
}

#[test]
fn both_networks_have_the_published_parameters() {
    let spec = Draem.describe(&request(&[], 1, 256)).unwrap();
    let count = |suffix: &str| -> usize {
        let prefixes = [format!("encoder{suffix}."), format!("decoder{suffix}.")];
        let own = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
        spec.main().unwrap().graph.variables_of(Role::Parameter).filter(|v| own(&v.name)).map(|v| v.ty.elements()).sum()
    };
    assert_eq!([count(""), count("_segment")], [69_048_579, 28_374_146]);
    assert_eq!(spec.main().unwrap().graph.variables.len(), 156 + 191);
    spec.verify().unwrap();
}

#[test]
fn an_input_that_32_does_not_divide_is_refused() {
    let error = Draem.describe(&request(&[], 1, 100)).unwrap_err();
    assert_eq!(error.message(), "its input is 100 x 100 pixels; the networks halve it five times");
}

#[test]
fn what_is_outside_of_the_mask_is_the_target_and_half_of_the_samples_are_clean() {
    const SAMPLES: usize = 400;
    const SIDE: usize = 64;
    let batch = BTreeMap::from([(X.to_owned(), pictures(0, SAMPLES, SIDE))]);
    let made = prepare(batch.clone(), SAMPLES, SIDE, 7);
    let (x, target, mask) = (values(&made, X), values(&made, TARGET), values(&made, MASK));
    let (mut clean, mut inside, mut changed) = (0, 0, 0);
    for i in 0..SAMPLES {
        let mask = &mask[i * SIDE * SIDE..][..SIDE * SIDE];
        assert!(mask.iter().all(|m| *m == 0.0 || *m == 1.0));
        clean += usize::from(!mask.contains(&1.0));
        for j in 0..3 * SIDE * SIDE {
            let at = i * 3 * SIDE * SIDE + j;
            assert!((0.0..=1.0).contains(&x[at]), "{}", x[at]);
            if mask[j % (SIDE * SIDE)] == 0.0 {
                assert_eq!(x[at].to_bits(), target[at].to_bits());
            } else {
                inside += 1;
                changed += usize::from(x[at] != target[at]);
            }
        }
    }
    // Half by the draw, and those whose noise stays below the threshold everywhere.
    assert!((170..290).contains(&clean), "{clean} of {SAMPLES} samples are clean");
    assert!(changed as f64 > 0.95 * f64::from(inside), "{changed} of {inside} values in the masks are changed");
    // Three of ten pictures are rotated.
    let same = |i: usize| {
        values(&batch, X)[i * 3 * SIDE * SIDE..][..3 * SIDE * SIDE] == target[i * 3 * SIDE * SIDE..][..3 * SIDE * SIDE]
    };
    let rotated = (0..SAMPLES).filter(|i| !same(*i)).count();
    assert!((85..155).contains(&rotated), "{rotated} of {SAMPLES} samples are rotated");
}

#[test]
fn a_batch_depends_on_pictures_and_seed_alone() {
    let batch = BTreeMap::from([(X.to_owned(), pictures(1, 6, 32))]);
    assert_eq!(prepare(batch.clone(), 6, 32, 3), prepare(batch.clone(), 6, 32, 3));
    assert_ne!(prepare(batch.clone(), 6, 32, 3), prepare(batch, 6, 32, 4));
}

#[test]
fn given_textures_are_painted_with_and_taken_out_of_the_batch() {
    let batch = BTreeMap::from([(X.to_owned(), pictures(1, 8, 32))]);
    let textured = |seed: u64| [batch.clone(), BTreeMap::from([(TEXTURE.to_owned(), pictures(seed, 8, 32))])];
    let made = [2, 3].map(|seed| prepare(textured(seed).into_iter().flatten().collect(), 8, 32, 5));
    assert_eq!(made[0].keys().map(String::as_str).collect::<Vec<_>>(), [MASK, TARGET, X]);
    assert_eq!(made[0][MASK], made[1][MASK]);
    assert_ne!(made[0][X], made[1][X]);
    let wrong = BTreeMap::from([(X.to_owned(), pictures(1, 8, 32)), (TEXTURE.to_owned(), pictures(1, 4, 32))]);
    let error = Draem.prepare(&request(&[], 8, 32), wrong, 0).unwrap_err();
    assert_eq!(error.message(), "input `texture` has shape [4, 3, 32, 32], expects [8, 3, 32, 32]");
    let error = Draem.prepare(&request(&[], 8, 32), Batch::new(), 0).unwrap_err();
    assert_eq!(error.message(), "the batch has no input `x`");
}
