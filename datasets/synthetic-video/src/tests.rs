//! What the data set promises: purity, labels that agree with masks, and errors for what it cannot make.

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::plugin::{Dataset, OpenDataset, OptionValue, Options, Sample, Split};
use mimus_core::{Error, ErrorKind, Result};

use crate::design::DESIGNS;
use crate::{Anomaly, SyntheticVideo, Videos};

mod motion;

const FRAMES: usize = 48;

fn open(given: &[(&str, OptionValue)]) -> Result<Videos> {
    let small = [("height", 32), ("width", 40), ("train", 1), ("test", 5), ("frames", FRAMES as i64)];
    let small = small.into_iter().map(|(key, value)| (key.to_owned(), OptionValue::Int(value)));
    let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    Videos::new(&Options::resolve(&SyntheticVideo.info().options, small.chain(given).collect())?)
}

fn ints(given: &[(&str, i64)]) -> Videos {
    open(&given.iter().map(|(key, value)| (*key, OptionValue::Int(*value))).collect::<Vec<_>>()).unwrap()
}

#[test]
fn the_index_holds_what_the_options_ask_for() {
    let videos = ints(&[("train", 2), ("test", 6)]);
    let groups = &videos.index().groups;
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), DESIGNS.map(|design| design.name));
    for group in groups {
        assert_eq!((group.train.len(), group.test.len(), group.has_masks), (2 * FRAMES, 6 * FRAMES, true));
        assert_eq!((group.test[50].id.as_str(), group.train[50].id.as_str()), ("test/001/0002", "train/001/0002"));
        assert!(group.train.iter().all(|sample| !sample.anomalous && sample.defect == "good"));
        let ids: BTreeSet<&String> = group.train.iter().chain(&group.test).map(|sample| &sample.id).collect();
        assert_eq!(ids.len(), 8 * FRAMES);
        for samples in [&group.train, &group.test] {
            for (i, sample) in samples.iter().enumerate() {
                let (clip, frame) = (format!("{:03}", i / FRAMES), (i % FRAMES) as u64);
                assert_eq!(sample.frame, Some((clip, frame)));
            }
        }
    }
    let corridor = open(&[("groups", OptionValue::Texts(vec!["corridor".to_owned()]))]).unwrap();
    assert_eq!(corridor.read(0, Split::Test, 30).unwrap(), videos.read(1, Split::Test, 30).unwrap());
}

#[test]
fn each_kind_of_anomaly_comes_and_goes_and_every_fifth_clip_has_none() {
    let videos = ints(&[("test", 10), ("frames", 2 * FRAMES as i64)]);
    for group in &videos.index().groups {
        for (k, clip) in group.test.chunks(2 * FRAMES).enumerate() {
            let name = Anomaly::ALL.get(k % 5).map(|(name, _)| *name);
            for (half, frames) in clip.chunks(FRAMES).enumerate() {
                let anomalous = frames.iter().filter(|sample| sample.anomalous).count();
                let what = format!("{} clip {k} half {half}: {anomalous} frames", group.name);
                assert_eq!(anomalous > 0, name.is_some(), "{what}");
                assert!(name.is_none() || (6..28).contains(&anomalous), "{what}");
                // Normal before and after, long enough for the clips of most detectors.
                assert!(frames[..10].iter().chain(&frames[38..]).all(|sample| !sample.anomalous), "{what}");
                let kinds = frames.iter().filter(|sample| sample.anomalous).map(|sample| sample.defect.as_str());
                assert!(kinds.into_iter().all(|kind| Some(kind) == name));
            }
        }
    }
}

#[test]
fn a_frame_depends_on_seed_group_split_clip_and_number_alone() {
    let videos = ints(&[]);
    let larger = ints(&[("train", 2), ("test", 7), ("frames", FRAMES as i64 + 9)]);
    let reseeded = ints(&[("seed", 1)]);
    let mut seen = BTreeSet::new();
    for group in 0..DESIGNS.len() {
        for (split, clips) in [(Split::Train, 1), (Split::Test, 5)] {
            for k in (0..clips * FRAMES).step_by(5) {
                let sample = videos.read(group, split, k).unwrap();
                let same = k / FRAMES * (FRAMES + 9) + k % FRAMES;
                assert_eq!(sample, larger.read(group, split, same).unwrap());
                let info = |videos: &Videos, k: usize| videos.index().groups[group].samples(split)[k].clone();
                assert_eq!(info(&videos, k), info(&larger, same));
                assert_ne!(sample.pixels, reseeded.read(group, split, k).unwrap().pixels);
                assert!(seen.insert(sample.pixels.bytes.to_vec()), "group {group} {split:?}: {k} repeats another");
            }
        }
    }
}

#[test]
fn any_thread_in_any_order_gives_the_same_bits() {
    let videos = ints(&[]);
    let read = |k: usize| videos.read(k % 2, Split::Test, k / 2).unwrap();
    let numbers: Vec<usize> = (0..4 * FRAMES).collect();
    let alone: Vec<Sample> = numbers.iter().map(|k| read(*k)).collect();
    let mut threaded: BTreeMap<usize, Sample> = BTreeMap::new();
    std::thread::scope(|scope| {
        let reading = (0..3).map(|worker| {
            let own: Vec<usize> = numbers.iter().rev().copied().filter(|k| k % 3 == worker).collect();
            scope.spawn(move || own.into_iter().map(|k| (k, read(k))).collect::<Vec<_>>())
        });
        reading.collect::<Vec<_>>().into_iter().for_each(|thread| threaded.extend(thread.join().unwrap()));
    });
    assert!(threaded.into_values().eq(alone));
}

#[test]
fn a_frame_is_anomalous_if_and_only_if_its_mask_marks_a_pixel() {
    let videos = ints(&[("height", 40), ("width", 64), ("test", 10)]);
    for (g, group) in videos.index().groups.iter().enumerate() {
        for split in [Split::Train, Split::Test] {
            for (k, info) in group.samples(split).iter().enumerate() {
                let Sample { pixels, mask } = videos.read(g, split, k).unwrap();
                assert_eq!((pixels.height, pixels.width, pixels.bytes.len()), (40, 64, 40 * 64 * 3));
                assert_eq!((info.anomalous, info.mask.is_some()), (mask.is_some(), mask.is_some()), "{}", info.id);
                assert!(mask.is_none_or(|mask| mask.len() == 40 * 64 && mask.contains(&1)), "{}", info.id);
            }
        }
    }
}

#[test]
fn height_changes_the_resolution_and_not_the_scene() {
    let [large, little] = [96, 48].map(|side| ints(&[("height", side), ("width", side)]));
    for group in 0..DESIGNS.len() {
        let [large, little] = [&large, &little].map(|videos| videos.clip(group, Split::Test, 0).unwrap());
        let (detailed, coarse) = (large.clean(24), little.clean(24));
        let mut off = 0.0;
        for (i, value) in coarse.bytes.iter().enumerate() {
            let (row, column, channel) = (i / 3 / 48, i / 3 % 48, i % 3);
            let at =
                |dy: usize, dx: usize| f64::from(detailed.bytes[((2 * row + dy) * 96 + 2 * column + dx) * 3 + channel]);
            off += ((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0 - f64::from(*value)).abs();
        }
        let off = off / coarse.bytes.len() as f64;
        assert!(off < 6.0, "group {group}: {off} of 255 on average");
        // Agents take too little of the picture to show in its average.
        for one in little.boxes(24) {
            let twin = large.boxes(24).into_iter().find(|twin| twin.agent == one.agent).unwrap();
            let near = one.bounds.iter().zip(twin.bounds).all(|(a, b)| (2 * a).abs_diff(b) <= 2);
            assert!(near, "group {group}: {:?} and {:?}", one.bounds, twin.bounds);
        }
    }
}

#[test]
fn the_fingerprint_follows_every_option() {
    let fingerprint = |options: &[(&str, OptionValue)]| open(options).unwrap().index().fingerprint.clone();
    let base = fingerprint(&[]);
    assert_eq!(base, fingerprint(&[]));
    let int = |value| OptionValue::Int(value);
    let changes = [
        ("groups", OptionValue::Texts(vec!["plaza".to_owned()])),
        ("height", int(33)),
        ("width", int(41)),
        ("train", int(2)),
        ("test", int(4)),
        ("frames", int(FRAMES as i64 + 1)),
        ("agents", int(4)),
        ("seed", int(1)),
        ("difficulty", OptionValue::Float(0.6)),
    ];
    assert_eq!(changes.len(), SyntheticVideo.info().options.len());
    let all: BTreeSet<String> = changes.into_iter().map(|change| fingerprint(&[change])).chain([base]).collect();
    assert_eq!(all.len(), 10);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let key = |error: Error| error.context_value("key").map(str::to_owned);
    let options = Options::resolve(&SyntheticVideo.info().options, Default::default()).unwrap();
    let error = SyntheticVideo.open(Some("data".as_ref()), &options).err().unwrap();
    assert_eq!((error.kind(), key(error).as_deref()), (ErrorKind::Config, Some("root")));
    let error = open(&[("width", OptionValue::Int(65))]).err().unwrap();
    assert_eq!(error.next_step(), Some("set it to 64 at most"));
    assert_eq!(key(error).as_deref(), Some("width"));
    let error = open(&[("groups", OptionValue::Texts(vec!["plazza".to_owned()]))]).err().unwrap();
    assert_eq!(error.next_step(), Some("did you mean \"plaza\"?"));
    let videos = ints(&[]);
    assert!(videos.read(9, Split::Test, 0).is_err() && videos.read(0, Split::Train, FRAMES).is_err());
    assert!(videos.clip(9, Split::Train, 0).is_err());
}
