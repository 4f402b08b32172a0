//! More numbers than memory should hold, from the largest to the smallest: sorted runs in temporary files, read side by side.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use rayon::slice::ParallelSliceMut;

use crate::error::{Error, Result};

/// Bytes of numbers that are held in memory before they become a run on disk.
const HELD: usize = 16 << 20;

/// One of so many numbers of a run is kept in memory, for [`Sorting::quantiles`].
const STRIDE: usize = 1 << 12;

/// Numbers that are read from a run at once.
const BLOCK: usize = 1 << 13;

/// What can be in a run.
pub(super) trait Number: Copy + Ord + Send + std::fmt::Debug {
    /// Bytes of one.
    const BYTES: usize;
    fn write(self, bytes: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const BYTES: usize = size_of::<$type>();

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.iter().rev().fold(0, |value, byte| (value << 8) | Self::from(*byte))
            }
        }
    };
}

number!(u32);
number!(u64);

/// Numbers that are being collected.
#[derive(Debug)]
pub(super) struct Sorting<T> {
    held: Vec<T>,
    /// How many are held at most.
    limit: usize,
    runs: Vec<File>,
    /// Every [`STRIDE`]th of each run.
    sketch: Vec<T>,
    len: u64,
}

impl<T: Number> Default for Sorting<T> {
    fn default() -> Self {
        Self::within(HELD / T::BYTES)
    }
}

impl<T: Number> Sorting<T> {
    /// None yet, of which `limit` are held in memory at most.
    fn within(limit: usize) -> Self {
        Self { held: Vec::new(), limit, runs: Vec::new(), sketch: Vec::new(), len: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds numbers.
    ///
    /// # Errors
    /// If a run cannot be written: the disk is full.
    pub(super) fn extend(&mut self, numbers: impl IntoIterator<Item = T>) -> Result<()> {
        let before = self.held.len();
        self.held.extend(numbers);
        self.len += (self.held.len() - before) as u64;
        if self.held.len() < self.limit {
            return Ok(());
        }
        self.sort();
        self.sketch.extend(self.held.iter().step_by(STRIDE));
        self.runs.push(write(&self.held).map_err(|error| unwritten(&error))?);
        self.held.clear();
        Ok(())
    }

    /// Equal elements are indistinguishable, so the order does not depend on the number of threads.
    fn sort(&mut self) {
        self.held.par_sort_unstable();
    }

    /// At most `count` evenly spaced of all numbers, ascending; nearly evenly where they did not fit in memory.
    pub(super) fn quantiles(&mut self, count: usize) -> Vec<T> {
        self.sort();
        let mut mixed = Vec::new();
        let sorted = if self.runs.is_empty() {
            &self.held
        } else {
            mixed.extend(self.sketch.iter().chain(self.held.iter().step_by(STRIDE)));
            mixed.sort_unstable();
            &mixed
        };
        let count = count.min(sorted.len());
        (0..count).map(|i| sorted[i * sorted.len() / count]).collect()
    }

    /// All numbers, from the largest to the smallest.
    ///
    /// # Errors
    /// If a run cannot be read.
    pub(super) fn descending(mut self) -> Result<Descending<T>> {
        self.sort();
        self.held.reverse();
        let mut runs = vec![Run { file: None, block: self.held, at: 0 }];
        for mut file in self.runs {
            file.rewind().map_err(|error| unread(&error))?;
            runs.push(Run { file: Some(BufReader::new(file)), block: Vec::new(), at: 0 });
        }
        Ok(Descending { runs })
    }
}

/// Numbers from the largest to the smallest.
pub(super) struct Descending<T> {
    runs: Vec<Run<T>>,
}

impl<T: Number> Descending<T> {
    /// The largest that was not passed; `None` if all were.
    ///
    /// # Errors
    /// If a run cannot be read.
    pub(super) fn largest(&mut self) -> Result<Option<T>> {
        let mut largest = None;
        for run in &mut self.runs {
            largest = largest.max(run.first()?);
        }
        Ok(largest)
    }

    /// Passes the largest numbers as long as `wanted` holds of them, and returns their number; `see` is given each run's.
    ///
    /// # Errors
    /// If a run cannot be read.
    pub(super) fn pass(&mut self, wanted: impl Fn(T) -> bool, mut see: impl FnMut(&[T])) -> Result<u64> {
        let mut count = 0;
        for run in &mut self.runs {
            while run.first()?.is_some_and(&wanted) {
                let rest = &run.block[run.at..];
                let taken = rest.partition_point(|number| wanted(*number));
                see(&rest[..taken]);
                count += taken as u64;
                run.at += taken;
            }
        }
        Ok(count)
    }
}

/// One sorted run, the largest first.
struct Run<T> {
    /// What is not in memory.
    file: Option<BufReader<File>>,
    block: Vec<T>,
    /// How many of the block were passed.
    at: usize,
}

impl<T: Number> Run<T> {
    fn first(&mut self) -> Result<Option<T>> {
        if self.at == self.block.len()
            && let Some(file) = &mut self.file
        {
            let mut bytes = Vec::new();
            file.take((BLOCK * T::BYTES) as u64).read_to_end(&mut bytes).map_err(|error| unread(&error))?;
            self.block = bytes.chunks_exact(T::BYTES).map(T::read).collect();
            self.at = 0;
        }
        Ok(self.block.get(self.at).copied())
    }
}

/// Writes numbers, ascending, as a run: the largest first.
fn write<T: Number>(ascending: &[T]) -> std::io::Result<File> {
    let mut file = BufWriter::new(tempfile::tempfile()?);
    let mut bytes = Vec::new();
    for chunk in ascending.rchunks(BLOCK) {
        bytes.clear();
        chunk.iter().rev().for_each(|number| number.write(&mut bytes));
        file.write_all(&bytes)?;
    }
    file.into_inner().map_err(std::io::IntoInnerError::into_error)
}

fn unwritten(error: &std::io::Error) -> Error {
    let folder = std::env::temp_dir();
    Error::io("the pixel scores do not fit in the folder of temporary files", &folder, error)
        .hint("free space there, or name another folder in TMPDIR")
}

fn unread(error: &std::io::Error) -> Error {
    Error::io("pixel scores cannot be read back from the folder of temporary files", &std::env::temp_dir(), error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn collected(limit: usize, parts: &[Vec<u32>]) -> Sorting<u32> {
        let mut sorting = Sorting::within(limit);
        parts.iter().for_each(|part| sorting.extend(part.iter().copied()).unwrap());
        sorting
    }

    proptest! {
        #[test]
        fn runs_read_side_by_side_are_one_sorted_list(
            parts in proptest::collection::vec(proptest::collection::vec(0_u32..50, 0..40), 0..8), limit in 1_usize..100,
        ) {
            let sorting = collected(limit, &parts);
            let mut expected = parts.concat();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            prop_assert_eq!(sorting.len(), expected.len() as u64);
            let (mut runs, mut found) = (sorting.descending().unwrap(), Vec::new());
            while let Some(largest) = runs.largest().unwrap() {
                let before = found.len();
                let count = runs.pass(|number| number == largest, |tied| found.extend_from_slice(tied)).unwrap();
                prop_assert_eq!(count as usize, found.len() - before);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn quantiles_are_exact_in_memory_and_close_beyond() {
        let numbers: Vec<u32> = (0..1_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761) % 1_000_000).collect();
        let exact = collected(usize::MAX, std::slice::from_ref(&numbers)).quantiles(10);
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(exact, (0..10).map(|i| sorted[i * 100_000]).collect::<Vec<u32>>());
        let parts: Vec<Vec<u32>> = numbers.chunks(10_000).map(<[u32]>::to_vec).collect();
        let mut spilled = collected(300_000, &parts);
        assert_eq!((spilled.runs.len(), spilled.held.len()), (3, 100_000));
        for (close, exact) in spilled.quantiles(10).into_iter().zip(exact) {
            assert!(close.abs_diff(exact) < 20_000, "{close} for {exact}");
        }
    }
}
