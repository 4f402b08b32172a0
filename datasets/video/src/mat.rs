//! Numbers in MATLAB's files of version 5, compressed or not: matrices, and cell arrays of matrices handed over one by one.
//!
//! Written here because no well-kept crate does: `matfile` and `mat5` pass over cell arrays, and what reads cells holds a whole file as numbers
//! of 8 bytes, which for the masks of one clip of Avenue is gigabytes, and stops the program at damaged input.
//! "MAT-File Format", The MathWorks; level 5.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;
use mimus_core::{Context, Error, Result};

/// A matrix of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns; of arrays of more than two extents, the product of all but the first.
    pub columns: usize,
    /// Column by column.
    pub values: Vec<f64>,
}

/// What receives matrices: position, number of matrices, matrix.
type Each<'a> = dyn FnMut(usize, usize, Matrix) -> Result<()> + 'a;

const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const CELL: u8 = 1;
/// Classes of numeric arrays: double, single and eight kinds of whole numbers, truth values among them.
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;
/// More bytes than the matrix of any label file has: a header that says so is damaged.
const MOST_BYTES: u64 = 1 << 30;

/// Reads a variable: `each` gets the matrix, or every matrix of the cell array in its order.
///
/// # Errors
/// If the file is none of version 5, is damaged, holds no such variable or one of another kind; and what `each` gives.
pub fn matrices(path: &Path, variable: &str, each: &mut Each<'_>) -> Result<()> {
    let mut read = || {
        let file = File::open(path).map_err(|error| broken(&error))?;
        let mut file = BufReader::new(file);
        check_header(&mut file)?;
        let mut others = Vec::new();
        while let Some(Tag { kind, length, .. }) = top_tag(&mut file)? {
            let mut part = (&mut file).take(length);
            let found = match kind {
                MATRIX => named(&mut part, variable, each)?,
                COMPRESSED => {
                    let mut inner = ZlibDecoder::new(&mut part);
                    let tag = tag(&mut inner)?;
                    let found = match tag.kind {
                        MATRIX => named(&mut (&mut inner).take(tag.length), variable, each)?,
                        _ => Found::Another(String::new()),
                    };
                    // Only at its end does the decompressor compare the checksum.
                    io::copy(&mut inner, &mut io::sink()).map_err(|error| broken(&error))?;
                    found
                }
                _ => Found::Another(String::new()),
            };
            match found {
                Found::Read => return Ok(()),
                Found::Another(name) => others.push(name),
            }
            io::copy(&mut part, &mut io::sink()).map_err(|error| broken(&error))?;
            if part.limit() > 0 {
                return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Err(Error::data(format!("holds no variable `{variable}`, only: {}", others.join(", ")))
            .hint("check that it is the label file that the data set was published with"))
    };
    read().context("file", path.display())
}

enum Found {
    Read,
    Another(String),
}

fn broken(error: &io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::UnexpectedEof => "is cut short".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Error::data(message).hint("copy it again from its source")
}

fn damaged(what: impl Into<String>) -> Error {
    Error::data(what).hint("copy it again from its source, or store it again with MATLAB: save -v7")
}

fn bytes<const N: usize>(from: &mut dyn Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|error| broken(&error))?;
    Ok(bytes)
}

fn check_header(file: &mut impl Read) -> Result<()> {
    let header: [u8; 128] = bytes(file)?;
    let resave = "store it again with MATLAB: save -v7";
    match [header[124], header[125], header[126], header[127]] {
        [0, 1, b'I', b'M'] => Ok(()),
        [1, 0, b'M', b'I'] => Err(Error::data("was written on a machine of the other byte order").hint(resave)),
        [0, 2, ..] => Err(Error::data("is a MATLAB file of version 7.3, expects version 5 to 7").hint(resave)),
        _ => Err(Error::data("is no MATLAB file of version 5 to 7").hint(resave)),
    }
}

/// What an element is, and how many bytes it has.
struct Tag {
    kind: u32,
    length: u64,
    /// An element of up to 4 bytes lies in its tag.
    small: Option<[u8; 4]>,
}

fn tag(from: &mut dyn Read) -> Result<Tag> {
    let [first, second] = [bytes(from)?, bytes::<4>(from)?];
    Ok(split_tag(first, second))
}

fn split_tag(first: [u8; 4], second: [u8; 4]) -> Tag {
    let word = u32::from_le_bytes(first);
    match word >> 16 {
        0 => Tag { kind: word, length: u64::from(u32::from_le_bytes(second)), small: None },
        length => Tag { kind: word & 0xFFFF, length: u64::from(length), small: Some(second) },
    }
}

/// The tag of the next variable; `None` at the end of the file.
fn top_tag(file: &mut impl Read) -> Result<Option<Tag>> {
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(|error| broken(&error))?;
    match start.as_chunks::<4>() {
        ([], []) => Ok(None),
        ([first, second], []) => Ok(Some(split_tag(*first, *second))),
        _ => Err(broken(&io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Kind and content of the next element.
fn element(from: &mut dyn Read) -> Result<(u32, Vec<u8>)> {
    let Tag { kind, length, small } = tag(from)?;
    if let Some(small) = small {
        let content = small.get(..length as usize).ok_or_else(|| damaged("has an element longer than its place"))?;
        return Ok((kind, content.to_vec()));
    }
    if length > MOST_BYTES {
        return Err(damaged(format!("has an element that claims {length} bytes")));
    }
    let mut content = Vec::new();
    (&mut *from).take(length.next_multiple_of(8)).read_to_end(&mut content).map_err(|error| broken(&error))?;
    if (content.len() as u64) < length {
        return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
    }
    content.truncate(length as usize);
    Ok((kind, content))
}

/// What stands before the content of an array.
struct Header {
    class: u8,
    extents: Vec<usize>,
    name: String,
}

fn header(from: &mut dyn Read) -> Result<Header> {
    let (_, flags) = element(from)?;
    let (_, extents) = element(from)?;
    let (_, name) = element(from)?;
    let class = flags.first().copied().ok_or_else(|| damaged("has an array without a class"))?;
    let extents = extents.as_chunks().0.iter().map(|extent| usize::try_from(i32::from_le_bytes(*extent)));
    let extents = extents.collect::<Result<Vec<_>, _>>().map_err(|_| damaged("has an array with a negative extent"))?;
    Ok(Header { class, extents, name: String::from_utf8_lossy(&name).into_owned() })
}

/// Reads the array behind a tag if it has the name.
fn named(from: &mut dyn Read, variable: &str, each: &mut Each<'_>) -> Result<Found> {
    let header = header(from)?;
    if header.name != variable {
        return Ok(Found::Another(header.name));
    }
    match header.class {
        CELL => {
            let count = product(&header.extents)?;
            for position in 0..count {
                let tag = tag(from)?;
                if tag.kind != MATRIX {
                    return Err(damaged(format!("has a cell {} that is no array", position + 1)));
                }
                let matrix = match tag.length {
                    0 => Matrix::default(),
                    length => {
                        let mut cell = (&mut *from).take(length);
                        let inner = self::header(&mut cell)?;
                        let matrix = numeric(&inner, &mut cell)?;
                        io::copy(&mut cell, &mut io::sink()).map_err(|error| broken(&error))?;
                        matrix
                    }
                };
                each(position, count, matrix)?;
            }
        }
        _ => each(0, 1, numeric(&header, from)?)?,
    }
    Ok(Found::Read)
}

fn numeric(header: &Header, from: &mut dyn Read) -> Result<Matrix> {
    if !NUMERIC.contains(&header.class) {
        return Err(damaged(format!("has an array of class {}, expects numbers", header.class)));
    }
    let (kind, content) = element(from)?;
    let values = values(kind, &content)
        .ok_or_else(|| damaged(format!("has {} bytes of numbers of kind {kind}", content.len())))?;
    let (rows, others) = header.extents.split_first().ok_or_else(|| damaged("has an array without extents"))?;
    let columns = product(others)?;
    if rows.checked_mul(columns) != Some(values.len()) {
        return Err(damaged(format!("has {} numbers for {rows}x{columns}", values.len())));
    }
    Ok(Matrix { rows: *rows, columns, values })
}

fn product(extents: &[usize]) -> Result<usize> {
    let product = extents.iter().try_fold(1_usize, |all, extent| all.checked_mul(*extent));
    product.ok_or_else(|| damaged(format!("has an array that claims the extents {extents:?}")))
}

/// The numbers of an element; `None` if it has another kind, or bytes are left over.
fn values(kind: u32, content: &[u8]) -> Option<Vec<f64>> {
    fn all<const N: usize>(content: &[u8], number: fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        let (chunks, rest) = content.as_chunks::<N>();
        rest.is_empty().then(|| chunks.iter().map(|chunk| number(*chunk)).collect())
    }
    match kind {
        1 => all(content, |x| f64::from(i8::from_le_bytes(x))),
        2 => all(content, |x| f64::from(u8::from_le_bytes(x))),
        3 => all(content, |x| f64::from(i16::from_le_bytes(x))),
        4 => all(content, |x| f64::from(u16::from_le_bytes(x))),
        5 => all(content, |x| f64::from(i32::from_le_bytes(x))),
        6 => all(content, |x| f64::from(u32::from_le_bytes(x))),
        7 => all(content, |x| f64::from(f32::from_le_bytes(x))),
        9 => all(content, f64::from_le_bytes),
        12 => all(content, |x| i64::from_le_bytes(x) as f64),
        13 => all(content, |x| u64::from_le_bytes(x) as f64),
        _ => None,
    }
}
