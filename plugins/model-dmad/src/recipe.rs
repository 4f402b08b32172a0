//! What differs between the published trainings.

use mimus_core::plugin::Color;

/// A training of the official code.
pub(super) struct Recipe {
    /// How frames are read; one channel is repeated to the three that the network has.
    pub(super) color: Color,
    /// Names of what squeezes the last level but one, and the last.
    pub(super) skips: [&'static str; 2],
    /// Strides of the convolutions that estimate the coarse offsets.
    pub(super) strides: [usize; 3],
    /// How far coarse and fine offsets reach, in pixels.
    pub(super) reach: [f64; 2],
    /// Kernels, height and width, whose mean an offset is compared with: of the coarse and of the fine offsets.
    pub(super) kernels: [&'static [[usize; 2]]; 2],
    /// Weight of the gradient loss of what is deformed once.
    pub(super) coarse_gradient: f64,
    /// Weight of the offsets' length.
    pub(super) length: f64,
    /// Height and width of the window over whose mean the largest offset is found.
    pub(super) window: [usize; 2],
    /// Whether a frame's error is that of squares; else it is the absolute one.
    pub(super) squares: bool,
}

/// Weight of the offsets' smoothness, and part of that of their length.
pub(super) const OFFSETS: f64 = 0.25;

/// For UCSD Ped2, as the official code was last changed: it smooths along each axis.
pub(super) const PED2: Recipe = Recipe {
    color: Color::Bgr,
    skips: ["skip", "skip_"],
    strides: [1, 2, 2],
    reach: [2.0, 3.0],
    kernels: [&[[1, 7], [7, 1]], &[[1, 3], [3, 1]]],
    coarse_gradient: 0.25,
    length: 0.4 * OFFSETS,
    window: [7, 18],
    squares: false,
};

/// For CUHK Avenue.
pub(super) const AVENUE: Recipe = Recipe {
    color: Color::Gray,
    skips: ["skip2", "skip3"],
    strides: [2, 2, 1],
    reach: [3.0, 3.0],
    kernels: [&[[7, 7]], &[[3, 3]]],
    coarse_gradient: 1.0,
    length: OFFSETS,
    window: [6, 18],
    squares: true,
};
