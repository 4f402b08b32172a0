//! Score maps in a file: there may be more than memory holds. Each is `[H, W]` of 32-bit floats, little-endian, one after the other.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mimus_core::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::files::{finish, unfinished, unwritten};

/// The maps of one cell, in the order of the judged frames.
#[derive(Debug)]
pub(crate) struct ScoreMaps {
    path: PathBuf,
    file: Mutex<File>,
    extents: Vec<[usize; 2]>,
    /// Where each begins, in elements, and where the last ends.
    starts: Vec<usize>,
}

impl ScoreMaps {
    /// Opens maps of `extents`.
    ///
    /// # Errors
    /// If the file is not there, or of another length.
    pub(crate) fn open(path: &Path, extents: Vec<[usize; 2]>) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io("cannot be read", path, &error);
        let mut starts = vec![0];
        starts.extend(extents.iter().scan(0, |end, [height, width]| {
            *end += height * width;
            Some(*end)
        }));
        let file = File::open(path).map_err(failed)?;
        let (found, expected) = (file.metadata().map_err(failed)?.len(), 4 * starts[extents.len()] as u64);
        if found != expected {
            let message = format!("has {found} bytes, and its score maps have {expected}");
            return Err(Error::new(ErrorKind::Io, message)
                .with("file", path.display())
                .hint("remove the folder that it is in to score anew"));
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), extents, starts })
    }

    /// Number of maps.
    pub(crate) fn len(&self) -> usize {
        self.extents.len()
    }

    /// Height and width of a map.
    pub(crate) fn extents(&self, map: usize) -> [usize; 2] {
        self.extents[map]
    }

    /// A map `[H, W]`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(&self, map: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * (self.starts[map + 1] - self.starts[map])];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(4 * self.starts[map] as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| Error::io("cannot be read", &self.path, &error))?;
        drop(file);
        Ok(bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// Scores of all maps, evenly spaced so that there are about `count` at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn sample(&self, count: usize) -> Result<Vec<f32>> {
        let step = self.starts[self.len()].div_ceil(count).max(1);
        let mut values = Vec::new();
        for map in 0..self.len() {
            let first = self.starts[map].next_multiple_of(step) - self.starts[map];
            values.extend(self.read(map)?.into_iter().skip(first).step_by(step));
        }
        Ok(values)
    }
}

/// Maps that are being written; nothing is at their place before [`Writing::finish`].
pub(crate) struct Writing {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    extents: Vec<[usize; 2]>,
}

impl Writing {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), file: BufWriter::new(unfinished(path)?), extents: Vec::new() })
    }

    /// Adds a map of `extents`.
    ///
    /// # Errors
    /// If the disk is full.
    pub(crate) fn add(&mut self, extents: [usize; 2], map: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = map.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(|error| unwritten(&self.path, &error))?;
        self.extents.push(extents);
        Ok(())
    }

    /// Puts the file at its place; `None` if there is no map.
    ///
    /// # Errors
    /// If the disk is full.
    pub(crate) fn finish(self) -> Result<Option<ScoreMaps>> {
        if self.extents.is_empty() {
            return Ok(None);
        }
        let file = self.file.into_inner().map_err(|error| unwritten(&self.path, error.error()))?;
        finish(file, &self.path)?;
        ScoreMaps::open(&self.path, self.extents).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_several_sizes_come_back_and_half_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell/maps");
        let mut writing = Writing::new(&path).unwrap();
        writing.add([1, 2], &[1.5, -0.0]).unwrap();
        writing.add([2, 1], &[3.0, f32::MIN]).unwrap();
        assert!(!path.exists());
        let maps = writing.finish().unwrap().unwrap();
        assert_eq!((maps.read(1).unwrap(), maps.extents(1)), (vec![3.0, f32::MIN], [2, 1]));
        assert_eq!(maps.sample(100).unwrap(), [1.5, -0.0, 3.0, f32::MIN]);
        assert_eq!(maps.sample(2).unwrap(), [1.5, 3.0]);
        std::fs::write(&path, [0; 15]).unwrap();
        let error = ScoreMaps::open(&path, vec![[1, 2], [2, 1]]).unwrap_err();
        assert_eq!(error.message(), "has 15 bytes, and its score maps have 16");
    }

    #[test]
    fn no_map_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maps");
        assert!(Writing::new(&path).unwrap().finish().unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
