//! Lowers an energy from a first guess: section 2.2 of the paper, after Brox, Bruhn, Papenberg and Weickert (ECCV 2004).
//!
//! The energy has four terms, all robust (close to absolute values): brightness stays as it is, so do its derivatives, neighbours move
//! alike, less so across an edge of the picture, and things rest. The first two are divided by their slopes and so measured in pixels. The
//! last is weak, and for cameras that stand still: beside somebody who walks before a plain wall, nothing else says that the wall does not.
//!
//! Each turn warps the second frame by what is known, makes the energy quadratic there, and relaxes the linear equations (successive
//! over-relaxation) by rows: even rows read odd ones, then odd rows read even ones, so that the order of the threads does not matter.

use rayon::prelude::*;

use super::pyramid::Pair;
use crate::plane::Plane;

/// Turns at each level, and sweeps over the equations in each turn.
const TURNS: usize = 5;
const SWEEPS: usize = 5;
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
/// How far beyond its equation's solution a sweep goes.
const RELAX: f32 = 1.6;

/// The equations of a pixel: its displacement is what pulls at it, over what holds it.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// One over the sum of all weights, for x and y.
    ease: [f32; 2],
    /// What x and y have in common.
    common: f32,
    /// What the frames say.
    pull: [f32; 2],
    /// Weights of the neighbours to the left, to the right, above and below.
    sides: [f32; 4],
}

/// Refines a flow.
pub(super) fn refined(pair: &Pair, flow: [Plane; 2]) -> [Plane; 2] {
    let (height, width) = (pair.first.height, pair.first.width);
    let edges = Edges::of(&pair.first);
    let mut flow = flow;
    for _ in 0..TURNS {
        let cells = cells(pair, &edges, &flow);
        let mut halves = [0, 1].map(|parity| {
            let rows = (parity..height).step_by(2);
            let pairs = rows.flat_map(|y| flow[0].row(y).iter().zip(flow[1].row(y)).map(|(x, y)| [*x, *y]));
            pairs.collect::<Vec<[f32; 2]>>()
        });
        for _ in 0..SWEEPS {
            let [even, odd] = &mut halves;
            sweep(&cells, width, 0, even, odd);
            sweep(&cells, width, 1, odd, even);
        }
        flow = [0, 1].map(|axis| {
            Plane::by_rows(height, width, |y, row| {
                let from = &halves[y % 2][y / 2 * width..][..width];
                row.iter_mut().zip(from).for_each(|(value, pair)| *value = pair[axis]);
            })
        });
    }
    flow
}

/// One relaxation of every second row.
fn sweep(cells: &[Cell], width: usize, parity: usize, own: &mut [[f32; 2]], other: &[[f32; 2]]) {
    own.par_chunks_mut(width).enumerate().for_each(|(k, row)| {
        let cells = &cells[(2 * k + parity) * width..][..width];
        let near = |k: usize| other.get(k * width..(k + 1) * width);
        let (above, below) =
            if parity == 0 { (k.checked_sub(1).and_then(near), near(k)) } else { (near(k), near(k + 1)) };
        // Where there is no such row its weight is 0.
        let (above, below) = (above.or(below).unwrap_or_default(), below.or(above).unwrap_or_default());
        let mut left = [0.0; 2];
        for x in 0..width {
            let (cell, now) = (&cells[x], row[x]);
            let right = row.get(x + 1).copied().unwrap_or_default();
            let next = |axis: usize, across: f32| {
                let [a, b, c, d] = cell.sides;
                let rows =
                    above.get(x).map_or(0.0, |pair| c * pair[axis]) + below.get(x).map_or(0.0, |pair| d * pair[axis]);
                let pull = cell.pull[axis] - cell.common * across + b * right[axis] + rows + a * left[axis];
                now[axis] + RELAX * (pull * cell.ease[axis] - now[axis])
            };
            let first = next(0, now[1]);
            left = [first, next(1, first)];
            row[x] = left;
        }
    });
}

/// How much neighbours to the right and below should move alike, by the picture.
struct Edges {
    right: Plane,
    below: Plane,
}

impl Edges {
    fn of(plane: &Plane) -> Self {
        let weight = |a: f32, b: f32| SMOOTH * (-(a - b).abs() / EDGE).exp();
        let (height, width) = (plane.height, plane.width);
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
fn robust(square: f32) -> f32 {
    1.0 / (square + ROUND * ROUND).sqrt()
}

/// The second frame as it looks from the first.
fn warped(second: &Plane, flow: &[Plane; 2]) -> Plane {
    Plane::by_rows(second.height, second.width, |y, row| {
        for (x, (value, (u, v))) in row.iter_mut().zip(flow[0].row(y).iter().zip(flow[1].row(y))).enumerate() {
            *value = second.between(x as f32 + u, y as f32 + v);
        }
    })
}

/// How stiffly a pixel holds its neighbours: less where the flow jumps.
fn stiffness(flow: &[Plane; 2]) -> Plane {
    let (height, width) = (flow[0].height, flow[0].width);
    Plane::by_rows(height, width, |y, row| {
        let rows = flow.each_ref().map(|plane| (plane.row(y), plane.near(y, 1)));
        for (x, value) in row.iter_mut().enumerate() {
            let right = (x + 1).min(width - 1);
            let squares = rows.map(|(row, below)| (row[right] - row[x]).powi(2) + (below[x] - row[x]).powi(2));
            *value = robust(squares[0] + squares[1]);
        }
    })
}

/// The equations around a flow.
fn cells(pair: &Pair, edges: &Edges, flow: &[Plane; 2]) -> Vec<Cell> {
    let (height, width) = (pair.first.height, pair.first.width);
    let warped = warped(&pair.second, flow);
    let join = |join: fn(f32, f32) -> f32| {
        Plane::by_rows(height, width, |y, row| {
            let pairs = pair.first.row(y).iter().zip(warped.row(y));
            row.iter_mut().zip(pairs).for_each(|(value, (a, b))| *value = join(*a, *b));
        })
    };
    let (mean, change) = (join(|a, b| 0.5 * (a + b)), join(|a, b| b - a));
    let stiff = stiffness(flow);
    let mut cells = vec![Cell::default(); height * width];
    cells.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
        for (x, cell) in row.iter_mut().enumerate() {
            let by = [flow[0].row(y)[x], flow[1].row(y)[x]];
            let inside = |at: f32, side: usize| (0.0..=(side - 1) as f32).contains(&at);
            if inside(x as f32 + by[0], width) && inside(y as f32 + by[1], height) {
                *cell = data(&Around::at(&mean, x, y), &Around::at(&change, x, y), by);
            }
            let here = stiff.row(y)[x];
            let side = |edge: f32, there: f32| 0.5 * edge * (here + there);
            cell.sides = [
                if x > 0 { side(edges.right.row(y)[x - 1], stiff.row(y)[x - 1]) } else { 0.0 },
                if x + 1 < width { side(edges.right.row(y)[x], stiff.row(y)[x + 1]) } else { 0.0 },
                if y > 0 { side(edges.below.row(y - 1)[x], stiff.row(y - 1)[x]) } else { 0.0 },
                if y + 1 < height { side(edges.below.row(y)[x], stiff.row(y + 1)[x]) } else { 0.0 },
            ];
            let hold: f32 = cell.sides.iter().sum();
            let rest = REST * robust(by[0] * by[0] + by[1] * by[1]);
            cell.ease = cell.ease.map(|weight| 1.0 / (weight + hold + rest));
        }
    });
    cells
}

/// A pixel with its eight neighbours.
struct Around([[f32; 3]; 3]);

impl Around {
    fn at(plane: &Plane, x: usize, y: usize) -> Self {
        let columns = [x.saturating_sub(1), x, (x + 1).min(plane.width - 1)];
        Self([-1, 0, 1].map(|by| {
            let row = plane.near(y, by);
            columns.map(|x| row[x])
        }))
    }

    /// Derivatives to the right and down.
    fn slopes(&self) -> [f32; 2] {
        let [above, row, below] = &self.0;
        [0.5 * (row[2] - row[0]), 0.5 * (below[1] - above[1])]
    }

    /// Second derivatives: xx, xy, yy.
    fn curvature(&self) -> [f32; 3] {
        let [above, row, below] = &self.0;
        let xy = 0.25 * (below[2] - below[0] - above[2] + above[0]);
        [row[0] - 2.0 * row[1] + row[2], xy, above[1] - 2.0 * row[1] + below[1]]
    }
}

/// What the frames say at a pixel that moves `by`: weights (not yet their inverse) and pulls.
fn data(mean: &Around, change: &Around, by: [f32; 2]) -> Cell {
    let ([x, y], [xx, xy, yy], [dx, dy]) = (mean.slopes(), mean.curvature(), change.slopes());
    // Each says: a step so far to the right and so far down makes up for such a difference. Brightness, then its derivatives.
    let says = [[x, y, change.0[1][1]], [xx, xy, dx], [xy, yy, dy]];
    let scales = says.map(|[a, b, _]| 1.0 / (a * a + b * b + NOISE * NOISE));
    let [brightness, right, down] = [0, 1, 2].map(|i| says[i][2] * says[i][2] * scales[i]);
    let slopes = SLOPES * robust(right + down);
    let weights = [BRIGHTNESS * robust(brightness), slopes, slopes];
    let mut cell = Cell::default();
    for (([a, b, off], scale), weight) in says.into_iter().zip(scales).zip(weights) {
        let weight = weight * scale;
        cell.ease[0] += weight * a * a;
        cell.ease[1] += weight * b * b;
        cell.common += weight * a * b;
        // The pull is for the whole displacement, not for its change.
        let whole = a * by[0] + b * by[1] - off;
        cell.pull[0] += weight * a * whole;
        cell.pull[1] += weight * b * whole;
    }
    cell
}
