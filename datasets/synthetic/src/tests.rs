//! What the generator promises: purity, exact masks, and errors for what it cannot make.

use std::collections::BTreeSet;

use mimus_core::plugin::{Dataset, OpenDataset, OptionValue, Options, Sample, Split};
use mimus_core::{Error, ErrorKind, Result};

use crate::Synthetic;
use crate::design::{DESIGNS, Design};
use crate::flaw::FlawKind;
use crate::scene::{self, Key};

fn open(given: &[(&str, OptionValue)]) -> Result<Box<dyn OpenDataset>> {
    let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Synthetic.open(None, &Options::resolve(&Synthetic.info().options, given)?)
}

fn small(options: &[(&str, OptionValue)]) -> Box<dyn OpenDataset> {
    let counts = [("size", 32), ("train", 3), ("test_good", 2), ("test_per_defect", 1)];
    let counts = counts.iter().filter(|(name, _)| options.iter().all(|(given, _)| given != name));
    let counts = counts.map(|(name, count)| (*name, OptionValue::Int(*count)));
    open(&counts.chain(options.iter().cloned()).collect::<Vec<_>>()).unwrap()
}

fn draw(design: &'static Design, size: usize, flaw: Option<FlawKind>, difficulty: f64, id: &str) -> Sample {
    scene::sample(design, size, flaw, difficulty, &Key { seed: 3, group: design.name, id })
}

/// Above what the generator calls visible, in the brightest light, of 255.
const SEEN: u8 = 22;

/// The greatest change of a pixel's channels.
fn change(clean: &Sample, flawed: &Sample, pixel: usize) -> u8 {
    let channels = 3 * pixel..3 * pixel + 3;
    channels.map(|i| clean.pixels.bytes[i].abs_diff(flawed.pixels.bytes[i])).max().unwrap()
}

/// Every group with every kind of flaw.
fn everything() -> impl Iterator<Item = (&'static Design, &'static str, FlawKind)> {
    DESIGNS.iter().flat_map(|design| FlawKind::ALL.into_iter().map(move |(name, flaw)| (design, name, flaw)))
}

#[test]
fn the_index_holds_what_the_options_ask_for() {
    let set = small(&[]);
    let groups = &set.index().groups;
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), DESIGNS.map(|design| design.name));
    let group = &groups[1];
    assert_eq!((group.train.len(), group.test.len(), group.has_masks), (3, 2 + FlawKind::ALL.len(), true));
    assert_eq!((group.test[1].id.as_str(), group.test[2].id.as_str()), ("test/good/001", "test/color/000"));
    assert!(group.train.iter().all(|sample| !sample.anomalous && sample.defect == "good"));
    let ids: BTreeSet<&String> = group.train.iter().chain(&group.test).map(|sample| &sample.id).collect();
    assert_eq!(ids.len(), group.train.len() + group.test.len());
    let chosen = small(&[("groups", OptionValue::Texts(vec!["gear".to_owned()]))]);
    assert_eq!(chosen.index().groups.len(), 1);
    assert_eq!(chosen.read(0, Split::Test, 3).unwrap(), set.read(3, Split::Test, 3).unwrap());
}

#[test]
fn a_sample_depends_on_seed_group_split_and_number_alone() {
    let set = small(&[]);
    let larger = small(&[("train", OptionValue::Int(9)), ("test_good", OptionValue::Int(7))]);
    let reseeded = small(&[("seed", OptionValue::Int(1))]);
    let mut seen = BTreeSet::new();
    for group in 0..DESIGNS.len() {
        for k in 0..3 {
            let sample = set.read(group, Split::Train, k).unwrap();
            assert_eq!(sample, larger.read(group, Split::Train, k).unwrap());
            assert_ne!(sample, reseeded.read(group, Split::Train, k).unwrap());
            assert!(seen.insert(sample.pixels.bytes.to_vec()), "group {group}: sample {k} repeats another");
        }
        assert_eq!(set.read(group, Split::Test, 5).unwrap(), larger.read(group, Split::Test, 10).unwrap());
    }
}

#[test]
fn normal_samples_have_no_mask_and_defects_have_one_that_fits_the_picture() {
    let set = small(&[("size", OptionValue::Int(48))]);
    for (g, group) in set.index().groups.iter().enumerate() {
        for (k, info) in group.test.iter().enumerate() {
            let Sample { pixels, mask } = set.read(g, Split::Test, k).unwrap();
            assert_eq!((pixels.height, pixels.width, pixels.channels, pixels.bytes.len()), (48, 48, 3, 48 * 48 * 3));
            assert_eq!((info.anomalous, info.mask.is_some()), (mask.is_some(), mask.is_some()));
            assert!(mask.is_none_or(|mask| mask.len() == 48 * 48));
        }
    }
}

#[test]
fn beside_its_mask_a_flaw_changes_nothing_that_is_to_be_seen() {
    for (design, name, flaw) in everything() {
        for k in 0..6 {
            let id = format!("{name}/{k}");
            let (clean, flawed) = (draw(design, 64, None, 0.5, &id), draw(design, 64, Some(flaw), 0.5, &id));
            let mask = flawed.mask.as_ref().unwrap();
            for i in (0..mask.len()).filter(|i| mask[*i] == 0) {
                let change = change(&clean, &flawed, i);
                assert!(change < SEEN, "{} {id}: pixel {i} changes by {change}", design.name);
            }
        }
    }
}

#[test]
fn every_flaw_on_every_group_is_there_to_be_seen() {
    const SIZE: usize = 64;
    for (design, name, flaw) in everything() {
        for k in 0..6 {
            let id = format!("{name}/{k}");
            let (clean, flawed) = (draw(design, SIZE, None, 0.5, &id), draw(design, SIZE, Some(flaw), 0.5, &id));
            let mask = flawed.mask.as_ref().unwrap();
            let marked: Vec<usize> = (0..mask.len()).filter(|i| mask[*i] == 1).collect();
            let part = marked.len() as f64 / mask.len() as f64;
            assert!((0.001..0.15).contains(&part), "{} {id}: marks {part} of the picture", design.name);
            let changed = marked.iter().filter(|i| change(&clean, &flawed, **i) >= SEEN / 2).count();
            assert!(4 * changed >= marked.len(), "{} {id}: {changed} of {} pixels differ", design.name, marked.len());
        }
    }
}

#[test]
fn difficulty_makes_flaws_smaller_and_fainter() {
    let total = |difficulty: f64| -> (usize, u64) {
        let (mut area, mut change) = (0, 0);
        for (design, name, flaw) in everything() {
            let (clean, flawed) =
                (draw(design, 64, None, difficulty, name), draw(design, 64, Some(flaw), difficulty, name));
            area += flawed.mask.unwrap().iter().filter(|pixel| **pixel == 1).count();
            let pairs = clean.pixels.bytes.iter().zip(flawed.pixels.bytes.iter());
            change += pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        }
        (area, change)
    };
    let [easy, middle, hard] = [0.0, 0.5, 1.0].map(total);
    assert!(easy.0 > middle.0 && middle.0 > hard.0, "areas {easy:?} {middle:?} {hard:?}");
    assert!(easy.1 > 2 * middle.1 && middle.1 > 2 * hard.1, "changes {easy:?} {middle:?} {hard:?}");
}

#[test]
fn size_changes_the_resolution_and_not_the_picture() {
    for design in &DESIGNS {
        let (large, little) = (draw(design, 128, None, 0.5, "x").pixels, draw(design, 64, None, 0.5, "x").pixels);
        let mut off = 0.0;
        for (i, value) in little.bytes.iter().enumerate() {
            let (row, column, channel) = (i / 3 / 64, i / 3 % 64, i % 3);
            let at =
                |dy: usize, dx: usize| f64::from(large.bytes[((2 * row + dy) * 128 + 2 * column + dx) * 3 + channel]);
            off += ((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0 - f64::from(*value)).abs();
        }
        let off = off / little.bytes.len() as f64;
        assert!(off < 12.0, "{}: {off} of 255 on average", design.name);
    }
}

#[test]
fn the_fingerprint_follows_every_option() {
    let fingerprint = |options: &[(&str, OptionValue)]| small(options).index().fingerprint.clone();
    let base = fingerprint(&[]);
    assert_eq!(base, fingerprint(&[]));
    let changes = [
        ("groups", OptionValue::Texts(vec!["weave".to_owned()])),
        ("size", OptionValue::Int(40)),
        ("train", OptionValue::Int(4)),
        ("test_good", OptionValue::Int(3)),
        ("test_per_defect", OptionValue::Int(2)),
        ("seed", OptionValue::Int(1)),
        ("difficulty", OptionValue::Float(0.6)),
    ];
    assert_eq!(changes.len(), Synthetic.info().options.len());
    let all: BTreeSet<String> = changes.into_iter().map(|change| fingerprint(&[change])).chain([base]).collect();
    assert_eq!(all.len(), 8);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let key = |error: Error| error.context_value("key").map(str::to_owned);
    let options = Options::resolve(&Synthetic.info().options, Default::default()).unwrap();
    let error = Synthetic.open(Some("data".as_ref()), &options).err().unwrap();
    assert_eq!((error.kind(), key(error).as_deref()), (ErrorKind::Config, Some("root")));
    let none = [("test_good", OptionValue::Int(0)), ("test_per_defect", OptionValue::Int(0))];
    assert_eq!(key(open(&none).err().unwrap()).as_deref(), Some("test_good"));
    let error = open(&[("groups", OptionValue::Texts(vec!["gears".to_owned()]))]).err().unwrap();
    assert_eq!(error.next_step(), Some("did you mean \"gear\"?"));
    let set = small(&[]);
    assert!(set.read(99, Split::Test, 0).is_err() && set.read(0, Split::Train, 3).is_err());
}
