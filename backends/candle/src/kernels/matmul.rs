//! The batched matrix product.

use std::ops::Range;

use mimus_core::{Error, Result};
use rayon::prelude::*;

use super::product::{self, Columns, KC, MR, Product};
use super::{Kernel, Operands, Types, scratch};

/// Rows of a task at most: each element of the right factor that it packs is used that often.
const ROWS: usize = 40 * MR;

/// Columns that a task multiplies at once.
const COLUMNS: usize = 512;

pub(super) fn prepare(transpose_a: bool, transpose_b: bool, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let ([.., m, n], [.., rows, columns]) = (types.output(0)?, types.input(0)?) else {
        return Err(Error::graph("has operands below rank 2"));
    };
    let k = if transpose_a { *rows } else { *columns };
    // Enough tasks for several threads, but no tiny ones.
    let tile = m.div_ceil(8).next_multiple_of(MR).clamp(8 * MR, ROWS);
    Ok(Box::new(MatMul { m: *m, n: *n, k, transpose_a, transpose_b, tile }))
}

struct MatMul {
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
    /// Rows of a task.
    tile: usize,
}

impl Kernel for MatMul {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (a, b) = (operands.input(0)?, operands.input(1)?);
        let stacks = operands.output()?.par_chunks_mut(self.m * self.n).enumerate();
        let tiles =
            stacks.flat_map(|(s, y)| y.par_chunks_mut(self.tile * self.n).enumerate().map(move |(i, y)| (s, i, y)));
        tiles.for_each(|(s, i, y)| {
            let (a, b) = (&a[s * self.m * self.k..][..self.m * self.k], &b[s * self.k * self.n..][..self.k * self.n]);
            self.rows(a, b, i * self.tile, y);
        });
        Ok(())
    }
}

impl MatMul {
    /// The rows from `first` on, as many as `y` holds.
    fn rows(&self, a: &[f32], b: &[f32], first: usize, y: &mut [f32]) {
        let m = y.len() / self.n;
        let rows = product::padded_rows(m);
        let columns = product::padded_columns(COLUMNS.min(self.n));
        scratch::with(rows * self.k + rows * columns + KC * columns, |memory| {
            let (packed, rest) = memory.split_at_mut(rows * self.k);
            let (c, panels) = rest.split_at_mut(rows * columns);
            let (row, step) = if self.transpose_a { (1, self.m) } else { (self.k, 1) };
            product::pack_rows(m, 0..self.k, a, |i, p| (first + i) * row + p * step, packed);
            for start in (0..self.n).step_by(COLUMNS) {
                let n = COLUMNS.min(self.n - start);
                let mut b = Matrix {
                    data: b,
                    rows: self.k,
                    columns: self.n,
                    transposed: self.transpose_b,
                    range: start..start + n,
                };
                Product { a: packed, m, k: 0..self.k, n, b: &mut b, add: false, c, panels }.run();
                let c = c.chunks_exact(product::padded_columns(n));
                for (y, c) in y.chunks_exact_mut(self.n).zip(c) {
                    y[start..start + n].copy_from_slice(&c[..n]);
                }
            }
        });
    }
}

/// Some columns of a matrix in memory.
struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    /// Stored as `[columns, rows]`.
    transposed: bool,
    range: Range<usize>,
}

impl Columns for Matrix<'_> {
    #[inline(always)]
    fn pack(&mut self, k: Range<usize>, width: usize, to: &mut [f32]) {
        for (panel, to) in to.chunks_exact_mut(k.len() * width).enumerate() {
            let start = self.range.start + panel * width;
            let n = width.min(self.range.end - start);
            if n < width {
                to.fill(0.0);
            }
            if self.transposed {
                for j in 0..n {
                    let from = &self.data[(start + j) * self.rows..][k.clone()];
                    to[j..].iter_mut().step_by(width).zip(from).for_each(|(to, from)| *to = *from);
                }
            } else {
                for (p, to) in k.clone().zip(to.chunks_exact_mut(width)) {
                    to[..n].copy_from_slice(&self.data[p * self.columns + start..][..n]);
                }
            }
        }
    }
}
