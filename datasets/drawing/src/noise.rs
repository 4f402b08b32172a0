//! Smooth noise over the plane (K. Perlin, "Improving Noise", SIGGRAPH 2002, in two dimensions) from a random stream.

use std::f64::consts::TAU;

use mimus_core::random::Stream;

use crate::geometry::Point;

const PERIOD: usize = 256;

/// One noise field, a pure function of the stream that made it.
pub struct Noise {
    order: Vec<usize>,
    slopes: Vec<Point>,
}

impl Noise {
    /// A field with period 256 in both directions.
    pub fn new(stream: &mut Stream) -> Self {
        let slope = |_| {
            let (sin, cos) = stream.range(0.0, TAU).sin_cos();
            [cos, sin]
        };
        let slopes = (0..PERIOD).map(slope).collect();
        Self { order: stream.permutation(PERIOD), slopes }
    }

    /// The field at a point, within -1 and 1, zero at whole coordinates, about one bump for each unit of length.
    pub fn at(&self, [x, y]: Point) -> f64 {
        let (left, top) = (x.floor(), y.floor());
        let (u, v) = (x - left, y - top);
        let corner = |dx: f64, dy: f64| {
            let slope = self.slope(left + dx, top + dy);
            slope[0] * (u - dx) + slope[1] * (v - dy)
        };
        let (s, t) = (fade(u), fade(v));
        let above = corner(0.0, 0.0) * (1.0 - s) + corner(1.0, 0.0) * s;
        let below = corner(0.0, 1.0) * (1.0 - s) + corner(1.0, 1.0) * s;
        (above * (1.0 - t) + below * t) * std::f64::consts::SQRT_2
    }

    /// Octaves of the field, each of twice the frequency and half the height, within -2 and 2.
    pub fn octaves(&self, p: Point, count: u8) -> f64 {
        let (mut sum, mut factor) = (0.0, 1.0);
        for _ in 0..count {
            // Shifted by the octave, so that the zeros at whole coordinates do not coincide.
            sum += self.at([p[0] * factor + 17.3 * factor, p[1] * factor - 5.7]) / factor;
            factor *= 2.0;
        }
        sum
    }

    fn slope(&self, x: f64, y: f64) -> Point {
        let wrap = |value: f64| value.rem_euclid(PERIOD as f64) as usize % PERIOD;
        self.slopes[self.order[(self.order[wrap(x)] + wrap(y)) % PERIOD]]
    }
}

fn fade(t: f64) -> f64 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_smooth_and_uses_its_range() {
        let noise = Noise::new(&mut Stream::keyed("noise"));
        let (mut least, mut most) = (0.0f64, 0.0f64);
        for i in 0..20_000 {
            let p = [f64::from(i % 141) * 0.37 - 20.0, f64::from(i / 141) * 0.29 - 300.0];
            let value = noise.at(p);
            assert!((value - noise.at([p[0] + 1e-4, p[1] - 1e-4])).abs() < 1e-3, "jumps at {p:?}");
            assert!(noise.octaves(p, 4).abs() <= 2.0);
            (least, most) = (least.min(value), most.max(value));
        }
        assert!((-1.0..-0.6).contains(&least) && (0.6..=1.0).contains(&most), "from {least} to {most}");
        assert_eq!(noise.at([3.0, -7.0]), 0.0);
    }
}
