//! Arrays of numbers in NumPy's `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use mimus_core::{Error, ErrorKind, Result};
use npyz::half::f16;
use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};

/// What every file begins with, before the length of the header: the magic string and two bytes of the version.
const PREAMBLE: usize = 8;
const AGAIN: &str = "copy it again from its source";

/// An array of numbers in a file: its header is read and fits the length of the file.
pub struct Array {
    header: NpyHeader,
    file: BufReader<File>,
    shape: Vec<usize>,
}

impl Array {
    /// Reads the header. `advice` says how to convert an array of Python objects. Who calls names the file in the error.
    ///
    /// # Errors
    /// If the file is no such array, needs code to be read, stores columns first, is cut short, or holds more than the array.
    pub fn open(path: &Path, advice: &str) -> Result<Self> {
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut file = BufReader::new(file);
        let text = header_text(&mut file, length).map_err(|error| unwhole(&error))?;
        if !has_size(&text) {
            return Err(Error::data("names extents that no file has").hint(AGAIN));
        }
        file.rewind().map_err(unreadable)?;
        let header = NpyHeader::from_reader(&mut file).map_err(|error| unwhole(&error))?;
        if header.uses_pickled_array() {
            return Err(Error::data("holds Python objects, which cannot be read without running code").hint(advice));
        }
        if header.order() == Order::Fortran && header.shape().iter().filter(|extent| **extent != 1).count() > 1 {
            return Err(Error::data("stores columns first, expects rows first")
                .hint("store it again with numpy.save(path, numpy.ascontiguousarray(array))"));
        }
        let count = header.shape().iter().try_fold(1_u64, |all, extent| all.checked_mul(*extent));
        let bytes = count.zip(header.dtype().num_bytes()).and_then(|(n, size)| n.checked_mul(size as u64));
        let rest = length - file.stream_position().map_err(unreadable)?.min(length);
        if bytes != Some(rest) {
            let message = format!("has {rest} bytes of data, which does not fit the extents {:?}", header.shape());
            return Err(Error::data(message).hint("it was cut short or damaged: copy it again from its source"));
        }
        let shape = header.shape().iter().map(|extent| *extent as usize).collect();
        Ok(Self { header, file, shape })
    }

    /// Its extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether its elements are floating numbers.
    pub fn is_floating(&self) -> bool {
        matches!(self.header.dtype(), DType::Plain(kind) if kind.type_char() == TypeChar::Float)
    }

    /// All elements, the last extent fastest.
    ///
    /// # Errors
    /// If they are no numbers, or the file cannot be read.
    pub fn values(self) -> Result<Vec<f64>> {
        let count = self.shape.iter().product::<usize>();
        self.range(0, count)
    }

    /// `count` elements from the position `first` on; marks are 0 and 1.
    ///
    /// # Errors
    /// As [`Array::values`], and if there are not so many.
    pub fn range(self, first: usize, count: usize) -> Result<Vec<f64>> {
        let (dtype, range) = (self.header.dtype(), (first as u64, count));
        let kind = match &dtype {
            DType::Plain(kind) => Some((kind.type_char(), kind.size_field())),
            _ => None,
        };
        let file = NpyFile::with_header(self.header, self.file);
        match kind {
            Some((TypeChar::Bool, _)) => convert(file, range, |x: bool| f64::from(u8::from(x))),
            Some((TypeChar::Uint, 1)) => convert(file, range, |x: u8| f64::from(x)),
            Some((TypeChar::Uint, 2)) => convert(file, range, |x: u16| f64::from(x)),
            Some((TypeChar::Uint, 4)) => convert(file, range, |x: u32| f64::from(x)),
            Some((TypeChar::Uint, 8)) => convert(file, range, |x: u64| x as f64),
            Some((TypeChar::Int, 1)) => convert(file, range, |x: i8| f64::from(x)),
            Some((TypeChar::Int, 2)) => convert(file, range, |x: i16| f64::from(x)),
            Some((TypeChar::Int, 4)) => convert(file, range, |x: i32| f64::from(x)),
            Some((TypeChar::Int, 8)) => convert(file, range, |x: i64| x as f64),
            Some((TypeChar::Float, 2)) => convert(file, range, |x: f16| x.to_f64()),
            Some((TypeChar::Float, 4)) => convert(file, range, |x: f32| f64::from(x)),
            Some((TypeChar::Float, 8)) => convert(file, range, |x: f64| x),
            _ => Err(Error::data(format!("holds elements of type {}, expects numbers", dtype.descr()))
                .hint("store it again with numpy.save(path, array.astype(numpy.float32))")),
        }
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::data(format!("cannot be read: {error}")).into_kind(ErrorKind::Data).hint(AGAIN)
}

fn unwhole(error: &std::io::Error) -> Error {
    Error::data(format!("is no whole .npy file: {error}")).hint(AGAIN)
}

/// The text of the header of a file of `length` bytes.
fn header_text(file: &mut impl Read, length: u64) -> std::io::Result<Vec<u8>> {
    let mut preamble = [0; PREAMBLE];
    file.read_exact(&mut preamble)?;
    let mut size = [0; 4];
    // The length has two bytes in the first version, four in all later ones.
    let bytes = if preamble[PREAMBLE - 2] == 1 { 2 } else { 4 };
    for byte in size.iter_mut().take(bytes) {
        file.read_exact(std::slice::from_mut(byte))?;
    }
    let size = u64::from(u32::from_le_bytes(size));
    if size > length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut text = Vec::new();
    file.take(size).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the product of all numbers in a header fits into 64 bits: the library multiplies the extents without a check.
fn has_size(header: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words = header.split(|byte| !word(byte)).filter(|word| word.first().is_some_and(u8::is_ascii_digit));
    let mut numbers = words.map(|word| std::str::from_utf8(word).ok().and_then(|word| word.parse::<u64>().ok()));
    numbers.try_fold(1_u64, |all, number| all.checked_mul(number?.max(1))).is_some()
}

fn convert<T: Deserialize>(
    file: NpyFile<BufReader<File>>,
    (first, count): (u64, usize),
    to: fn(T) -> f64,
) -> Result<Vec<f64>> {
    let mut reader = file.data::<T>().map_err(|error| Error::data(error.to_string()))?;
    reader.seek_to(first).map_err(unreadable)?;
    let mut next = || reader.next().transpose().map_err(unreadable)?.ok_or_else(|| Error::data("is cut short"));
    (0..count).map(|_| next().map(to)).collect()
}
