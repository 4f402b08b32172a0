//! What the groups look like: the table of designs, and the camera through which each is seen.

use mimus_drawing::geometry::{Point, Rgb};
use mimus_drawing::noise::Noise;

use crate::backdrop;

/// A level camera above flat ground. On the picture x runs to the right from its middle and y down from its top, both in heights of the
/// picture. On the ground, in metres, x runs to the right from the middle of the view and z away from the camera.
pub(crate) struct Camera {
    /// Where on the picture the ground would end, infinitely far away.
    pub(crate) horizon: f64,
    /// Metres above the ground.
    pub(crate) height: f64,
    /// Focal length in heights of the picture.
    pub(crate) focal: f64,
}

impl Camera {
    /// Where a point of the ground is seen, and how large a metre is there.
    pub(crate) fn project(&self, [x, z]: Point) -> (Point, f64) {
        let scale = self.focal / z;
        ([x * scale, self.horizon + self.height * scale], scale)
    }

    /// The point of the ground that is seen at a place below the horizon.
    pub(crate) fn ground(&self, p: Point) -> Point {
        let scale = (p[1] - self.horizon) / self.height;
        [p[0] / scale, self.focal / scale]
    }
}

/// A lane: all who walk in it go the same way.
pub(crate) struct Lane {
    /// Its distance from the camera in the middle of the view, in metres.
    pub(crate) depth: f64,
    /// By how much it gains depth for each metre to the right.
    pub(crate) slope: f64,
    /// 1 to the right, -1 to the left.
    pub(crate) way: f64,
}

/// One group: a place and its lanes.
pub(crate) struct Design {
    /// The group's name.
    pub(crate) name: &'static str,
    /// How it is seen.
    pub(crate) camera: Camera,
    /// The empty scene: its colour at a place of the picture, for pixels of the given side.
    pub(crate) backdrop: fn(&Camera, &Noise, Point, f64) -> Rgb,
    /// Where its people walk.
    pub(crate) lanes: &'static [Lane],
}

/// All groups, in the order of the index.
pub(crate) const DESIGNS: [Design; 2] = [
    Design {
        name: "plaza",
        camera: Camera { horizon: -0.21, height: 4.7, focal: 1.2 },
        backdrop: backdrop::plaza,
        lanes: &[
            Lane { depth: 8.3, slope: 0.05, way: -1.0 },
            Lane { depth: 7.3, slope: 0.05, way: -1.0 },
            Lane { depth: 6.3, slope: -0.05, way: 1.0 },
            Lane { depth: 5.3, slope: -0.05, way: 1.0 },
        ],
    },
    Design {
        name: "corridor",
        camera: Camera { horizon: 0.05, height: 3.0, focal: 1.2 },
        backdrop: backdrop::corridor,
        lanes: &[
            Lane { depth: 6.2, slope: 0.0, way: 1.0 },
            Lane { depth: 5.3, slope: 0.0, way: 1.0 },
            Lane { depth: 4.4, slope: 0.0, way: -1.0 },
        ],
    },
];
