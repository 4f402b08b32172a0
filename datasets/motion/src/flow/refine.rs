//! Lowers an energy from a first guess: section 2.2 of the paper, after Brox, Bruhn, Papenberg and Weickert (ECCV 2004).
//!
//! The energy has four terms, all robust (close to absolute values): brightness stays as it is, so do its derivatives, neighbours move
//! alike, less so across an edge of the picture, and things rest. The first two are divided by their slopes and so measured in pixels. The
//! last is weak, and for cameras that stand still: beside somebody who walks before a plain wall, nothing else says that the wall does not.
//!
//! Each turn warps the second frame by what is known, makes the energy quadratic there, and relaxes the linear equations.

use wide::f32x8;

use super::lanes::{LANES, load, store, wide};
use super::pyramid::Pair;
use super::relax::{ABOVE, BELOW, COMMON, EASE, Equations, LEFT, PULL, RIGHT, Row};
use crate::plane::Plane;

/// Turns at each level.
const TURNS: usize = 4;
/// Weights of brightness, of its derivatives, of smoothness, and of rest.
const BRIGHTNESS: f32 = 5.0;
const SLOPES: f32 = 10.0;
const SMOOTH: f32 = 40.0;
const REST: f32 = 2.0;
/// Slopes below this, in levels for each pixel, say little: noise has them too.
const NOISE: f32 = 8.0;
/// Levels of difference between neighbours over which smoothness falls to 1/e.
const EDGE: f32 = 20.0;
/// Below this, in pixels, the robust terms are quadratic.
const ROUND: f32 = 0.05;

/// Refines a flow.
///
/// All planes but the frames have wide rows. Beyond the picture they hold whatever comes out: no weight leads from there into the picture.
pub(super) fn refined(pair: &Pair, flow: &[Plane; 2]) -> [Plane; 2] {
    let edges = Edges::of(&pair.first);
    let width = pair.first.width;
    let flow = flow.each_ref().map(|plane| resized(plane, wide(width)));
    let flow = (0..TURNS).fold(flow, |flow, _| equations(pair, &edges, &flow).relaxed(&flow));
    flow.each_ref().map(|plane| resized(plane, width))
}

/// A plane of other rows: cut off, or with zeros at their end.
fn resized(plane: &Plane, width: usize) -> Plane {
    Plane::by_rows(plane.height, width, |y, row| {
        row.iter_mut().zip(plane.row(y)).for_each(|(value, from)| *value = *from);
    })
}

/// How much neighbours to the right and below should move alike, by the picture.
struct Edges {
    right: Plane,
    below: Plane,
}

impl Edges {
    fn of(plane: &Plane) -> Self {
        let weight = |a: f32, b: f32| SMOOTH * (-(a - b).abs() / EDGE).exp();
        let (height, width) = (plane.height, wide(plane.width));
        let right = Plane::by_rows(height, width, |y, row| {
            let from = plane.row(y);
            row.iter_mut().zip(from.windows(2)).for_each(|(value, pair)| *value = weight(pair[0], pair[1]));
        });
        let below = Plane::by_rows(height, width, |y, row| {
            if y + 1 < height {
                let pairs = plane.row(y).iter().zip(plane.row(y + 1));
                row.iter_mut().zip(pairs).for_each(|(value, (a, b))| *value = weight(*a, *b));
            }
        });
        Self { right, below }
    }
}

/// The derivative of a robust term by the square of what it is of.
fn robust(square: f32x8) -> f32x8 {
    f32x8::ONE / (square + ROUND * ROUND).sqrt()
}

/// Half the sum of the frames, and how the second differs from the first, as it looks from there; with a pixel more on the left and on the
/// right, which repeat the border.
fn joined(pair: &Pair, flow: &[Plane; 2]) -> [Plane; 2] {
    let (height, width) = (pair.first.height, pair.first.width);
    let warped = Plane::by_rows(height, width, |y, row| {
        for (x, (value, (u, v))) in row.iter_mut().zip(flow[0].row(y).iter().zip(flow[1].row(y))).enumerate() {
            *value = pair.second.between(x as f32 + u, y as f32 + v);
        }
    });
    let bordered = |join: fn(f32, f32) -> f32| {
        Plane::by_rows(height, wide(width + 2), |y, row| {
            let inner = row[1..=width].iter_mut().zip(pair.first.row(y).iter().zip(warped.row(y)));
            inner.for_each(|(value, (a, b))| *value = join(*a, *b));
            (row[0], row[width + 1]) = (row[1], row[width]);
        })
    };
    [bordered(|a, b| 0.5 * (a + b)), bordered(|a, b| b - a)]
}

/// How stiffly a pixel holds its neighbours: less where the flow jumps.
fn stiffness(flow: &[Plane; 2], width: usize) -> Plane {
    Plane::by_rows(flow[0].height, flow[0].width, |y, out| {
        let rows = flow.each_ref().map(|plane| (plane.row(y), plane.near(y, 1)));
        let square = |a: f32x8, b: f32x8| (a - b) * (a - b);
        for x in (0..out.len()).step_by(LANES) {
            let squares = rows.map(|(row, below)| {
                let here = load(row, x);
                (square(load(row, x + 1), here), square(load(below, x), here))
            });
            store(robust((squares[0].0 + squares[0].1) + (squares[1].0 + squares[1].1)), out, x);
        }
        // The last pixel has nothing to its right.
        let steps = rows.map(|(row, below)| (below[width - 1] - row[width - 1]).powi(2));
        out[width - 1] = 1.0 / (steps[0] + steps[1] + ROUND * ROUND).sqrt();
    })
}

/// The equations around a flow.
fn equations(pair: &Pair, edges: &Edges, flow: &[Plane; 2]) -> Equations {
    let (height, width) = (pair.first.height, pair.first.width);
    let [mean, change] = joined(pair, flow);
    let stiff = stiffness(flow, width);
    Equations::by_rows(height, wide(width), |y, out| {
        sides(edges, &stiff, y, out);
        let (mean, change) = (Around::of(&mean, y), Around::of(&change, y));
        let [last, bottom] = [width, height].map(|side| (side - 1) as f32);
        for x in (0..wide(width)).step_by(LANES) {
            let by = [0, 1].map(|axis| load(flow[axis].row(y), x));
            let [to_right, to_below] = [f32x8::from(STEPS) + x as f32 + by[0], by[1] + y as f32];
            let inside = |at: f32x8, last: f32| at.simd_ge(f32x8::ZERO) & at.simd_le(f32x8::splat(last));
            let seen = inside(to_right, last) & inside(to_below, bottom);
            let said = said(&mean, &change, x, by).map(|value| value & seen);
            let hold = (out.load(LEFT, x) + out.load(RIGHT, x)) + (out.load(ABOVE, x) + out.load(BELOW, x));
            let hold = hold + robust(by[0] * by[0] + by[1] * by[1]) * REST;
            out.store(EASE[0], x, f32x8::ONE / (said[0] + hold));
            out.store(EASE[1], x, f32x8::ONE / (said[1] + hold));
            out.store(COMMON, x, said[2]);
            out.store(PULL[0], x, said[3]);
            out.store(PULL[1], x, said[4]);
        }
    })
}

/// Positions in a register.
const STEPS: [f32; LANES] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];

/// The weights of the neighbours of the pixels of row `y`; 0 where there is none.
fn sides(edges: &Edges, stiff: &Plane, y: usize, out: &mut Row) {
    let weight = |edge: f32x8, here: f32x8, there: f32x8| edge * (here + there) * 0.5;
    let (here, above, below) = (stiff.row(y), stiff.near(y, -1), stiff.near(y, 1));
    let edge_above = if y > 0 { edges.below.row(y - 1) } else { &[] };
    for x in (0..here.len()).step_by(LANES) {
        let stiff = load(here, x);
        out.store(RIGHT, x, weight(load(edges.right.row(y), x), stiff, load(here, x + 1)));
        out.store(ABOVE, x, weight(load(edge_above, x), stiff, load(above, x)));
        out.store(BELOW, x, weight(load(edges.below.row(y), x), stiff, load(below, x)));
    }
    out.shift(RIGHT, LEFT);
}

/// A row of a plane of [`joined`], with the rows above and below.
struct Around<'a>([&'a [f32]; 3]);

impl<'a> Around<'a> {
    fn of(plane: &'a Plane, y: usize) -> Self {
        Self([-1, 0, 1].map(|by| plane.near(y, by)))
    }

    /// The row `row` of the three, `by` pixels less one to the right of `x`.
    fn at(&self, row: usize, x: usize, by: usize) -> f32x8 {
        load(self.0[row], x + by)
    }

    /// Derivatives to the right and down.
    fn slopes(&self, x: usize) -> [f32x8; 2] {
        [(self.at(1, x, 2) - self.at(1, x, 0)) * 0.5, (self.at(2, x, 1) - self.at(0, x, 1)) * 0.5]
    }

    /// Second derivatives: xx, xy, yy.
    fn curvature(&self, x: usize) -> [f32x8; 3] {
        let twice = self.at(1, x, 1) * 2.0;
        let xy = ((self.at(2, x, 2) - self.at(2, x, 0)) - (self.at(0, x, 2) - self.at(0, x, 0))) * 0.25;
        [self.at(1, x, 0) - twice + self.at(1, x, 2), xy, self.at(0, x, 1) - twice + self.at(2, x, 1)]
    }
}

/// What the frames say at pixels that move `by`: weights of right and down, what they have in common, and pulls right and down.
fn said(mean: &Around<'_>, change: &Around<'_>, at: usize, by: [f32x8; 2]) -> [f32x8; 5] {
    let ([x, y], [xx, xy, yy], [dx, dy]) = (mean.slopes(at), mean.curvature(at), change.slopes(at));
    // Each says: a step so far to the right and so far down makes up for such a difference. Brightness, then its derivatives.
    let says = [[x, y, change.at(1, at, 1)], [xx, xy, dx], [xy, yy, dy]];
    let scales = says.map(|[a, b, _]| f32x8::ONE / (a * a + b * b + NOISE * NOISE));
    let [brightness, right, down] = [0, 1, 2].map(|i| says[i][2] * says[i][2] * scales[i]);
    let slopes = robust(right + down) * SLOPES;
    let weights = [robust(brightness) * BRIGHTNESS, slopes, slopes];
    let mut sums = [f32x8::ZERO; 5];
    for (([a, b, off], scale), weight) in says.into_iter().zip(scales).zip(weights) {
        let weight = weight * scale;
        // The pull is for the whole displacement, not for its change.
        let whole = a * by[0] + b * by[1] - off;
        let terms = [a * a, b * b, a * b, a * whole, b * whole];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += weight * term);
    }
    sums
}
