//! Deformation, smoothness and windows by hand, and what each variant trains.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test with its place")]

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::plugin::{Model, ModelRequest, ModelSpec, OptionValue, Options};
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::{Builder, Result, Role, ValueId, ValueType};

use crate::Dmad;
use crate::detector::{deform, largest_mean, roughness};
use crate::recipe::{AVENUE, PED2};

fn run(x: &Array, build: impl FnOnce(&mut Builder, ValueId) -> Result<ValueId>) -> Vec<f64> {
    let mut b = Builder::new("test");
    let input = b.input("x", ValueType::f32(x.shape.clone())).unwrap();
    let result = build(&mut b, input).unwrap();
    b.output("y", result).unwrap();
    let inputs = BTreeMap::from([("x".to_owned(), x.clone())]);
    Interpreter::new(Precision::F64).run(&b.finish(), &inputs).unwrap()[0].floats().unwrap().to_vec()
}

#[test]
fn a_lonely_offset_is_as_rough_as_the_filters_say() {
    // Offsets 1 and 2 of the middle pixel add up to 3. A square takes 3/8 of it from each of the 8 around, a line 3/2 of both.
    let mut field = vec![0.0; 2 * 9];
    (field[4], field[13]) = (1.0, 2.0);
    let field = Array::float([1, 2, 3, 3], field);
    let cases = [(AVENUE.kernels[1], (3.0 + 8.0 * 0.375) / 9.0), (PED2.kernels[1], 2.0 * (3.0 + 2.0 * 1.5) / 9.0)];
    for (kernels, expected) in cases {
        let found = run(&field, |b, x| roughness(b, [x, x], [kernels, &[]]));
        assert!((found[0] - expected).abs() < 1e-6, "{found:?} is not {expected}");
    }
}

#[test]
fn an_offset_of_a_pixel_fetches_the_next_and_the_border_is_repeated() {
    let picture = Array::float([1, 1, 2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // A picture of 3 pixels is 2 wide from the first centre to the last, one of 2 pixels is 2 high.
    for (offset, expected) in
        [([1.0, 0.0], [2.0, 3.0, 3.0, 5.0, 6.0, 6.0]), ([0.0, 2.0], [4.0, 5.0, 6.0, 4.0, 5.0, 6.0])]
    {
        let found = run(&picture, |b, x| {
            let parts = [b.fill([1, 1, 2, 3], offset[0])?, b.fill([1, 1, 2, 3], offset[1])?];
            let field = b.concat(&parts, 1)?;
            Ok(deform(b, [x, x], field)?[1])
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn the_largest_window_is_found_for_every_sample() {
    let x = Array::float([2, 1, 2, 3], vec![1.0, 2.0, 6.0, 0.0, 1.0, 0.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(run(&x, |b, x| largest_mean(b, x, [1, 2])), [4.0, 4.0]);
}

fn spec(variant: &str) -> ModelSpec {
    let ints = |list: &[i64]| OptionValue::Ints(list.to_vec());
    let given = [
        ("variant", OptionValue::Text(variant.to_owned())),
        ("widths", ints(&[2, 3, 4])),
        ("offset_width", OptionValue::Int(2)),
        ("items", OptionValue::Int(3)),
    ];
    let given = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let options = Options::resolve(&Dmad.info().options, given).unwrap();
    Dmad.describe(&ModelRequest { options, batch: 2, height: 32, width: 32 }).unwrap()
}

#[test]
fn everything_learns_but_what_the_published_layers_never_read() {
    for variant in ["ped2", "avenue"] {
        let spec = spec(variant);
        spec.verify().unwrap();
        let names: BTreeSet<String> = spec
            .variables()
            .into_iter()
            .filter(|variable| variable.role == Role::Parameter)
            .map(|variable| variable.name.clone())
            .collect();
        let unread = |name: &&String| {
            let layer = name.strip_suffix(".weight").or(name.strip_suffix(".bias"));
            layer.is_some_and(|layer| names.contains(&format!("{layer}.conv.weight")))
        };
        let unread: BTreeSet<&String> = names.iter().filter(unread).collect();
        let step = spec.main().unwrap().step().unwrap();
        assert_eq!(step.unreached.iter().collect::<BTreeSet<_>>(), unread, "{variant}");
        // Two layers of the stem, of the coarsest level and of the level before the last.
        assert_eq!(unread.len(), 2 * 6);
    }
}

#[test]
fn two_levels_are_too_few() {
    let given = BTreeMap::from([("widths".to_owned(), OptionValue::Ints(vec![2, 3]))]);
    let options = Options::resolve(&Dmad.info().options, given).unwrap();
    let error = Dmad.describe(&ModelRequest { options, batch: 2, height: 32, width: 32 }).unwrap_err();
    assert_eq!(error.message(), "has 2 levels, expects at least 3");
}
