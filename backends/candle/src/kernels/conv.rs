//! Convolution, transposed convolution and weight gradient in 1 to 3 dimensions as blocked products over image patches.
//!
//! A convolution multiplies the weight with the patches of its input. A transposed convolution with stride `s` is one
//! convolution of stride 1 for each of the `s` residues of the output position along every axis, over the taps that reach it:
//! no product with the zeros between the strides. The weight gradient multiplies the gradient with the patches, summed over
//! positions.

use std::ops::Range;

use mimus_core::{Error, Op, Result};
use rayon::prelude::*;

use super::product::{self, Columns, KC, Product};
use super::{CHUNK, Kernel, Operands, Types, scratch};

/// Columns (output positions, or weights of an output channel) that are multiplied at once.
const COLUMNS: usize = 256;

/// Tasks that a weight gradient is cut into, if it has few weights.
const PARTS: usize = 16;

type Axes = [usize; 3];

fn three(list: &[usize], fill: usize) -> Axes {
    let mut result = [fill; 3];
    result[3 - list.len()..].copy_from_slice(list);
    result
}

fn volume(extents: Axes) -> usize {
    extents.iter().product()
}

/// What the three operators share: `x [N, C, ..]`, `w [O, C/groups, k..]`, `y [N, O, ..]` of the plain convolution.
struct Geometry {
    images: usize,
    groups: usize,
    /// Channels of `x` and of `y` in a group.
    inner: usize,
    outer: usize,
    x: Axes,
    y: Axes,
    kernel: Axes,
    stride: Axes,
    padding: Axes,
    dilation: Axes,
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (a, b, c) = (types.input(0)?, types.input(1)?, types.output(0)?);
    let (x, w, y) = match op {
        Op::Conv { .. } => (a, b, c),
        Op::ConvTranspose { .. } => (c, b, a),
        _ => (a, c, b),
    };
    let (Op::Conv { stride, padding, dilation, groups }
    | Op::ConvTranspose { stride, padding, dilation, groups, .. }
    | Op::ConvWeightGrad { stride, padding, dilation, groups, .. }) = op
    else {
        return Err(Error::backend("is no convolution"));
    };
    let geometry = Geometry {
        images: x[0],
        groups: *groups,
        inner: x[1] / groups,
        outer: y[1] / groups,
        x: three(&x[2..], 1),
        y: three(&y[2..], 1),
        kernel: three(&w[2..], 1),
        stride: three(stride, 1),
        padding: three(padding, 0),
        dilation: three(dilation, 1),
    };
    Ok(match op {
        Op::Conv { .. } => Box::new(Correlation::plain(&geometry)),
        Op::ConvTranspose { .. } => Box::new(Correlation::transposed(&geometry)),
        _ => Box::new(WeightGradient::new(geometry)),
    })
}

/// Runs of neighbouring columns along the last axis.
struct ColumnRun {
    /// First column, counted from the start of the product's columns.
    column: usize,
    image: usize,
    position: Axes,
    len: usize,
}

/// The columns in `range` of the box `start .. start + extents` of several images, cut at the ends of lines and of panels.
fn column_runs(start: Axes, extents: Axes, range: Range<usize>, panel: usize) -> Vec<ColumnRun> {
    let mut runs = Vec::new();
    let mut index = range.start;
    while index < range.end {
        let (line, w) = (index / extents[2], index % extents[2]);
        let (plane, h) = (line / extents[1], line % extents[1]);
        let column = index - range.start;
        let len = (extents[2] - w).min(range.end - index).min(panel - column % panel);
        let position = [start[0] + plane % extents[0], start[1] + h, start[2] + w];
        runs.push(ColumnRun { column, image: plane / extents[0], position, len });
        index += len;
    }
    runs
}

/// Patches of images: for each channel and tap the elements at `position * stride + tap`, 0 outside the image.
struct Patches<'a> {
    data: &'a [f32],
    /// Elements from image to image.
    image: usize,
    extents: Axes,
    stride: Axes,
    taps: &'a [[isize; 3]],
}

impl Patches<'_> {
    /// Where the line of `run` begins in memory and at which column, for a channel and a tap; `None` outside the image.
    #[inline(always)]
    fn line(&self, run: &ColumnRun, channel: usize, tap: [isize; 3]) -> Option<(&[f32], isize)> {
        let at = |axis: usize| (run.position[axis] * self.stride[axis]) as isize + tap[axis];
        let (t, h) = (at(0), at(1));
        if t < 0 || h < 0 || t as usize >= self.extents[0] || h as usize >= self.extents[1] {
            return None;
        }
        let line = (channel * self.extents[0] + t as usize) * self.extents[1] + h as usize;
        let width = self.extents[2];
        Some((&self.data[run.image * self.image + line * width..][..width], at(2)))
    }

    /// Of `len` columns from `first` on, those inside the line.
    #[inline(always)]
    fn inside(&self, first: isize, len: usize) -> Range<usize> {
        let (width, step) = (self.extents[2] as isize, self.stride[2]);
        let reach = ((len - 1) * step) as isize;
        if first >= 0 && first + reach < width {
            return 0..len;
        }
        let low = if first < 0 { first.unsigned_abs().div_ceil(step) } else { 0 };
        let high = if first < width { (width - 1 - first) as usize / step + 1 } else { 0 };
        low.min(len)..high.clamp(low.min(len), len)
    }
}

/// Patches with a column for each position.
struct PositionColumns<'a> {
    patches: Patches<'a>,
    runs: &'a [ColumnRun],
    n: usize,
}

impl Columns for PositionColumns<'_> {
    #[inline(always)]
    fn pack(&self, k: Range<usize>, width: usize, to: &mut [f32]) {
        let n_taps = self.patches.taps.len();
        let (rows, first) = (k.len(), k.start);
        if !self.n.is_multiple_of(width) {
            let last = to.len() - rows * width;
            to[last..].fill(0.0);
        }
        for p in k {
            let (channel, tap) = (p / n_taps, self.patches.taps[p % n_taps]);
            for run in self.runs {
                let panel = run.column / width;
                let to = &mut to[(panel * rows + p - first) * width + run.column % width..][..run.len];
                match self.patches.line(run, channel, tap) {
                    Some((line, column)) => copy_line(&self.patches, line, column, to),
                    None => to.fill(0.0),
                }
            }
        }
    }
}

#[inline(always)]
fn copy_line(patches: &Patches<'_>, line: &[f32], first: isize, to: &mut [f32]) {
    let inside = patches.inside(first, to.len());
    if inside.len() < to.len() {
        to[..inside.start].fill(0.0);
        to[inside.end..].fill(0.0);
    }
    if inside.is_empty() {
        return;
    }
    let step = patches.stride[2];
    let from = &line[(first + (inside.start * step) as isize) as usize..];
    let to = &mut to[inside];
    match step {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => {
            let (pairs, _) = from.as_chunks::<2>();
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
            if pairs.len() < to.len() {
                to[pairs.len()] = from[2 * pairs.len()];
            }
        }
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
    }
}

/// One correlation of stride-1 outputs, interleaved with others in the whole output.
struct Phase {
    taps: Vec<[isize; 3]>,
    /// For each summed index (channel, tap): where its weight stands, for the first row of the first group.
    weights: Vec<usize>,
    /// Output positions, in steps of the whole's `spread`, from `offset` on.
    offset: Axes,
    extents: Axes,
}

/// Convolution and transposed convolution.
struct Correlation {
    images: usize,
    groups: usize,
    /// Channels in a group.
    from: usize,
    to: usize,
    input: Axes,
    output: Axes,
    /// Step between patches in the input.
    stride: Axes,
    /// Step between the positions of a phase in the output.
    spread: Axes,
    phases: Vec<Phase>,
    /// Elements of the weight from row to row of the product and from group to group.
    row: usize,
    group: usize,
}

impl Correlation {
    fn plain(g: &Geometry) -> Self {
        let kernel = volume(g.kernel);
        let tap = |k: Axes| [0, 1, 2].map(|a| (k[a] * g.dilation[a]) as isize - g.padding[a] as isize);
        let phase = Phase {
            taps: positions(g.kernel).map(tap).collect(),
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
            stride: g.stride,
            spread: [1; 3],
            phases: vec![phase],
            row,
            group: g.outer * row,
        }
    }

    fn transposed(g: &Geometry) -> Self {
        let kernel = volume(g.kernel);
        let phases = positions(g.stride).filter(|r| (0..3).all(|a| r[a] < g.x[a])).map(|r| Phase::residue(g, r));
        Self {
            images: g.images,
            groups: g.groups,
            from: g.outer,
            to: g.inner,
            input: g.y,
            output: g.x,
            stride: [1; 3],
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
            images => (images.min(self.images.div_ceil(PARTS)).max(1), axis, steps),
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
            taps: kernel.iter().map(tap).collect(),
            weights: channels.flat_map(|base| kernel.iter().map(move |k| base + place(k))).collect(),
            offset: r,
            extents: [0, 1, 2].map(|a| (g.x[a] - r[a]).div_ceil(g.stride[a])),
        }
    }
}

/// All positions of a box in row-major order.
fn positions(extents: Axes) -> impl Iterator<Item = Axes> {
    (0..volume(extents)).map(move |i| [i / (extents[1] * extents[2]), i / extents[2] % extents[1], i % extents[2]])
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
        scratch::with((rows + KC) * columns, |memory| {
            let (c, panels) = memory.split_at_mut(rows * columns);
            let mut packed = packed;
            for phase in &self.phases {
                let (start, extents) = phase.within(axis, &slab.steps);
                let total = n_images * volume(extents);
                for group in 0..self.groups {
                    let (a, rest) = packed.split_at(self.packed_len(phase));
                    packed = rest;
                    for first in (0..total).step_by(COLUMNS) {
                        let n = COLUMNS.min(total - first);
                        let runs = column_runs(start, extents, first..first + n, product::panel_columns());
                        let image = self.groups * self.from * plane;
                        let data = &x[slab.first_image * image + group * self.from * plane..];
                        let patches =
                            Patches { data, image, extents: self.input, stride: self.stride, taps: &phase.taps };
                        let b = PositionColumns { patches, runs: &runs, n };
                        let k = 0..phase.weights.len();
                        if k.is_empty() {
                            c.fill(0.0);
                        }
                        Product { a, m: self.to, k, n, b: &b, add: false, c, panels }.run();
                        self.spread(phase, group, bias, &runs, c, product::padded_columns(n), axis, slab);
                    }
                }
            }
        });
    }

    /// Writes a product to its places in the output.
    #[expect(clippy::too_many_arguments, reason = "one innermost step of a loop nest")]
    fn spread(
        &self,
        phase: &Phase,
        group: usize,
        bias: Option<&[f32]>,
        runs: &[ColumnRun],
        c: &[f32],
        columns: usize,
        axis: usize,
        slab: &mut Slab<'_>,
    ) {
        let at = |run: &ColumnRun, a: usize| run.position[a] * self.spread[a] + phase.offset[a];
        let origin = slab.steps.start * self.spread[axis] * self.output[axis + 1..].iter().product::<usize>();
        for (row, c) in c.chunks_exact(columns).take(self.to).enumerate() {
            let channel = group * self.to + row;
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            for run in runs {
                let to = &mut *slab.channels[run.image * self.groups * self.to + channel];
                let place = (at(run, 0) * self.output[1] + at(run, 1)) * self.output[2] + at(run, 2) - origin;
                let from = &c[run.column..][..run.len];
                let step = self.spread[2];
                if step == 1 {
                    to[place..][..run.len].iter_mut().zip(from).for_each(|(to, c)| *to = c + bias);
                } else {
                    to[place..].iter_mut().step_by(step).zip(from).for_each(|(to, c)| *to = c + bias);
                }
            }
        }
    }
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

/// Patches with a column for each channel and tap, summed over positions.
struct TapColumns<'a> {
    patches: Patches<'a>,
    /// Output extents: the summed index counts image after image, line after line.
    positions: Axes,
    columns: Range<usize>,
}

impl Columns for TapColumns<'_> {
    #[inline(always)]
    fn pack(&self, k: Range<usize>, width: usize, to: &mut [f32]) {
        let n_taps = self.patches.taps.len();
        let rows = k.len();
        let runs = column_runs([0; 3], self.positions, k, usize::MAX);
        for (panel, to) in to.chunks_exact_mut(rows * width).enumerate() {
            to.fill(0.0);
            let start = self.columns.start + panel * width;
            for j in start..(start + width).min(self.columns.end) {
                let (channel, tap) = (j / n_taps, self.patches.taps[j % n_taps]);
                for run in &runs {
                    let Some((line, first)) = self.patches.line(run, channel, tap) else { continue };
                    let inside = self.patches.inside(first, run.len);
                    if inside.is_empty() {
                        continue;
                    }
                    let step = self.patches.stride[2];
                    let from = line[(first + (inside.start * step) as isize) as usize..].iter().step_by(step);
                    let to = to[(run.column + inside.start) * width + j - start..].iter_mut().step_by(width);
                    to.zip(from).take(inside.len()).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// `dw[o, c, k] = sum over images and positions of dy[n, o, p] * x[n, c, p * stride + k * dilation - padding]`.
struct WeightGradient {
    geometry: Geometry,
    taps: Vec<[isize; 3]>,
    /// Parts into which the sum over positions is cut; added up in order.
    parts: usize,
}

impl WeightGradient {
    fn new(geometry: Geometry) -> Self {
        let g = &geometry;
        let tap = |k: Axes| [0, 1, 2].map(|a| (k[a] * g.dilation[a]) as isize - g.padding[a] as isize);
        let taps: Vec<_> = positions(g.kernel).map(tap).collect();
        let tiles = g.groups * (g.inner * taps.len()).div_ceil(COLUMNS);
        let blocks = (g.images * volume(g.y)).div_ceil(KC);
        let parts = PARTS.div_ceil(tiles).min(blocks);
        Self { geometry, taps, parts }
    }

    /// Weights of an output channel.
    fn columns(&self) -> usize {
        self.geometry.inner * self.taps.len()
    }

    /// Elements of a tile of a part, in working memory.
    fn tile_len(&self) -> usize {
        product::padded_rows(self.geometry.outer) * product::padded_columns(COLUMNS)
    }

    fn tiles(&self) -> usize {
        self.columns().div_ceil(COLUMNS)
    }

    /// One part of the sum for one tile of columns of one group.
    fn tile(&self, x: &[f32], dy: &[f32], group: usize, tile: usize, part: usize, c: &mut [f32]) {
        let g = &self.geometry;
        let total = g.images * volume(g.y);
        // Whole blocks to every part.
        let blocks = total.div_ceil(KC);
        let range = part * blocks / self.parts * KC..((part + 1) * blocks / self.parts * KC).min(total);
        let columns = tile * COLUMNS..((tile + 1) * COLUMNS).min(self.columns());
        let n = columns.len();
        let (x_plane, y_plane) = (volume(g.x), volume(g.y));
        let data = &x[group * g.inner * x_plane..];
        let image = g.groups * g.inner * x_plane;
        let patches = Patches { data, image, extents: g.x, stride: g.stride, taps: &self.taps };
        let b = TapColumns { patches, positions: g.y, columns };
        let rows = product::padded_rows(g.outer);
        scratch::with(KC * (rows + product::padded_columns(n)), |memory| {
            let (a, panels) = memory.split_at_mut(KC * rows);
            for start in range.clone().step_by(KC) {
                let k = start..(start + KC).min(range.end);
                let at = |o: usize, p: usize| {
                    (p / y_plane * g.groups * g.outer + group * g.outer + o) * y_plane + p % y_plane
                };
                product::pack_rows(g.outer, k.clone(), dy, at, a);
                Product { a, m: g.outer, k, n, b: &b, add: start > range.start, c, panels }.run();
            }
        });
    }
}

impl Kernel for WeightGradient {
    fn workspace(&self) -> usize {
        self.geometry.groups * self.tiles() * self.parts * self.tile_len()
    }

    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let (x, dy) = (operands.input(0)?, operands.input(1)?);
        let Operands { outputs: [dw], workspace, .. } = operands else { return Err(Error::graph("has one output")) };
        let (tiles, len) = (self.tiles(), self.tile_len());
        workspace.par_chunks_mut(len).enumerate().for_each(|(i, c)| {
            self.tile(x, dy, i / self.parts / tiles, i / self.parts % tiles, i % self.parts, c);
        });
        let (columns, outer) = (self.columns(), self.geometry.outer);
        let rows = (CHUNK / columns).max(1);
        dw.f32()?.par_chunks_mut(rows * columns).enumerate().for_each(|(i, dw)| {
            for (r, dw) in dw.chunks_exact_mut(columns).enumerate() {
                let row = i * rows + r;
                for (tile, dw) in dw.chunks_mut(COLUMNS).enumerate() {
                    let first = (row / outer * tiles + tile) * self.parts;
                    let start = row % outer * product::padded_columns(dw.len());
                    let at = |part: usize| &workspace[(first + part) * len + start..];
                    dw.copy_from_slice(&at(0)[..dw.len()]);
                    for part in 1..self.parts {
                        dw.iter_mut().zip(at(part)).for_each(|(dw, c)| *dw += c);
                    }
                }
            }
        });
        Ok(())
    }
}
