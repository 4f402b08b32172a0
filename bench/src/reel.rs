//! Frames of one split, decoded when they are asked for and kept while there is room: memory does not grow with the data set.

use std::sync::Arc;

use mimus_core::Result;
use mimus_core::plugin::{Sample, Split};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::images::Picture;

/// Frames of a group by split and position, shared by all that read it.
pub(crate) struct Reel<'a, T> {
    decode: Box<dyn Fn(Split, usize) -> Result<T> + Send + Sync + 'a>,
    kept: Cache<(Split, usize), Arc<T>, Bytes>,
}

/// What a frame takes in memory.
pub(crate) trait Held {
    /// In bytes.
    fn bytes(&self) -> usize;
}

impl Held for Picture {
    fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice()) + self.mask.as_ref().map_or(0, Vec::len)
    }
}

impl Held for Sample {
    fn bytes(&self) -> usize {
        self.pixels.bytes.len() + self.mask.as_ref().map_or(0, |mask| mask.len())
    }
}

#[derive(Clone)]
struct Bytes;

impl<T: Held> Weighter<(Split, usize), Arc<T>> for Bytes {
    fn weight(&self, _: &(Split, usize), frame: &Arc<T>) -> u64 {
        frame.bytes() as u64
    }
}

/// Frames that a place in the cache is reckoned for at first; more are no error.
const FRAMES: usize = 1 << 12;

impl<'a, T: Held> Reel<'a, T> {
    /// Frames that `decode` makes, of which `mib` MiB are kept at most.
    pub(crate) fn new(mib: usize, decode: impl Fn(Split, usize) -> Result<T> + Send + Sync + 'a) -> Self {
        Self { decode: Box::new(decode), kept: Cache::with_weighter(FRAMES, (mib as u64) << 20, Bytes) }
    }

    /// The frame at a position of a split. Two threads may decode the same frame at the same time: waiting for each other could
    /// block a decoder that itself works on several.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub(crate) fn frame(&self, split: Split, position: usize) -> Result<Arc<T>> {
        if let Some(frame) = self.kept.get(&(split, position)) {
            return Ok(frame);
        }
        let frame = Arc::new((self.decode)(split, position)?);
        self.kept.insert((split, position), Arc::clone(&frame));
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_fits_is_decoded_once_and_the_rest_stays_within_the_bound() {
        let decoded = AtomicUsize::new(0);
        let picture = |_, position| {
            decoded.fetch_add(1, Ordering::Relaxed);
            Ok(Picture { values: vec![position as f32; 1 << 12], mask: None, size: [1, 1] })
        };
        let reel = Reel::new(1, picture);
        for position in (0..8).chain(0..8) {
            assert_eq!(reel.frame(Split::Train, position).unwrap().values[0], position as f32);
        }
        assert_eq!(decoded.load(Ordering::Relaxed), 8);
        for position in 0..1000 {
            assert_eq!(reel.frame(Split::Test, position).unwrap().values[0], position as f32);
        }
        assert!(reel.kept.weight() <= 1 << 20, "{} bytes", reel.kept.weight());
    }
}
