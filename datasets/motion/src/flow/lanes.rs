//! Pixels side by side in a register.

use wide::f32x8;

/// How many.
pub(super) const LANES: usize = 8;

/// How wide rows of `width` pixels are where registers are loaded from them: an even number of registers, the last one beyond the picture,
/// so that a register that begins in the picture ends in the row, even one pixel farther to the right.
pub(super) fn wide(width: usize) -> usize {
    (width + LANES).next_multiple_of(2 * LANES)
}

/// Pixels of a row from `at` on; zeros where they do not fit.
#[inline]
pub(super) fn load(row: &[f32], at: usize) -> f32x8 {
    match row.get(at..).and_then(<[f32]>::first_chunk::<LANES>) {
        Some(lanes) => f32x8::from(*lanes),
        None => f32x8::ZERO,
    }
}

/// Writes to a row from `at` on, where they fit.
#[inline]
pub(super) fn store(lanes: f32x8, row: &mut [f32], at: usize) {
    if let Some(chunk) = row.get_mut(at..).and_then(<[f32]>::first_chunk_mut::<LANES>) {
        *chunk = lanes.to_array();
    }
}
