//! Labels, and masks of a whole clip, in NumPy's `.npy` files.

use std::path::Path;

use mimus_core::{Context, Error, Result};
use mimus_decode::Array;

use crate::set::Mask;

/// From an array of arrays, one for each clip, to the numbers that are read here.
const ADVICE: &str = "store numbers: python3 -c \"import numpy, sys; p = sys.argv[1]; a = numpy.load(p, allow_pickle=True); \
numpy.save(p, numpy.concatenate([numpy.ravel(x) for x in a.ravel()]))\" FILE, if you trust the file";

/// All numbers of an array of one row.
///
/// # Errors
/// If the file is no such array of numbers, is cut short, or needs code to be read.
pub fn numbers(path: &Path) -> Result<Vec<f64>> {
    let read = || {
        let array = Array::open(path, ADVICE)?;
        if array.shape().iter().filter(|extent| **extent != 1).count() > 1 {
            return Err(Error::data(format!("has the extents {:?}, expects one row of labels", array.shape()))
                .hint("store the labels of all frames as one row"));
        }
        array.values()
    };
    read().context("file", path.display())
}

/// The masks in an array `[frames, height, width]`.
///
/// # Errors
/// As [`numbers`], and if it has no three extents.
pub fn slices(path: &Path) -> Result<Vec<Mask>> {
    let [frames, ..] = Array::open(path, ADVICE).and_then(|array| extents(&array)).context("file", path.display())?;
    Ok((0..frames).map(|position| Mask::Slice(path.to_owned(), position)).collect())
}

/// Height, width and pixels of the mask at a position: 1 where a pixel is marked.
///
/// # Errors
/// As [`slices`], and if there is no such position.
pub(crate) fn slice(path: &Path, position: usize) -> Result<([usize; 2], Vec<u8>)> {
    let read = || {
        let array = Array::open(path, ADVICE)?;
        let [frames, height, width] = extents(&array)?;
        if position >= frames {
            return Err(Error::data(format!("has {frames} masks, and none at position {position}"))
                .hint("the file changed since it was opened: run again"));
        }
        let values = array.range(position * height * width, height * width)?;
        Ok(([height, width], values.into_iter().map(|x| u8::from(x != 0.0)).collect()))
    };
    read().context("file", path.display())
}

fn extents(array: &Array) -> Result<[usize; 3]> {
    let shape = array.shape();
    shape.try_into().map_err(|_| {
        Error::data(format!("has the extents {shape:?}, expects frames, height and width"))
            .hint("store one picture for each frame: numpy.save(path, masks)")
    })
}
