//! Where a defect is: lines, blobs and pieces with exact soft borders.

use std::f64::consts::TAU;

use mimus_core::random::Stream;

use mimus_drawing::geometry::{Point, add, coverage, length, polar, sub, to_box, to_segment, turn};
use mimus_drawing::noise::Noise;

/// A region of the picture.
pub(crate) enum Region {
    /// Along lines.
    Lines(Vec<Line>),
    /// Within a radius of a centre, with a border that strays by the roughness.
    Blob { center: Point, radius: f64, roughness: f64 },
    /// Within a turned rectangle of the given half extents.
    Piece { center: Point, half: Point, angle: f64 },
}

/// A segment whose half width changes from one end to the other.
pub(crate) struct Line {
    ends: [Point; 2],
    half_widths: [f64; 2],
}

impl Region {
    /// A slightly curved line through `middle`.
    pub(crate) fn scratch(middle: Point, size: f64, stream: &mut Stream) -> Self {
        const PIECES: usize = 10;
        let (length, heading) = (size * stream.range(0.35, 0.75), stream.range(0.0, TAU));
        let (bend, half) = (stream.range(-0.8, 0.8), stream.range(0.009, 0.015));
        let at = |i: usize| {
            let t = i as f64 / PIECES as f64 - 0.5;
            add(middle, turn([length * t, bend * length * (t * t - 0.08)], heading))
        };
        let taper = |i: usize| half * (1.0 - (2.0 * i as f64 / PIECES as f64 - 1.0).powi(4));
        Self::Lines(
            (0..PIECES).map(|i| Line { ends: [at(i), at(i + 1)], half_widths: [taper(i), taper(i + 1)] }).collect(),
        )
    }

    /// A jagged line from `start` with a branch half way, both running out thin.
    pub(crate) fn crack(start: Point, size: f64, stream: &mut Stream) -> Self {
        const PIECES: usize = 9;
        let (step, half) = (size * stream.range(0.045, 0.075), stream.range(0.013, 0.021));
        let mut heading = stream.range(0.0, TAU);
        let mut lines = Vec::new();
        let mut at = start;
        let mut grow = |at: Point, heading: &mut f64, from: usize, lines: &mut Vec<Line>| {
            *heading += stream.range(-0.9, 0.9);
            let end = add(at, polar(step, *heading));
            let width = |i: usize| half * (1.0 - i as f64 / PIECES as f64);
            lines.push(Line { ends: [at, end], half_widths: [width(from), width(from + 1)] });
            end
        };
        let mut fork = (at, heading);
        for i in 0..PIECES {
            if i == PIECES / 2 {
                fork = (at, heading + 1.1);
            }
            at = grow(at, &mut heading, i, &mut lines);
        }
        let (mut at, mut heading) = fork;
        for i in PIECES / 2..PIECES - 1 {
            at = grow(at, &mut heading, i, &mut lines);
        }
        Self::Lines(lines)
    }

    /// How much of a pixel at `p` lies inside, from 0 to 1.
    pub(crate) fn inside(&self, noise: &Noise, pixel: f64, p: Point) -> f64 {
        match self {
            Self::Lines(lines) => lines.iter().fold(0.0, |most: f64, line| most.max(line.inside(pixel, p))),
            Self::Blob { center, radius, roughness } => {
                let q = sub(p, *center);
                if length(q) > radius * (1.0 + 2.0 * roughness) + pixel {
                    return 0.0;
                }
                let stray = roughness * noise.octaves([q[0] / radius + 90.0, q[1] / radius + 90.0], 3);
                coverage(length(q) - radius * (1.0 + stray), 1.5 * pixel)
            }
            Self::Piece { center, half, angle } => coverage(to_box(turn(sub(p, *center), -angle), *half), pixel),
        }
    }
}

impl Line {
    /// Never thinner than a pixel, so that it is to be seen at any resolution.
    fn inside(&self, pixel: f64, p: Point) -> f64 {
        let (distance, t) = to_segment(p, self.ends[0], self.ends[1]);
        let half = self.half_widths[0] + (self.half_widths[1] - self.half_widths[0]) * t;
        coverage(distance - half.max(0.5 * pixel), pixel)
    }
}
