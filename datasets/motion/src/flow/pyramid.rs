//! Levels of half the size, and what the search needs of one.

use crate::plane::Plane;

/// The two frames of a level.
pub(super) struct Pair {
    pub(super) first: Plane,
    pub(super) second: Plane,
    /// Derivatives of the first, to the right and down.
    pub(super) slopes: [Plane; 2],
}

impl Pair {
    pub(super) fn new(first: Plane, second: Plane) -> Self {
        let (height, width) = (first.height, first.width);
        let right = Plane::by_rows(height, width, |y, row| {
            let from = first.row(y);
            for (x, value) in row.iter_mut().enumerate() {
                *value = 0.5 * (from[(x + 1).min(width - 1)] - from[x.saturating_sub(1)]);
            }
        });
        let down = Plane::by_rows(height, width, |y, row| {
            for ((value, below), above) in row.iter_mut().zip(first.near(y, 1)).zip(first.near(y, -1)) {
                *value = 0.5 * (below - above);
            }
        });
        Self { first, second, slopes: [right, down] }
    }
}

/// Each pixel the mean of four; of odd sizes the last row and column count twice.
pub(super) fn halved(plane: &Plane) -> Plane {
    Plane::by_rows(plane.height.div_ceil(2), plane.width.div_ceil(2), |y, row| {
        let (above, below) = (plane.row(2 * y), plane.near(2 * y, 1));
        for (x, value) in row.iter_mut().enumerate() {
            let (left, right) = (2 * x, (2 * x + 1).min(plane.width - 1));
            *value = 0.25 * (above[left] + above[right] + below[left] + below[right]);
        }
    })
}

/// A component of the flow of the next coarser level, in pixels of a level of `height` x `width`.
pub(super) fn enlarged(plane: &Plane, height: usize, width: usize) -> Plane {
    Plane::by_rows(height, width, |y, row| {
        for (x, value) in row.iter_mut().enumerate() {
            // The middle of a pixel of the coarser level lies between four of the finer one.
            *value = 2.0 * plane.between(0.5 * x as f32 - 0.25, 0.5 * y as f32 - 0.25);
        }
    })
}
