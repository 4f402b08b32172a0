//! Convolution and transposed convolution.

use std::ops::Range;

use mimus_core::{Error, Result};
use rayon::prelude::*;

use super::patches::{Block, Images, PositionColumns, Taps, blocks};
use super::{Axes, Geometry, positions, volume};
use crate::kernels::product::{self, KC, Product};
use crate::kernels::{Kernel, Operands, scratch};

/// Output positions that are multiplied at once.
const COLUMNS: usize = 256;

/// Least number of tasks, if there are as many images.
const TASKS: usize = 16;

/// One correlation of stride-1 outputs, interleaved with others in the whole output.
struct Phase {
    taps: Taps,
    /// For each summed index (channel, tap): where its weight stands, for the first row of the first group.
    weights: Vec<usize>,
    /// Output positions, in steps of the whole's `spread`, from `offset` on.
    offset: Axes,
    extents: Axes,
}

/// Convolution and transposed convolution.
pub(super) struct Correlation {
    images: usize,
    groups: usize,
    /// Channels in a group.
    from: usize,
    to: usize,
    input: Axes,
    output: Axes,
    /// Step between the positions of a phase in the output.
    spread: Axes,
    phases: Vec<Phase>,
    /// Elements of the weight from row to row of the product and from group to group.
    row: usize,
    group: usize,
}

impl Correlation {
    pub(super) fn plain(g: &Geometry) -> Self {
        let kernel = volume(g.kernel);
        let phase = Phase {
            taps: Taps::new(g.taps(), g.stride),
            weights: (0..g.inner * kernel).collect(),
            offset: [0; 3],
            extents: g.y,
        };
        let row = g.inner * kernel;
        Self {
            images: g.images,
            groups: g.groups,
            from: g.inner,
            to: g.outer,
            input: g.x,
            output: g.y,
            spread: [1; 3],
            phases: vec![phase],
            row,
            group: g.outer * row,
        }
    }

    pub(super) fn transposed(g: &Geometry) -> Self {
        let kernel = volume(g.kernel);
        let phases = positions(g.stride).filter(|r| (0..3).all(|a| r[a] < g.x[a])).map(|r| Phase::residue(g, r));
        Self {
            images: g.images,
            groups: g.groups,
            from: g.outer,
            to: g.inner,
            input: g.y,
            output: g.x,
            spread: g.stride,
            phases: phases.collect(),
            row: kernel,
            group: g.outer * g.inner * kernel,
        }
    }

    /// How images and the first axis that is not trivial are cut into tasks: images, and positions of a phase along that axis.
    fn cut(&self) -> (usize, usize, usize) {
        let axis = (0..2).find(|a| self.output[*a] > 1).unwrap_or(2);
        let steps = self.output[axis].div_ceil(self.spread[axis]);
        let columns: usize = (0..3).map(|a| self.output[a].div_ceil(self.spread[a])).product();
        match COLUMNS / columns {
            0 => (1, axis, (COLUMNS * steps / columns).max(1)),
            images => (images.min(self.images.div_ceil(TASKS)).max(1), axis, steps),
        }
    }

    fn packed_len(&self, phase: &Phase) -> usize {
        product::padded_rows(self.to) * phase.weights.len()
    }

    /// The weight as left factors: phase after phase, group after group.
    fn pack(&self, weight: &[f32], mut packed: &mut [f32]) {
        let mut tasks = Vec::new();
        for phase in &self.phases {
            for group in 0..self.groups {
                let (head, tail) = packed.split_at_mut(self.packed_len(phase));
                packed = tail;
                let blocks = head.chunks_mut(product::padded_rows(self.to) * KC).enumerate();
                tasks.extend(blocks.map(|(block, to)| (phase, group, block * KC, to)));
            }
        }
        tasks.into_par_iter().for_each(|(phase, group, start, to)| {
            let k = start..(start + KC).min(phase.weights.len());
            let at = |row: usize, p: usize| group * self.group + row * self.row + phase.weights[p];
            product::pack_rows(self.to, k, weight, at, to);
        });
    }
}

impl Phase {
    /// The outputs at residue `r`: those taps `k` with `r + padding = k * dilation` modulo the stride reach them.
    fn residue(g: &Geometry, r: Axes) -> Self {
        let shift = |k: usize, a: usize| (r[a] + g.padding[a]) as isize - (k * g.dilation[a]) as isize;
        let reaches = |k: &Axes| (0..3).all(|a| shift(k[a], a) % g.stride[a] as isize == 0);
        let kernel: Vec<Axes> = positions(g.kernel).filter(reaches).collect();
        let tap = |k: &Axes| [0, 1, 2].map(|a| shift(k[a], a) / g.stride[a] as isize);
        let place = |k: &Axes| (k[0] * g.kernel[1] + k[1]) * g.kernel[2] + k[2];
        let channels = (0..g.outer).map(|o| o * g.inner * volume(g.kernel));
        Self {
            taps: Taps::new(kernel.iter().map(tap).collect(), [1; 3]),
            weights: channels.flat_map(|base| kernel.iter().map(move |k| base + place(k))).collect(),
            offset: r,
            extents: [0, 1, 2].map(|a| (g.x[a] - r[a]).div_ceil(g.stride[a])),
        }
    }
}

/// A part of the output that one task computes: some images, a slab of each.
struct Slab<'a> {
    first_image: usize,
    /// Positions of a phase along the axis that is cut.
    steps: Range<usize>,
    /// For each image and channel, the slab's elements.
    channels: Vec<&'a mut [f32]>,
}

impl Correlation {
    fn slabs<'a>(&self, y: &'a mut [f32]) -> Vec<Slab<'a>> {
        let (images, axis, thickness) = self.cut();
        let steps = self.output[axis].div_ceil(self.spread[axis]);
        let step = self.spread[axis] * self.output[axis + 1..].iter().product::<usize>();
        let plane = volume(self.output);
        let mut slabs = Vec::new();
        for (i, y) in y.chunks_mut(images * self.groups * self.to * plane).enumerate() {
            let first = slabs.len();
            for start in (0..steps).step_by(thickness) {
                let steps = start..(start + thickness).min(steps);
                slabs.push(Slab { first_image: i * images, steps, channels: Vec::new() });
            }
            for plane in y.chunks_mut(plane) {
                for (slab, channel) in slabs[first..].iter_mut().zip(plane.chunks_mut(thickness * step)) {
                    slab.channels.push(channel);
                }
            }
        }
        slabs
    }

    fn slab(&self, x: &[f32], packed: &[f32], bias: Option<&[f32]>, axis: usize, slab: &mut Slab<'_>) {
        let rows = product::padded_rows(self.to);
        let columns = product::padded_columns(COLUMNS);
        let n_images = slab.channels.len() / (self.groups * self.to);
        let plane = volume(self.input);
        let step = self.groups * self.from * plane;
        let mut packed = packed;
        for phase in &self.phases {
            let (start, extents) = phase.within(axis, &slab.steps);
            let blocks = blocks(n_images, start, extents, COLUMNS);
            let window = blocks.iter().map(|block| phase.taps.window_len(block)).max().unwrap_or(0);
            for group in 0..self.groups {
                let (a, rest) = packed.split_at(self.packed_len(phase));
                packed = rest;
                let data = &x[slab.first_image * step + group * self.from * plane..];
                let images = Images { data, step, extents: self.input };
                scratch::with((rows + KC) * columns + window, |memory| {
                    let (c, rest) = memory.split_at_mut(rows * columns);
                    let (panels, window) = rest.split_at_mut(KC * columns);
                    for block in &blocks {
                        let panel = product::panel_columns();
                        let mut b = PositionColumns::new(images, &phase.taps, block, panel, window);
                        let (k, n) = (0..phase.weights.len(), block.len());
                        if k.is_empty() {
                            c.fill(0.0);
                        }
                        Product { a, m: self.to, k, n, b: &mut b, add: false, c, panels }.run();
                        self.spread(Place { phase, group, axis }, block, c, bias, slab);
                    }
                });
            }
        }
    }

    /// Writes a product to its places in the output.
    fn spread(&self, place: Place<'_>, block: &Block, c: &[f32], bias: Option<&[f32]>, slab: &mut Slab<'_>) {
        let Place { phase, group, axis } = place;
        let at = |position: Axes, a: usize| position[a] * self.spread[a] + phase.offset[a];
        let origin = slab.steps.start * self.spread[axis] * self.output[axis + 1..].iter().product::<usize>();
        let step = self.spread[2];
        for (row, c) in c.chunks_exact(product::padded_columns(block.len())).take(self.to).enumerate() {
            let channel = group * self.to + row;
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            for (image, position, first) in block.lines() {
                let to = &mut *slab.channels[image * self.groups * self.to + channel];
                let line = at(position, 0) * self.output[1] + at(position, 1);
                let to = &mut to[line * self.output[2] + at(position, 2) - origin..];
                let from = &c[first..][..block.extents[2]];
                if step == 1 {
                    to[..from.len()].iter_mut().zip(from).for_each(|(to, c)| *to = c + bias);
                } else {
                    to.iter_mut().step_by(step).zip(from).for_each(|(to, c)| *to = c + bias);
                }
            }
        }
    }
}

/// Which part of a slab a product makes.
#[derive(Clone, Copy)]
struct Place<'a> {
    phase: &'a Phase,
    group: usize,
    /// The axis along which slabs are cut.
    axis: usize,
}

impl Phase {
    /// The phase's box within a slab.
    fn within(&self, axis: usize, steps: &Range<usize>) -> (Axes, Axes) {
        let (mut start, mut extents) = ([0; 3], self.extents);
        start[axis] = steps.start;
        extents[axis] = steps.end.min(self.extents[axis]).saturating_sub(steps.start);
        (start, extents)
    }
}

impl Kernel for Correlation {
    fn workspace(&self) -> usize {
        self.groups * self.phases.iter().map(|phase| self.packed_len(phase)).sum::<usize>()
    }

    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let (x, weight) = (operands.input(0)?, operands.input(1)?);
        let bias = if operands.inputs.len() > 2 { Some(operands.input(2)?) } else { None };
        let Operands { outputs: [y], workspace, .. } = operands else { return Err(Error::graph("has one output")) };
        self.pack(weight, workspace);
        let packed = &*workspace;
        let (_, axis, _) = self.cut();
        self.slabs(y.f32()?).into_par_iter().for_each(|mut slab| self.slab(x, packed, bias, axis, &mut slab));
        Ok(())
    }
}
