//! Decodes PNG, JPEG, BMP and TIFF into 8-bit pixels, and refuses what 8 bits cannot hold: for data sets and for single files alike.
//! Reads arrays of numbers in NumPy's files.
#![forbid(unsafe_code)]

mod folder;
mod listing;
mod mask;
mod npy;
mod survey;
mod truncation;

use std::fs;
use std::io::Cursor;
use std::path::Path;

pub use folder::{EXTENSIONS, pictures};
pub use listing::{Entry, ImageFile, entries, folder_name, folders, images, root};
pub use mask::{MaskPolicy, check_mask_size, mask};
pub use npy::Array;
pub use survey::{Seen, hex, look};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use mimus_core::plugin::Pixels;
use mimus_core::{Error, ErrorKind, Result};
use serde_bytes::ByteBuf;

/// More pixels than any camera has: a header that says so is damaged, and believing it would exhaust the memory.
const MOST_PIXELS: u64 = 1 << 30;

/// A decoded file.
pub struct Picture {
    /// Gray or RGB.
    pub pixels: Pixels,
    /// Whether its format loses information.
    pub lossy: bool,
}

/// The bytes of a file.
///
/// # Errors
/// If it cannot be read, or is empty.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| {
        Error::io("cannot be read", path, &error)
            .into_kind(ErrorKind::Data)
            .hint("check that it is there and that you may read it")
    })?;
    if bytes.is_empty() {
        return Err(Error::data("is an empty file").with("file", path.display()).hint("copy it again or remove it"));
    }
    Ok(bytes)
}

/// Width and height from a file's header, after all checks that need no decoding.
///
/// # Errors
/// If the bytes are no PNG, JPEG, BMP or TIFF, are cut short, or hold anything but 8 bits a channel.
pub fn size(path: &Path, bytes: &[u8]) -> Result<[usize; 2]> {
    let (decoder, _) = decoder(path, bytes)?;
    let (width, height) = decoder.dimensions();
    Ok([width as usize, height as usize])
}

/// Decodes an image.
///
/// # Errors
/// As [`size`], and if the compressed data is damaged.
pub fn read(path: &Path) -> Result<Pixels> {
    Ok(decode(path)?.pixels)
}

/// Decodes a file, and says whether its format loses information.
///
/// # Errors
/// As [`read`].
pub fn decode(path: &Path) -> Result<Picture> {
    let bytes = bytes(path)?;
    let (decoder, format) = decoder(path, &bytes)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| damaged(path, &error))?;
    Ok(Picture { pixels: pixels(path, image)?, lossy: format == ImageFormat::Jpeg })
}

fn decoder<'a>(path: &Path, bytes: &'a [u8]) -> Result<(impl ImageDecoder + 'a, ImageFormat)> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Error::io("cannot be read", path, &error).into_kind(ErrorKind::Data))?;
    let known = |format: &ImageFormat| {
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff].contains(format)
    };
    let format = reader.format().filter(known).ok_or_else(|| {
        Error::data("is no PNG, JPEG, BMP or TIFF by its content")
            .with("file", path.display())
            .hint("convert it to PNG")
    })?;
    if !truncation::is_complete(format, bytes) {
        return Err(Error::data(format!("is cut short: the file ends before its {format:?} data does"))
            .with("file", path.display())
            .hint("copy it again from its source"));
    }
    if format == ImageFormat::Tiff {
        check_pages(path, bytes)?;
    }
    let decoder = reader.into_decoder().map_err(|error| damaged(path, &error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(Error::data(format!("has a header that claims {width}x{height} pixels"))
            .with("file", path.display())
            .hint("copy it again from its source, or cut it into parts"));
    }
    check_depth(path, decoder.color_type())?;
    Ok((decoder, format))
}

/// A TIFF may hold several pictures, of which a decoder gives the first.
fn check_pages(path: &Path, bytes: &[u8]) -> Result<()> {
    let decoder = tiff::decoder::Decoder::new(Cursor::new(bytes))
        .map_err(|error| damaged(path, &image::ImageError::IoError(std::io::Error::other(error))))?;
    match decoder.more_images() {
        false => Ok(()),
        true => Err(Error::data("is a TIFF of several pictures, expects one")
            .with("file", path.display())
            .hint("split it, for example with libtiff: `tiffsplit`")),
    }
}

fn check_depth(path: &Path, color: ColorType) -> Result<()> {
    let bits = color.bits_per_pixel() / u16::from(color.channel_count().max(1));
    if bits == 8 {
        return Ok(());
    }
    Err(Error::data(format!("has {bits} bits a channel, expects 8"))
        .with("file", path.display())
        .hint("convert all images of the data set alike, for example with ImageMagick: `mogrify -depth 8 *.png`"))
}

fn damaged(path: &Path, error: &image::ImageError) -> Error {
    Error::data(format!("cannot be decoded: {error}"))
        .with("file", path.display())
        .hint("copy it again from its source or remove it")
}

fn pixels(path: &Path, image: DynamicImage) -> Result<Pixels> {
    let opaque = match &image {
        DynamicImage::ImageLumaA8(gray) => gray.pixels().all(|pixel| pixel.0[1] == u8::MAX),
        DynamicImage::ImageRgba8(color) => color.pixels().all(|pixel| pixel.0[3] == u8::MAX),
        _ => true,
    };
    if !opaque {
        return Err(Error::data("has transparent pixels, whose colour is not defined")
            .with("file", path.display())
            .hint("flatten it onto a background, for example with ImageMagick: `mogrify -background black -alpha remove *.png`"));
    }
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, bytes) = match image.color().has_color() {
        false => (1, image.into_luma8().into_raw()),
        true => (3, image.into_rgb8().into_raw()),
    };
    Ok(Pixels { height, width, channels, bytes: ByteBuf::from(bytes) })
}
