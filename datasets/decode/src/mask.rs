//! Pictures that mark anomalous pixels.

use std::path::Path;

use mimus_core::plugin::{Options, Pixels};
use mimus_core::{Error, Result};
use serde_bytes::ByteBuf;

use crate::Picture;

/// Lossy compression leaves small values around regions: a JPEG mask is anomalous from here on.
const LOSSY_THRESHOLD: u8 = 128;

/// What the option `masks` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskPolicy {
    /// All anomalous samples have masks, or none has.
    Auto,
    /// All anomalous samples have masks.
    Required,
    /// Masks are not looked at.
    Ignore,
}

impl MaskPolicy {
    /// The option's words, in the order of the variants.
    pub const WORDS: [&str; 3] = ["auto", "required", "ignore"];

    /// The policy that the option `masks` names.
    ///
    /// # Errors
    /// If there is no such option.
    pub fn of(options: &Options) -> Result<Self> {
        Ok(match options.text("masks")? {
            "required" => Self::Required,
            "ignore" => Self::Ignore,
            _ => Self::Auto,
        })
    }
}

/// Decodes a mask: one byte a pixel, 1 where any channel is not zero (in a JPEG: from 128 on). `image` is the file that it belongs to,
/// decoded as `pixels`.
///
/// # Errors
/// If it cannot be decoded, or has another size than its image.
pub fn mask(path: &Path, image: &Path, pixels: &Pixels) -> Result<ByteBuf> {
    let Picture { pixels: mask, lossy } = crate::decode(path)?;
    check_mask_size(path, [mask.width, mask.height], image, [pixels.width, pixels.height])?;
    let least = if lossy { LOSSY_THRESHOLD } else { 1 };
    let anomalous = |pixel: &[u8]| u8::from(pixel.iter().any(|value| *value >= least));
    Ok(ByteBuf::from(mask.bytes.chunks_exact(mask.channels).map(anomalous).collect::<Vec<u8>>()))
}

/// Whether a mask covers its image; sizes are `[width, height]`.
///
/// # Errors
/// If it does not.
pub fn check_mask_size(mask: &Path, mask_size: [usize; 2], image: &Path, image_size: [usize; 2]) -> Result<()> {
    if mask_size == image_size {
        return Ok(());
    }
    let text = |[width, height]: [usize; 2]| format!("{width}x{height}");
    Err(Error::data(format!("is a mask of {} pixels, but its image has {}", text(mask_size), text(image_size)))
        .with("file", mask.display())
        .hint(format!(
            "resize the mask to {} by nearest neighbour; its image is {}",
            text(image_size),
            image.display()
        )))
}
