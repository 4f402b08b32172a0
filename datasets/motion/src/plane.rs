//! Gray pictures, and planes of one number for each pixel.

use mimus_core::plugin::Pixels;
use mimus_core::{Error, Result};
use rayon::prelude::*;

/// One number for each pixel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

/// How many rows of `width` numbers a thread takes at least: for fewer it is not worth waking.
pub(crate) fn rows(width: usize) -> usize {
    8192_usize.div_ceil(width)
}

impl Plane {
    /// Fills rows on all threads: `fill(y, row)`. What a row holds depends on nothing but `y`, so the number of threads changes no bit.
    pub(crate) fn by_rows(height: usize, width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let mut values = vec![0.0; height * width];
        values.par_chunks_mut(width).enumerate().with_min_len(rows(width)).for_each(|(y, row)| fill(y, row));
        Self { height, width, values }
    }

    /// Row `y`.
    pub(crate) fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.width..(y + 1) * self.width]
    }

    /// The row `by` rows away from row `y`; the first and last row go on beyond the border.
    pub(crate) fn near(&self, y: usize, by: isize) -> &[f32] {
        self.row(y.saturating_add_signed(by).min(self.height - 1))
    }

    /// The value at a position between pixels (the middle of the first is 0, 0), linear in both directions; the border goes on outside.
    #[inline]
    pub(crate) fn between(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x.clamp(0.0, (self.width - 1) as f32), y.clamp(0.0, (self.height - 1) as f32));
        let (left, top) = (x as usize, y as usize);
        let (u, v) = (x - left as f32, y - top as f32);
        let right = (left + 1).min(self.width - 1);
        let (above, below) = (self.row(top), self.near(top, 1));
        let above = above[left] + u * (above[right] - above[left]);
        above + v * (below[left] + u * (below[right] - below[left]) - above)
    }
}

/// A gray picture: levels from 0 to 255, which need not be whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Gray(pub(crate) Plane);

impl Gray {
    /// A picture of `values`, `[H, W]` row by row.
    ///
    /// # Errors
    /// If there are not `height * width` of them, none at all, or one is not from 0 to 255.
    pub fn new(height: usize, width: usize, values: Vec<f32>) -> Result<Self> {
        if height.checked_mul(width) != Some(values.len()) || values.is_empty() {
            return Err(Error::data(format!("{} values are no picture of {height} x {width} pixels", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !(0.0..=255.0).contains(value)) {
            let value = values.get(at).copied().unwrap_or(f32::NAN);
            return Err(Error::data(format!("the level of a pixel is {value}, not from 0 to 255"))
                .with("pixel", format!("{} {}", at / width, at % width)));
        }
        Ok(Self(Plane { height, width, values }))
    }

    /// The brightness of a decoded picture: of colours, by the weights of ITU-R BT.601 (0.299 red, 0.587 green, 0.114 blue).
    ///
    /// # Errors
    /// If the picture has neither 1 nor 3 channels, or not as many bytes as it says.
    pub fn of(pixels: &Pixels) -> Result<Self> {
        let values: Vec<f32> = match pixels.channels {
            1 => pixels.bytes.iter().copied().map(f32::from).collect(),
            3 => {
                let luma = |[r, g, b]: &[u8; 3]| 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b);
                pixels.bytes.as_chunks::<3>().0.iter().map(|color| luma(color).min(255.0)).collect()
            }
            channels => return Err(Error::data(format!("a picture of {channels} channels has no brightness"))),
        };
        if values.len() * pixels.channels != pixels.bytes.len() {
            return Err(Error::data(format!("{} bytes are no pixels of 3 channels", pixels.bytes.len())));
        }
        Self::new(pixels.height, pixels.width, values)
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.0.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.0.width
    }

    /// The levels, row by row.
    pub fn values(&self) -> &[f32] {
        &self.0.values
    }
}

/// Refuses pictures of different sizes.
pub(crate) fn same_size(first: &Gray, second: &Gray) -> Result<()> {
    let size = |gray: &Gray| [gray.height(), gray.width()];
    if size(first) == size(second) {
        return Ok(());
    }
    let [[a, b], [c, d]] = [size(first), size(second)];
    Err(Error::data(format!("one frame has {a} x {b} pixels, its neighbour {c} x {d}"))
        .hint("frames of a video must be of one size"))
}
