//! The weight gradient.

use std::ops::Range;

use mimus_core::{Error, Result};
use rayon::prelude::*;

use super::patches::{Block, Images, TapColumns, Taps, blocks};
use super::{Geometry, volume};
use crate::kernels::product::{self, KC, MR, Product};
use crate::kernels::{CHUNK, Kernel, Operands, scratch};

/// Tasks that it is cut into, if there are positions enough.
const TASKS: usize = 16;

/// Weights of an output channel that a task handles, about: its panels, its result and its part of the gradient share the
/// second cache.
const COLUMNS: usize = 288;

/// `dw[o, c, k] = sum over images and positions of dy[n, o, p] * x[n, c, p * stride + k * dilation - padding]`.
pub(super) struct WeightGradient {
    geometry: Geometry,
    taps: Taps,
    blocks: Vec<Block>,
    /// Input channels of a task.
    channels: usize,
    /// Parts into which the sum over positions is cut; added up in order.
    parts: usize,
}

/// Which products a task computes.
struct Task {
    group: usize,
    channels: Range<usize>,
    blocks: Range<usize>,
}

impl WeightGradient {
    pub(super) fn new(geometry: Geometry) -> Self {
        let taps = Taps::new(geometry.taps(), geometry.stride);
        let blocks = blocks(geometry.images, [0; 3], geometry.y, KC);
        let channels = (COLUMNS / taps.list.len()).next_multiple_of(16).min(geometry.inner);
        let tiles = geometry.groups * geometry.inner.div_ceil(channels);
        let parts = TASKS.div_ceil(tiles).min(blocks.len());
        Self { geometry, taps, blocks, channels, parts }
    }

    fn tiles(&self) -> usize {
        self.geometry.inner.div_ceil(self.channels)
    }

    /// Elements of a task's result, in working memory.
    fn result_len(&self) -> usize {
        product::padded_rows(self.geometry.outer) * product::padded_columns(self.taps.list.len() * self.channels)
    }

    /// Tasks are numbered by group, tile of channels, part.
    fn task(&self, number: usize) -> Task {
        let (tile, part) = (number / self.parts, number % self.parts);
        let (group, tile) = (tile / self.tiles(), tile % self.tiles());
        let channels = tile * self.channels..((tile + 1) * self.channels).min(self.geometry.inner);
        let n = self.blocks.len();
        Task { group, channels, blocks: part * n / self.parts..(part + 1) * n / self.parts }
    }

    fn sum(&self, x: &[f32], dy: &[f32], task: &Task, c: &mut [f32]) {
        let g = &self.geometry;
        let (rows, n) = (product::padded_rows(g.outer), self.taps.list.len() * task.channels.len());
        let plane = volume(g.x);
        let data = &x[task.group * g.inner * plane..];
        let images = Images { data, step: g.groups * g.inner * plane, extents: g.x };
        let window = self.blocks.iter().map(|block| self.taps.window_len(block)).max().unwrap_or(0);
        scratch::with(KC * (rows + product::padded_columns(n)) + window * task.channels.len(), |memory| {
            let (a, rest) = memory.split_at_mut(KC * rows);
            let (panels, window) = rest.split_at_mut(KC * product::padded_columns(n));
            for (i, block) in self.blocks[task.blocks.clone()].iter().enumerate() {
                self.pack_gradient(dy, task.group, block, a);
                let mut b = TapColumns::new(images, &self.taps, block, task.channels.clone(), window);
                let k = 0..block.len();
                Product { a, m: g.outer, k, n, b: &mut b, add: i > 0, c: &mut *c, panels: &mut *panels }.run();
            }
        });
    }

    /// The gradient of a block's positions as left factor.
    fn pack_gradient(&self, dy: &[f32], group: usize, block: &Block, to: &mut [f32]) {
        let g = &self.geometry;
        let (plane, rows) = (volume(g.y), block.len());
        for (panel, to) in to.chunks_exact_mut(rows * MR).take(g.outer.div_ceil(MR)).enumerate() {
            let (to, _) = to.as_chunks_mut::<MR>();
            let valid = MR.min(g.outer - panel * MR);
            for (image, position, first) in block.lines() {
                let channel = (image * g.groups + group) * g.outer + panel * MR;
                let place = (position[0] * g.y[1] + position[1]) * g.y[2] + position[2];
                let line = |row: usize| &dy[(channel + row) * plane + place..][..block.extents[2]];
                // Rows beyond the last repeat it: their results are not used.
                let lines: [&[f32]; MR] = std::array::from_fn(|row| line(row.min(valid - 1)));
                for (p, to) in to[first..][..block.extents[2]].iter_mut().enumerate() {
                    *to = lines.map(|line| line[p]);
                }
            }
        }
    }

    /// Adds up the parts of the weights of one output channel.
    fn collect(&self, results: &[f32], row: usize, dw: &mut [f32]) {
        let (group, row) = (row / self.geometry.outer, row % self.geometry.outer);
        let (n_taps, len) = (self.taps.list.len(), self.result_len());
        for tile in 0..self.tiles() {
            let first = (group * self.tiles() + tile) * self.parts;
            let channels = self.task(first).channels;
            let start = row * product::padded_columns(n_taps * channels.len());
            for part in first..first + self.parts {
                let from = &results[part * len + start..][..n_taps * channels.len()];
                for (i, from) in from.iter().enumerate() {
                    let (tap, channel) = (i / channels.len(), channels.start + i % channels.len());
                    let to = &mut dw[channel * n_taps + tap];
                    *to = if part == first { *from } else { *to + from };
                }
            }
        }
    }
}

impl Kernel for WeightGradient {
    fn workspace(&self) -> usize {
        self.geometry.groups * self.tiles() * self.parts * self.result_len()
    }

    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let (x, dy) = (operands.input(0)?, operands.input(1)?);
        let Operands { outputs: [dw], workspace, .. } = operands else { return Err(Error::graph("has one output")) };
        workspace.par_chunks_mut(self.result_len()).enumerate().for_each(|(i, c)| self.sum(x, dy, &self.task(i), c));
        let columns = self.geometry.inner * self.taps.list.len();
        let results = &*workspace;
        dw.f32()?.par_chunks_exact_mut(columns).with_min_len((CHUNK / columns).max(1)).enumerate().for_each(
            |(row, dw)| {
                self.collect(results, row, dw);
            },
        );
        Ok(())
    }
}
