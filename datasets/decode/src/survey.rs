//! One look at a picture's file: its hash for fingerprints, and its size by its header.

use std::path::Path;

use mimus_core::Result;
use sha2::{Digest, Sha256};

/// What one look at a file says.
pub struct Seen {
    /// SHA-256 of its content.
    pub digest: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

/// Reads a file once.
///
/// # Errors
/// If it cannot be read, or is no usable picture by its header.
pub fn look(path: &Path) -> Result<Seen> {
    let bytes = crate::bytes(path)?;
    Ok(Seen { digest: Sha256::digest(&bytes).into(), bytes: bytes.len() as u64, size: crate::size(path, &bytes)? })
}

/// Two digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
