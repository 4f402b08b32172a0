//! Arrays in NumPy's `.npy` files: labels, and masks of a whole clip.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use mimus_core::{Context, Error, ErrorKind, Result};
use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};

use crate::set::Mask;

type Opened = (NpyHeader, BufReader<File>);

/// All numbers of an array of one row.
///
/// # Errors
/// If the file is no such array of numbers, is cut short, or needs code to be read.
pub fn numbers(path: &Path) -> Result<Vec<f64>> {
    let read = || {
        let (header, file) = open(path)?;
        let length = header.shape().iter().product::<u64>();
        if header.shape().iter().filter(|extent| **extent != 1).count() > 1 {
            return Err(Error::data(format!("has the extents {:?}, expects one row of labels", header.shape()))
                .hint("store the labels of all frames as one row"));
        }
        range(header, file, 0, length)
    };
    read().context("file", path.display())
}

/// The masks in an array `[frames, height, width]`.
///
/// # Errors
/// As [`numbers`], and if it has no three extents.
pub fn slices(path: &Path) -> Result<Vec<Mask>> {
    let [frames, ..] = open(path).and_then(|(header, _)| extents(&header)).context("file", path.display())?;
    Ok((0..frames).map(|position| Mask::Slice(path.to_owned(), position)).collect())
}

/// Height, width and pixels of the mask at a position: 1 where a pixel is marked.
///
/// # Errors
/// As [`slices`], and if there is no such position.
pub(crate) fn slice(path: &Path, position: usize) -> Result<([usize; 2], Vec<u8>)> {
    let read = || {
        let (header, file) = open(path)?;
        let [frames, height, width] = extents(&header)?;
        if position >= frames {
            return Err(Error::data(format!("has {frames} masks, and none at position {position}"))
                .hint("the file changed since it was opened: run again"));
        }
        let pixels = (height * width) as u64;
        let values = range(header, file, position as u64 * pixels, pixels)?;
        Ok(([height, width], values.into_iter().map(|x| u8::from(x != 0.0)).collect()))
    };
    read().context("file", path.display())
}

fn extents(header: &NpyHeader) -> Result<[usize; 3]> {
    match (header.shape(), header.order()) {
        (&[frames, height, width], Order::C) => Ok([frames, height, width].map(|extent| extent as usize)),
        (shape, Order::C) => Err(Error::data(format!("has the extents {shape:?}, expects frames, height and width"))
            .hint("store one picture for each frame: numpy.save(path, masks)")),
        (_, Order::Fortran) => Err(Error::data("stores columns first, expects rows first")
            .hint("store it again with numpy.save(path, numpy.ascontiguousarray(array))")),
    }
}

/// The header, and the file behind it, whose length fits what the header says.
fn open(path: &Path) -> Result<Opened> {
    let unreadable = |error: std::io::Error| {
        Error::data(format!("cannot be read: {error}")).hint("copy it again from its source").into_kind(ErrorKind::Data)
    };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut file = BufReader::new(file);
    let header = NpyHeader::from_reader(&mut file).map_err(|error| {
        Error::data(format!("is no whole .npy file: {error}")).hint("copy it again from its source")
    })?;
    if header.uses_pickled_array() {
        return Err(Error::data("holds Python objects, which cannot be read without running code").hint(
            "store numbers: python3 -c \"import numpy, sys; p = sys.argv[1]; a = numpy.load(p, allow_pickle=True); numpy.save(p, numpy.concatenate([numpy.ravel(x) for x in a.ravel()]))\" FILE, if you trust the file",
        ));
    }
    let elements = header.shape().iter().try_fold(1u64, |all, extent| all.checked_mul(*extent));
    let bytes = elements.zip(header.dtype().num_bytes()).and_then(|(n, size)| n.checked_mul(size as u64));
    let rest = length - file.stream_position().map_err(unreadable)?.min(length);
    match bytes {
        Some(bytes) if bytes == rest => Ok((header, file)),
        _ => Err(Error::data(format!("has {rest} bytes of data, which does not fit the extents {:?}", header.shape()))
            .hint("it was cut short or damaged: copy it again from its source")),
    }
}

/// `count` numbers from the position `first` on.
fn range(header: NpyHeader, file: BufReader<File>, first: u64, count: u64) -> Result<Vec<f64>> {
    let dtype = header.dtype();
    let DType::Plain(kind) = &dtype else { return Err(no_numbers(&dtype)) };
    let file = NpyFile::with_header(header, file);
    match (kind.type_char(), kind.size_field()) {
        (TypeChar::Bool, _) => convert(file, first, count, |x: bool| f64::from(u8::from(x))),
        (TypeChar::Uint, 1) => convert(file, first, count, |x: u8| f64::from(x)),
        (TypeChar::Uint, 2) => convert(file, first, count, |x: u16| f64::from(x)),
        (TypeChar::Uint, 4) => convert(file, first, count, |x: u32| f64::from(x)),
        (TypeChar::Uint, 8) => convert(file, first, count, |x: u64| x as f64),
        (TypeChar::Int, 1) => convert(file, first, count, |x: i8| f64::from(x)),
        (TypeChar::Int, 2) => convert(file, first, count, |x: i16| f64::from(x)),
        (TypeChar::Int, 4) => convert(file, first, count, |x: i32| f64::from(x)),
        (TypeChar::Int, 8) => convert(file, first, count, |x: i64| x as f64),
        (TypeChar::Float, 4) => convert(file, first, count, |x: f32| f64::from(x)),
        (TypeChar::Float, 8) => convert(file, first, count, |x: f64| x),
        _ => Err(no_numbers(&dtype)),
    }
}

fn no_numbers(dtype: &DType) -> Error {
    Error::data(format!("holds elements of type {}, expects numbers", dtype.descr()))
        .hint("store it again with numpy.save(path, array.astype(numpy.uint8))")
}

fn convert<T: Deserialize, R: Read + Seek>(
    file: NpyFile<R>,
    first: u64,
    count: u64,
    to: fn(T) -> f64,
) -> Result<Vec<f64>> {
    let failed = |error: std::io::Error| Error::data(format!("cannot be read: {error}"));
    let mut reader = file.data::<T>().map_err(|error| Error::data(error.to_string()))?;
    reader.seek_to(first).map_err(failed)?;
    (0..count)
        .map(|_| reader.next().transpose().map_err(failed)?.map(to).ok_or_else(|| Error::data("is cut short")))
        .collect()
}
