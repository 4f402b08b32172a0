//! A flow as it is stored.

use mimus_core::{Error, Result};

use crate::plane::Plane;

/// Steps of computed flow in pixels: 1/64.
pub const UNIT: f32 = 1.0 / 64.0;

/// A displacement for each pixel: `[2, H, W]`, to the right and down, in pixels.
///
/// Computed flow ([`super::between`]) is *defined* as rounded to whole multiples of [`UNIT`], below 512 pixels either way, so that
/// [`Self::units`] holds it exactly in 16 bits; flow from files is what the files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Flow {
    /// A flow of `values`, `[2, H, W]`.
    ///
    /// # Errors
    /// If there are not `2 * height * width` of them, none at all, or one is not finite.
    pub fn new(height: usize, width: usize, values: Vec<f32>) -> Result<Self> {
        let count = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(2));
        if count != Some(values.len()) || values.is_empty() {
            return Err(Error::data(format!("{} values are no flow of {height} x {width} pixels", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let pixel = at % (height * width);
            return Err(Error::data("the displacement of a pixel is not a finite number")
                .with("pixel", format!("{} {}", pixel / width, pixel % width)));
        }
        Ok(Self { height, width, values })
    }

    /// A flow from its components.
    pub(super) fn of(x: &Plane, y: &Plane) -> Result<Self> {
        Self::new(x.height, x.width, x.values.iter().chain(&y.values).copied().collect())
    }

    /// The nearest flow of whole multiples of [`UNIT`], as [`Self::units`] holds it.
    ///
    /// # Errors
    /// If a displacement is not below 512 pixels.
    pub fn rounded(mut self) -> Result<Self> {
        self.values.iter_mut().for_each(|value| *value = (*value / UNIT).round() * UNIT);
        self.units()?;
        Ok(self)
    }

    /// A flow from whole multiples of [`UNIT`], `[2, H, W]`: what [`Self::units`] gave.
    ///
    /// # Errors
    /// If there are not `2 * height * width` of them, or none at all.
    pub fn from_units(height: usize, width: usize, units: &[i16]) -> Result<Self> {
        Self::new(height, width, units.iter().map(|unit| f32::from(*unit) * UNIT).collect())
    }

    /// The values in whole multiples of [`UNIT`], exactly.
    ///
    /// # Errors
    /// If one is none, or does not fit into 16 bits: of computed flow, never.
    pub fn units(&self) -> Result<Vec<i16>> {
        let unit = |value: &f32| {
            let units = value / UNIT;
            let whole = units as i16;
            (f32::from(whole) == units).then_some(whole).ok_or_else(|| {
                Error::data(format!(
                    "a displacement of {value} pixels is no whole number of 1/64 pixel below 512 pixels"
                ))
            })
        };
        self.values.iter().map(unit).collect()
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[2, H, W]`: how far to the right, then how far down, in pixels.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How far pixel `i`, row by row, moves to the right and down; `None` outside of the picture.
    pub fn at(&self, i: usize) -> Option<[f32; 2]> {
        let (x, y) = self.values.split_at(self.height * self.width);
        Some([*x.get(i)?, *y.get(i)?])
    }
}
