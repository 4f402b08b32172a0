//! MATLAB files written byte by byte.

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use mimus_core::{Error, Result};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::{Matrix, intervals, mask_volume, matrices};

const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

fn element(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The form that lies in its tag: up to 4 bytes.
fn small(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = (kind | (content.len() as u32) << 16).to_le_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(8, 0);
    bytes
}

fn array(class: u8, extents: [i32; 2], name: &str, content: &[u8]) -> Vec<u8> {
    let extents: Vec<u8> = extents.iter().flat_map(|extent| extent.to_le_bytes()).collect();
    let name = if name.len() <= 4 { small(INT8, name.as_bytes()) } else { element(INT8, name.as_bytes()) };
    let inner =
        [element(UINT32, &[class, 0, 0, 0, 0, 0, 0, 0]), element(INT32, &extents), name, content.to_vec()].concat();
    element(MATRIX, &inner)
}

fn bytes(extents: [i32; 2], values: &[u8]) -> Vec<u8> {
    let content = if values.len() <= 4 { small(UINT8, values) } else { element(UINT8, values) };
    array(9, extents, "", &content)
}

fn cells(name: &str, cells: &[Vec<u8>]) -> Vec<u8> {
    array(1, [1, cells.len() as i32], name, &cells.concat())
}

fn compressed(variable: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(variable).unwrap();
    let packed = encoder.finish().unwrap();
    [COMPRESSED.to_le_bytes().to_vec(), (packed.len() as u32).to_le_bytes().to_vec(), packed].concat()
}

fn file(variables: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b' '; 124];
    bytes.extend_from_slice(&[0, 1, b'I', b'M']);
    bytes.extend(variables.concat());
    bytes
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.mat");
    std::fs::write(&path, bytes).unwrap();
    (place, path)
}

fn read(bytes: &[u8], variable: &str) -> Result<Vec<Matrix>> {
    let (_place, path) = written(bytes);
    let mut all = Vec::new();
    matrices(&path, variable, &mut |_, _, matrix| {
        all.push(matrix);
        Ok(())
    })?;
    Ok(all)
}

fn doubles(values: &[f64]) -> Vec<u8> {
    element(DOUBLE, &values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

#[test]
fn matrices_and_cells_are_read_compressed_or_not() {
    let mask = bytes([2, 3], &[1, 2, 3, 4, 5, 6]);
    let variables = [
        array(6, [1, 2], "l", &doubles(&[0.5, -1.0])),
        cells("volLabel", &[mask, bytes([1, 1], &[7]), element(MATRIX, &[])]),
    ];
    let packed: Vec<Vec<u8>> = variables.iter().map(|variable| compressed(variable)).collect();
    for bytes in [file(&variables), file(&packed)] {
        let cells = read(&bytes, "volLabel").unwrap();
        assert_eq!(cells[0], Matrix { rows: 2, columns: 3, values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] });
        assert_eq!(cells[1], Matrix { rows: 1, columns: 1, values: vec![7.0] });
        assert_eq!((cells[2].clone(), cells.len()), (Matrix::default(), 3));
        assert_eq!(read(&bytes, "l").unwrap()[0].values, [0.5, -1.0]);
        let error = read(&bytes, "gt").unwrap_err();
        assert_eq!(error.message(), "holds no variable `gt`, only: l, volLabel");
    }
}

#[test]
fn every_beginning_of_a_file_and_every_changed_byte_is_an_error_or_numbers() {
    let variable = cells("volLabel", &[bytes([2, 3], &[1, 2, 3, 4, 5, 6]), bytes([1, 1], &[7])]);
    for whole in [file(std::slice::from_ref(&variable)), file(&[compressed(&variable)])] {
        for end in 0..whole.len() {
            assert!(read(&whole[..end], "volLabel").is_err(), "{end} of {}", whole.len());
        }
        for position in 128..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut changed = whole.clone();
                changed[position] ^= flip;
                let _ = read(&changed, "volLabel");
            }
        }
    }
    let mut changed = file(&[compressed(&variable)]);
    let checksum = changed.len() - 2;
    changed[checksum] ^= 1;
    assert!(
        read(&changed, "volLabel").unwrap_err().message().starts_with("cannot be read"),
        "the checksum is compared"
    );
}

#[test]
fn what_is_no_array_of_numbers_says_so() {
    let message = |bytes: &[u8]| read(bytes, "gt").unwrap_err().message().to_owned();
    let mut new = file(&[]);
    new[124..126].copy_from_slice(&[0, 2]);
    assert!(message(&new).contains("version 7.3"));
    new[124..128].copy_from_slice(&[1, 0, b'M', b'I']);
    assert!(message(&new).contains("other byte order"));
    assert!(message(&[b'x'; 128]).contains("is no MATLAB file"));
    assert_eq!(
        message(&file(&[array(4, [1, 2], "gt", &element(UINT8, b"ab"))])),
        "has an array of class 4, expects numbers"
    );
    assert_eq!(message(&file(&[array(9, [2, 2], "gt", &element(UINT8, b"abc"))])), "has 3 numbers for 2x2");
    assert_eq!(message(&file(&[cells("gt", &[element(UINT8, b"x")])])), "has a cell 1 that is no array");
    assert!(message(&file(&[array(1, [i32::MAX, i32::MAX], "gt", &[])])).contains("cut short"));
}

#[test]
fn intervals_have_two_rows_of_frame_numbers() {
    let of = |cell: Vec<u8>| {
        let (_place, path) = written(&file(&[cells("gt", &[cell])]));
        intervals(&path, "gt")
    };
    assert_eq!(of(bytes([2, 2], &[1, 4, 9, 9])).unwrap(), [[[1, 4], [9, 9]]]);
    assert!(of(bytes([0, 0], &[])).unwrap()[0].is_empty());
    let message = |result: Result<_, Error>| result.unwrap_err().message().to_owned();
    assert!(message(of(bytes([4, 1], &[1, 4, 9, 9]))).contains("a matrix of 4x1 for clip 1, expects 2 rows"));
    let half = of(array(6, [2, 1], "", &doubles(&[1.0, 2.5])));
    assert!(message(half).contains("expects 2 rows of frame numbers"));
}

#[test]
fn masks_are_unpacked_with_rows_and_columns_in_their_places() {
    let mask = bytes([2, 3], &[0, 0, 0, 0, 1, 0]);
    let (place, path) = written(&file(&[compressed(&cells("volLabel", &[bytes([2, 3], &[0; 6]), mask]))]));
    let truth = mask_volume(&path, "volLabel", &Cache::new(&place.path().join("cache"), 1 << 20)).unwrap();
    assert_eq!(truth.anomalous, [false, true]);
    let crate::Mask::Picture(file) = &truth.masks[1] else { panic!("a picture") };
    let pixels = mimus_decode::read(file).unwrap();
    assert_eq!((pixels.width, pixels.height, pixels.bytes.as_slice()), (3, 2, [0, 0, 255, 0, 0, 0].as_slice()));
}
