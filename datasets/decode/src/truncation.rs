//! Finds files that were cut short by walking their structure, without decoding.
//!
//! Decoders fill the missing part of a truncated JPEG with gray instead of failing, so that it would look like an anomaly.

use image::ImageFormat;

/// Whether a file goes on to its format's end mark. A BMP has none: its decoder reports missing rows.
pub(crate) fn is_complete(format: ImageFormat, bytes: &[u8]) -> bool {
    match format {
        ImageFormat::Png => png_ends(bytes).is_some(),
        ImageFormat::Jpeg => jpeg_ends(bytes).is_some(),
        _ => true,
    }
}

/// Chunks of length, name, data and checksum after the 8-byte signature, until `IEND` (PNG specification, section 5.3).
fn png_ends(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(rest.first_chunk().copied()?) as usize;
        let name = rest.get(4..8)?;
        let end = length.checked_add(12)?;
        rest.get(..end)?;
        if name == b"IEND" {
            return Some(());
        }
        rest = rest.get(end..)?;
    }
}

/// Marker segments after the start mark, some followed by entropy-coded data, until the end mark (ITU T.81, annex B).
fn jpeg_ends(bytes: &[u8]) -> Option<()> {
    const END: u8 = 0xD9;
    let mut rest = bytes.get(2..)?;
    loop {
        let marker = next_marker(rest)? + 1;
        if rest.get(marker) == Some(&END) {
            return Some(());
        }
        let segment = rest.get(marker + 1..)?;
        rest = segment.get(usize::from(u16::from_be_bytes(segment.first_chunk().copied()?))..)?;
    }
}

/// Where the next marker starts: stuffed zeros and restart marks belong to entropy-coded data, a repeated 0xFF is filling.
fn next_marker(data: &[u8]) -> Option<usize> {
    data.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF))
}
