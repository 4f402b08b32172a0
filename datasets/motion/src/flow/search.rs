//! Patches of the first frame, looked for in the second: section 2.1 of the paper, and neighbours that tell each other what they found.

use rayon::prelude::*;

use super::pyramid::Pair;
use crate::plane::Plane;

/// The side of a patch in pixels.
pub(super) const PATCH: usize = 8;
/// Pixels from one patch to the next: they overlap by half.
const STEP: usize = 4;
const AREA: usize = PATCH * PATCH;
/// Steps of gradient descent, at most, and the step in pixels with which it ends.
const STEPS: usize = 12;
const SMALL: f32 = 0.02;
/// How often patches look at what their neighbours found.
const ROUNDS: usize = 2;
/// Added to the curvature: the slopes that a sensor's noise feigns must not move a patch without structure.
const DAMPING: f32 = 4.0 * AREA as f32;
/// By how many levels, in the mean, a displacement must fit better than the one before it to be taken.
const MARGIN: f32 = 1.0;

/// Patches row by row, each with its displacement.
pub(super) struct Patches {
    /// Top rows and left columns of the patches.
    pub(super) tops: Vec<usize>,
    pub(super) lefts: Vec<usize>,
    pub(super) moves: Vec<[f32; 2]>,
}

/// Where patches begin along a side: one ends at its end.
fn starts(side: usize) -> Vec<usize> {
    let last = side - PATCH;
    let mut starts: Vec<usize> = (0..last).step_by(STEP).collect();
    starts.push(last);
    starts
}

/// Searches for all patches, from the displacements of a coarser level.
pub(super) fn patches(pair: &Pair, start: &[Plane; 2]) -> Patches {
    let (tops, lefts) = (starts(pair.first.height), starts(pair.first.width));
    let ground = Ground::new(&pair.second);
    let count = tops.len() * lefts.len();
    let templates: Vec<Template> = (0..count)
        .into_par_iter()
        .map(|i| Template::new(pair, tops[i / lefts.len()], lefts[i % lefts.len()]))
        .collect();
    let mut found: Vec<Found> = templates
        .par_iter()
        .map(|template| {
            let coarse = start.each_ref().map(|plane| plane.row(template.top + PATCH / 2)[template.left + PATCH / 2]);
            let still = template.at(&ground, [0.0, 0.0]);
            let begin = template.best(&ground, still, [coarse].into_iter());
            template.search(&ground, begin)
        })
        .collect();
    for _ in 0..ROUNDS {
        // Everyone reads what was found in the round before: the order of the patches does not matter.
        let told = templates.par_iter().enumerate().map(|(i, template)| {
            let (row, column) = (i / lefts.len(), i % lefts.len());
            let own = found[i];
            let rows = row.saturating_sub(1)..(row + 2).min(tops.len());
            let around = rows.flat_map(|row| {
                let columns = column.saturating_sub(1)..(column + 2).min(lefts.len());
                columns.map(move |column| (row, column))
            });
            let others =
                around.map(|(row, column)| found[row * lefts.len() + column].by).filter(|by| differs(*by, own.by));
            let best = template.best(&ground, own, others);
            if best.by == own.by { own } else { template.search(&ground, best) }
        });
        found = told.collect();
    }
    Patches { tops, lefts, moves: found.into_iter().map(|found| found.by).collect() }
}

/// Whether two displacements are worth a comparison.
fn differs(a: [f32; 2], b: [f32; 2]) -> bool {
    (a[0] - b[0]).abs().max((a[1] - b[1]).abs()) > 0.25
}

/// A displacement and the mean absolute difference with it.
#[derive(Clone, Copy)]
struct Found {
    by: [f32; 2],
    off: f32,
}

/// The second frame with a border around it, as wide as a patch and one pixel, that repeats the outermost pixels.
struct Ground {
    plane: Plane,
    last: [f32; 2],
}

impl Ground {
    const BORDER: usize = PATCH + 1;

    fn new(second: &Plane) -> Self {
        let inner = |at: usize, side: usize| at.saturating_sub(Self::BORDER).min(side - 1);
        let (height, width) = (second.height + 2 * Self::BORDER, second.width + 2 * Self::BORDER);
        let plane = Plane::by_rows(height, width, |y, row| {
            let from = second.row(inner(y, second.height));
            for (x, value) in row.iter_mut().enumerate() {
                *value = from[inner(x, second.width)];
            }
        });
        Self { plane, last: [second.width as f32, second.height as f32] }
    }

    /// The pixels of a patch whose first one lies at a position; outside of the border it stops.
    fn window(&self, [x, y]: [f32; 2]) -> [f32; AREA] {
        let far = -(PATCH as f32);
        let [x, y] = [x.clamp(far, self.last[0]), y.clamp(far, self.last[1])].map(|at| at + Self::BORDER as f32);
        let (left, top) = (x as usize, y as usize);
        let (u, v) = (x - left as f32, y - top as f32);
        let [a, b, c, d] = [(1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v];
        let mut window = [0.0; AREA];
        for (row, out) in window.as_chunks_mut::<PATCH>().0.iter_mut().enumerate() {
            let above = &self.plane.row(top + row)[left..left + PATCH + 1];
            let below = &self.plane.row(top + row + 1)[left..left + PATCH + 1];
            for (i, value) in out.iter_mut().enumerate() {
                *value = a * above[i] + b * above[i + 1] + c * below[i] + d * below[i + 1];
            }
        }
        window
    }
}

/// A patch of the first frame, with what does not change while it is looked for.
struct Template {
    top: usize,
    left: usize,
    levels: [f32; AREA],
    slopes: [[f32; AREA]; 2],
    /// The inverse of the damped curvature: xx, xy, yy.
    inverse: [f32; 3],
}

impl Template {
    fn new(pair: &Pair, top: usize, left: usize) -> Self {
        let patch = |plane: &Plane| {
            let mut out = [0.0; AREA];
            for (row, out) in out.as_chunks_mut::<PATCH>().0.iter_mut().enumerate() {
                out.copy_from_slice(&plane.row(top + row)[left..left + PATCH]);
            }
            out
        };
        let slopes = pair.slopes.each_ref().map(patch);
        let sum = |a: &[f32; AREA], b: &[f32; AREA]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (xx, xy, yy) =
            (sum(&slopes[0], &slopes[0]) + DAMPING, sum(&slopes[0], &slopes[1]), sum(&slopes[1], &slopes[1]) + DAMPING);
        let determinant = xx * yy - xy * xy;
        let inverse = [yy, -xy, xx].map(|value| value / determinant);
        Self { top, left, levels: patch(&pair.first), slopes, inverse }
    }

    fn window(&self, ground: &Ground, by: [f32; 2]) -> [f32; AREA] {
        ground.window([self.left as f32 + by[0], self.top as f32 + by[1]])
    }

    /// How well a displacement fits.
    fn at(&self, ground: &Ground, by: [f32; 2]) -> Found {
        Found { by, off: off(&self.window(ground, by), &self.levels) }
    }

    /// The first displacement, or one of others that fits clearly better.
    fn best(&self, ground: &Ground, first: Found, others: impl Iterator<Item = [f32; 2]>) -> Found {
        others.fold(first, |best, by| {
            let other = self.at(ground, by);
            if other.off + MARGIN < best.off { other } else { best }
        })
    }

    /// Gradient descent on the squared difference (inverse compositional, Baker and Matthews 2004). Gives the start back where it ends
    /// farther away than a patch is wide, or fits no better.
    fn search(&self, ground: &Ground, start: Found) -> Found {
        let mut by = start.by;
        let mut best = start;
        for _ in 0..STEPS {
            let window = self.window(ground, by);
            let off = off(&window, &self.levels);
            if off < best.off {
                best = Found { by, off };
            }
            let mut gradient = [[0.0_f32; PATCH]; 2];
            for row in (0..AREA).step_by(PATCH) {
                for i in 0..PATCH {
                    let error = window[row + i] - self.levels[row + i];
                    gradient[0][i] += error * self.slopes[0][row + i];
                    gradient[1][i] += error * self.slopes[1][row + i];
                }
            }
            let [x, y] = gradient.map(|sums| sums.iter().sum::<f32>());
            let [xx, xy, yy] = self.inverse;
            let step = [xx * x + xy * y, xy * x + yy * y];
            by = [by[0] - step[0], by[1] - step[1]];
            let gone = (by[0] - start.by[0]).hypot(by[1] - start.by[1]);
            if step[0].hypot(step[1]) < SMALL || gone > PATCH as f32 {
                break;
            }
        }
        best
    }
}

/// The mean absolute difference. Eight sums side by side: the compiler makes vectors of them.
fn off(a: &[f32; AREA], b: &[f32; AREA]) -> f32 {
    let mut sums = [0.0_f32; PATCH];
    for (a, b) in a.as_chunks::<PATCH>().0.iter().zip(b.as_chunks::<PATCH>().0) {
        for i in 0..PATCH {
            sums[i] += (a[i] - b[i]).abs();
        }
    }
    sums.iter().sum::<f32>() / AREA as f32
}
