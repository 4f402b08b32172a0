//! What the groups look like: the table of designs.

use crate::{object, texture};
use mimus_drawing::geometry::{Point, Rgb};
use mimus_drawing::noise::Noise;

/// One group: how its surface looks, and how freely a sample lies before the camera.
pub(crate) struct Design {
    /// The group's name.
    pub(crate) name: &'static str,
    /// The colour at a point of the sample.
    pub(crate) surface: fn(&Detail<'_>, Point) -> Surface,
    /// What is behind an object; `None` for a texture, which fills the picture.
    pub(crate) background: Option<Rgb>,
    /// Greatest rotation to either side, in radians.
    pub(crate) turn: f64,
    /// Greatest shift in x and y.
    pub(crate) shift: f64,
}

/// All groups, in the order of the index.
pub(crate) const DESIGNS: [Design; 6] = [
    Design { name: "weave", surface: texture::weave, background: None, turn: 0.06, shift: 1.0 },
    Design { name: "marble", surface: texture::marble, background: None, turn: 0.4, shift: 1.0 },
    Design { name: "wood", surface: texture::wood, background: None, turn: 0.05, shift: 1.0 },
    Design { name: "gear", surface: object::gear, background: Some([0.33, 0.35, 0.41]), turn: 0.7, shift: 0.04 },
    Design { name: "bolt", surface: object::bolt, background: Some([0.33, 0.37, 0.43]), turn: 0.16, shift: 0.055 },
    Design {
        name: "capsule",
        surface: object::capsule,
        background: Some([0.48, 0.53, 0.60]),
        turn: 0.22,
        shift: 0.055,
    },
];

/// What makes one sample differ from the next.
pub(crate) struct Detail<'a> {
    /// Irregularities.
    pub(crate) noise: &'a Noise,
    /// Side of a pixel, the width of a soft edge.
    pub(crate) pixel: f64,
    /// From -1 to 1: proportions and colours.
    pub(crate) whim: [f64; 3],
}

/// What is to be seen at a point.
pub(crate) struct Surface {
    /// Its colour.
    pub(crate) color: Rgb,
    /// 1 on the object, 0 beside it, between on its edge.
    pub(crate) cover: f64,
}
