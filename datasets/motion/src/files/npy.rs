//! Arrays of numbers in NumPy's `.npy` files.

use std::path::Path;

use mimus_core::{Error, Result};
use npyz::half::f16;
use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};

use super::bytes;

/// An array of numbers.
pub(super) struct Array {
    /// Its extents.
    pub(super) shape: Vec<usize>,
    /// Its values, the last extent fastest.
    pub(super) values: Vec<f64>,
}

/// Reads an array of floating or whole numbers. `advice` says how to convert an array of Python objects.
///
/// # Errors
/// If the file is no such array, is cut short, or holds more than the array.
pub(super) fn array(path: &Path, advice: &str) -> Result<Array> {
    let bytes = bytes(path)?;
    read(&bytes, advice).map_err(|error| error.with("file", path.display()))
}

fn read(bytes: &[u8], advice: &str) -> Result<Array> {
    if !has_size(header_text(bytes)) {
        return Err(Error::data("names extents that no file has").hint("it is damaged: copy it again from its source"));
    }
    let mut rest = bytes;
    let header = NpyHeader::from_reader(&mut rest)
        .map_err(|error| Error::data(format!("is no .npy file: {error}")).hint("copy it again from its source"))?;
    if header.uses_pickled_array() {
        return Err(Error::data("holds Python objects, which cannot be read without running code").hint(advice));
    }
    if header.order() == Order::Fortran {
        return Err(Error::data("stores columns first, expects rows first")
            .hint("store it again with numpy.save(path, numpy.ascontiguousarray(array))"));
    }
    // Before anything is allocated: a damaged header may name any extents.
    let count = header.shape().iter().try_fold(1u64, |all, extent| all.checked_mul(*extent));
    let length = count.zip(header.dtype().num_bytes()).and_then(|(count, size)| count.checked_mul(size as u64));
    if length != Some(rest.len() as u64) {
        return Err(Error::data(format!(
            "has {} bytes of data, which do not fit the extents {:?}",
            rest.len(),
            header.shape()
        ))
        .hint("it was cut short or damaged: copy it again from its source"));
    }
    let shape = header.shape().iter().map(|extent| *extent as usize).collect();
    Ok(Array { shape, values: values(header, rest)? })
}

/// The text of the header; nothing if the file ends before.
fn header_text(bytes: &[u8]) -> &[u8] {
    let text = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, text @ ..] => text.get(..usize::from(u16::from_le_bytes([*a, *b]))),
        [_, _, _, _, _, _, _, _, a, b, c, d, text @ ..] => text.get(..u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => None,
    };
    text.unwrap_or_default()
}

/// Whether the product of all numbers in a header fits into 64 bits: the library multiplies the extents without a check.
fn has_size(header: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words = header.split(|byte| !word(byte)).filter(|word| word.first().is_some_and(u8::is_ascii_digit));
    let mut numbers = words.map(|word| std::str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok()));
    numbers.try_fold(1_u64, |all, number| all.checked_mul(number?.max(1))).is_some()
}

fn values(header: NpyHeader, data: &[u8]) -> Result<Vec<f64>> {
    let dtype = header.dtype();
    let kind = match &dtype {
        DType::Plain(kind) => Some((kind.type_char(), kind.size_field())),
        _ => None,
    };
    let file = NpyFile::with_header(header, data);
    match kind {
        Some((TypeChar::Float, 2)) => convert(file, |x: f16| x.to_f64()),
        Some((TypeChar::Float, 4)) => convert(file, |x: f32| f64::from(x)),
        Some((TypeChar::Float, 8)) => convert(file, |x: f64| x),
        Some((TypeChar::Int, 4)) => convert(file, |x: i32| f64::from(x)),
        Some((TypeChar::Int, 8)) => convert(file, |x: i64| x as f64),
        _ => Err(Error::data(format!("holds elements of type {}, expects numbers", dtype.descr()))
            .hint("store it again with numpy.save(path, array.astype(numpy.float32))")),
    }
}

fn convert<T: Deserialize>(file: NpyFile<&[u8]>, to: fn(T) -> f64) -> Result<Vec<f64>> {
    let values = file.into_vec::<T>().map_err(|error| Error::data(format!("cannot be read: {error}")))?;
    Ok(values.into_iter().map(to).collect())
}
