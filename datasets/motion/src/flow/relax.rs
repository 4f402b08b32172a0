//! Relaxes the linear equations of a flow: successive over-relaxation on a checkerboard.
//!
//! A pixel's equation holds its four neighbours, which on a checkerboard are of the other colour: all pixels of a colour move at once, so
//! that the order of the threads does not matter, and lie side by side in memory. Rows are wide.

use rayon::prelude::*;
use wide::f32x8;

use super::lanes::{LANES, load, store};
use crate::plane::{Plane, rows};

/// Sweeps over the equations.
const SWEEPS: usize = 4;
/// How far beyond its equation's solution a sweep goes.
const RELAX: f32 = 1.6;

/// Numbers of a pixel's equation: its displacement is what pulls at it, over what holds it. One over the sum of all weights, for x and y;
pub(super) const EASE: [usize; 2] = [0, 1];
/// what x and y have in common;
pub(super) const COMMON: usize = 2;
/// what the frames say of x and y;
pub(super) const PULL: [usize; 2] = [3, 4];
/// and the weights of the neighbours.
pub(super) const LEFT: usize = 5;
pub(super) const RIGHT: usize = 6;
pub(super) const ABOVE: usize = 7;
pub(super) const BELOW: usize = 8;
const NUMBERS: usize = 9;

/// The numbers of a row of pixels.
pub(super) struct Row {
    width: usize,
    values: Vec<f32>,
}

impl Row {
    /// One number of the pixels from `x` on.
    pub(super) fn load(&self, number: usize, x: usize) -> f32x8 {
        load(&self.values[number * self.width..][..self.width], x)
    }

    /// Sets it.
    pub(super) fn store(&mut self, number: usize, x: usize, lanes: f32x8) {
        store(lanes, &mut self.values[number * self.width..][..self.width], x);
    }

    /// Sets the number `to` of each pixel to the number `from` of the pixel to its left, of the first one to 0.
    pub(super) fn shift(&mut self, from: usize, to: usize) {
        self.values.copy_within(from * self.width..(from + 1) * self.width - 1, to * self.width + 1);
        self.values[to * self.width] = 0.0;
    }
}

/// The equations of all pixels, row by row: those of the first colour, then those of the second, each number by number.
pub(super) struct Equations {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Equations {
    /// Fills rows on all threads: `fill(y, row)`, from zeros.
    pub(super) fn by_rows(height: usize, width: usize, fill: impl Fn(usize, &mut Row) + Sync) -> Self {
        let half = width / 2;
        let mut values = vec![0.0; height * 2 * NUMBERS * half];
        let scratch = || Row { width, values: vec![0.0; NUMBERS * width] };
        let rows = values.par_chunks_mut(2 * NUMBERS * half).enumerate().with_min_len(rows(width));
        rows.for_each_init(scratch, |row, (y, out)| {
            fill(y, row);
            for (color, out) in out.chunks_mut(NUMBERS * half).enumerate() {
                for (out, from) in out.chunks_mut(half).zip(row.values.chunks(width)) {
                    split(from, first(color, y), out);
                }
            }
        });
        Self { height, width, values }
    }

    /// The displacements after some sweeps.
    pub(super) fn relaxed(&self, flow: &[Plane; 2]) -> [Plane; 2] {
        let half = self.width / 2;
        let mut colors = [0, 1].map(|color| {
            Plane::by_rows(self.height, 2 * (half + 2), |y, row| {
                for (row, plane) in row.chunks_mut(half + 2).zip(flow) {
                    split(plane.row(y), first(color, y), &mut row[1..=half]);
                }
            })
        });
        for _ in 0..SWEEPS {
            let [black, white] = &mut colors;
            self.sweep(0, black, white);
            self.sweep(1, white, black);
        }
        [0, 1].map(|axis| {
            Plane::by_rows(self.height, self.width, |y, row| {
                for (color, plane) in colors.iter().enumerate() {
                    let from = &plane.row(y)[axis * (half + 2)..][1..=half];
                    row.iter_mut().skip(first(color, y)).step_by(2).zip(from).for_each(|(value, from)| *value = *from);
                }
            })
        })
    }

    /// Moves all pixels of a colour. A row of a colour's plane holds x, then y, each with a zero before and after.
    fn sweep(&self, color: usize, own: &mut Plane, other: &Plane) {
        let half = self.width / 2;
        let numbers = self.values.par_chunks_exact(2 * NUMBERS * half);
        let rows = own.values.par_chunks_mut(2 * (half + 2)).zip(numbers).enumerate().with_min_len(rows(self.width));
        rows.for_each(|(y, (own, numbers))| {
            let numbers = &numbers[color * NUMBERS * half..];
            let number: [&[f32]; NUMBERS] = std::array::from_fn(|number| &numbers[number * half..][..half]);
            let [above, row, below] = [-1, 0, 1].map(|by| other.near(y, by).split_at(half + 2)).map(|(x, y)| [x, y]);
            let before = first(color, y);
            let (own_x, own_y) = own.split_at_mut(half + 2);
            for i in (0..half).step_by(LANES) {
                let near = |axis: usize| {
                    (load(number[LEFT], i) * load(&row[axis][before..], i)
                        + load(number[RIGHT], i) * load(&row[axis][before + 1..], i))
                        + (load(number[ABOVE], i) * load(&above[axis][1..], i)
                            + load(number[BELOW], i) * load(&below[axis][1..], i))
                };
                let next = |axis: usize, now: f32x8, across: f32x8| {
                    let pull = load(number[PULL[axis]], i) - load(number[COMMON], i) * across + near(axis);
                    now + (pull * load(number[EASE[axis]], i) - now) * RELAX
                };
                let (x, y) = (load(&own_x[1..=half], i), load(&own_y[1..=half], i));
                let x = next(0, x, y);
                store(x, &mut own_x[1..=half], i);
                store(next(1, y, x), &mut own_y[1..=half], i);
            }
        });
    }
}

/// The first pixel of a colour in row `y`.
fn first(color: usize, y: usize) -> usize {
    (color + y) % 2
}

/// Every second value from `first` on.
fn split(from: &[f32], first: usize, out: &mut [f32]) {
    out.iter_mut().zip(from.iter().skip(first).step_by(2)).for_each(|(out, from)| *out = *from);
}
