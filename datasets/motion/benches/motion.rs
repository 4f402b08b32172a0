//! How long optical flow takes for two frames of the size of UCSD Ped2 (240 x 360): below 60 ms on two cores.

use criterion::{Criterion, criterion_group, criterion_main};
use mimus_core::Result;
use mimus_core::plugin::{Dataset, OptionValue, Options, Split};
use mimus_dataset_synthetic_video::{SyntheticVideo, Videos};
use mimus_motion::{Gray, flow};

/// Three frames, one after the other, with people who walk.
fn frames() -> Result<Vec<Gray>> {
    let given = [("height", 240), ("width", 360), ("train", 1), ("test", 1)];
    let given = given.into_iter().map(|(key, value)| (key.to_owned(), OptionValue::Int(value)));
    let videos = Videos::new(&Options::resolve(&SyntheticVideo.info().options, given.collect())?)?;
    let clip = videos.clip(0, Split::Train, 0)?;
    (20..23).map(|frame| Gray::of(&clip.sample(frame).pixels)).collect()
}

fn motion(criterion: &mut Criterion) {
    let frames = frames();
    assert!(frames.is_ok(), "{frames:?}");
    let frames = frames.unwrap_or_default();
    let [before, frame, _] = frames.as_slice() else { return };
    let mut group = criterion.benchmark_group("motion");
    group.sample_size(20);
    group.bench_function("optical flow of 240 x 360", |bencher| {
        bencher.iter(|| assert!(flow::between(frame, before).is_ok()));
    });
    group.finish();
}

criterion_group!(benches, motion);
criterion_main!(benches);
