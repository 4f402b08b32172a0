//! Generated video for tests.

use mimus_core::plugin::{Dataset, OptionValue, Options};
use mimus_dataset_synthetic_video::{Clip, SyntheticVideo, Videos};

use crate::Gray;

/// Two groups of frames of a size.
pub(crate) fn videos(height: i64, width: i64, seed: i64) -> Videos {
    let given = [("height", height), ("width", width), ("seed", seed), ("train", 1), ("test", 1)];
    let given = given.into_iter().map(|(key, value)| (key.to_owned(), OptionValue::Int(value)));
    Videos::new(&Options::resolve(&SyntheticVideo.info().options, given.collect()).unwrap()).unwrap()
}

/// A frame with the sensor's noise.
pub(crate) fn gray(clip: &Clip<'_>, frame: u32) -> Gray {
    Gray::of(&clip.sample(frame).pixels).unwrap()
}
