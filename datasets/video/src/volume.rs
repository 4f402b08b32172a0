//! Avenue's masks: a MATLAB file for each clip with a cell array, one matrix of a picture's extents for each frame.
//!
//! They are unpacked once into pictures, so that the mask of one frame can be read without all before it.

use std::path::Path;
use std::sync::Arc;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use mimus_core::{Context, Error, Result};

use crate::cache::Cache;
use crate::mat::{Matrix, matrices};
use crate::set::{Mask, Truth, digest};

/// Changes whenever the same file would give other pictures: part of the key of what is kept.
const RECIPE: &str = "masks-1";
const LABELS: &str = "labels.txt";

/// The ground truth in a file of masks: a frame is anomalous where its mask marks a pixel. The masks are pictures in the cache.
///
/// # Errors
/// If the file cannot be read, or holds no such cell array.
pub fn mask_volume(path: &Path, variable: &str, cache: &Cache) -> Result<Truth> {
    let read = || {
        let key = format!("{}-{RECIPE}", mimus_decode::hex(&digest(path)?));
        let entry = cache.entry(&key, |folder| unpack(path, variable, folder))?;
        let labels = entry.folder().join(LABELS);
        let text = std::fs::read_to_string(&labels).map_err(|error| Error::io("cannot be read", &labels, &error))?;
        let anomalous = text.chars().map(|label| label == '1').collect();
        let masks = entry.files("png").into_iter().map(Mask::Picture).collect();
        Ok(Truth { anomalous, masks, kept: Some(Arc::new(entry)) })
    };
    read().context("masks", path.display())
}

fn unpack(path: &Path, variable: &str, folder: &Path) -> Result<()> {
    let mut labels = String::new();
    matrices(path, variable, &mut |position, _, matrix| {
        let file = folder.join(format!("{position:06}.png"));
        let marked = write(&matrix, &file)?;
        labels.push(if marked { '1' } else { '0' });
        Ok(())
    })?;
    let file = folder.join(LABELS);
    std::fs::write(&file, labels).map_err(|error| Error::io("cannot be written", &file, &error))
}

/// Writes a mask as a picture; true if it marks a pixel.
fn write(matrix: &Matrix, path: &Path) -> Result<bool> {
    let Matrix { rows, columns, values } = matrix;
    // A matrix is stored column by column.
    let mark = |i: usize| if values[i % columns * rows + i / columns] == 0.0 { 0 } else { u8::MAX };
    let pixels: Vec<u8> = (0..values.len()).map(mark).collect();
    let failed = |error: String| {
        Error::data(format!("the picture of a mask cannot be written: {error}")).with("file", path.display())
    };
    let file = std::fs::File::create(path).map_err(|error| failed(error.to_string()))?;
    let encoder =
        PngEncoder::new_with_quality(std::io::BufWriter::new(file), CompressionType::Fast, FilterType::NoFilter);
    let written = encoder.write_image(&pixels, *columns as u32, *rows as u32, ExtendedColorType::L8);
    written.map_err(|error| failed(error.to_string()))?;
    Ok(pixels.contains(&u8::MAX))
}
