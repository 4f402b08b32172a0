//! Image patches as the right factor of a product.
//!
//! A product handles a block of output positions. The part of the input that the block reads, its window, is copied once, with
//! zeros for the padding, in the order in which the panels want it: then every tap is a plain copy of whole vectors.

use std::ops::Range;

use super::{Axes, volume};
use crate::kernels::product::Columns;

/// Neighbouring output positions: one plane at most of the first axis, and several images only if they are small.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) images: Range<usize>,
    pub(super) start: Axes,
    pub(super) extents: Axes,
}

impl Block {
    /// Number of positions.
    pub(super) fn len(&self) -> usize {
        self.images.len() * volume(self.extents)
    }

    /// Lines of positions, in order: image, first position, and number of the line's first position.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, Axes, usize)> {
        let [_, height, width] = self.extents;
        (0..self.images.len() * height).map(move |line| {
            let position = [self.start[0], self.start[1] + line % height, self.start[2]];
            (self.images.start + line / height, position, line * width)
        })
    }
}

/// The box `start .. start + extents` of `images` images, cut into blocks of at most `most` positions.
pub(super) fn blocks(images: usize, start: Axes, extents: Axes, most: usize) -> Vec<Block> {
    let width = extents[2].min(most);
    let height = (most / width).clamp(1, extents[1].max(1));
    let together = if extents[0] == 1 { (most / (extents[1] * extents[2]).max(1)).max(1) } else { 1 };
    let mut blocks = Vec::new();
    for first in (0..images).step_by(together) {
        for t in 0..extents[0] {
            for h in (0..extents[1]).step_by(height) {
                for w in (0..extents[2]).step_by(width) {
                    blocks.push(Block {
                        images: first..(first + together).min(images),
                        start: [start[0] + t, start[1] + h, start[2] + w],
                        extents: [1, height.min(extents[1] - h), width.min(extents[2] - w)],
                    });
                }
            }
        }
    }
    blocks
}

/// Images of one group of channels.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub(super) data: &'a [f32],
    /// Elements from image to image.
    pub(super) step: usize,
    pub(super) extents: Axes,
}

impl<'a> Images<'a> {
    /// A line of a channel; `None` outside the image.
    #[inline(always)]
    fn line(&self, image: usize, channel: usize, t: isize, h: isize) -> Option<&'a [f32]> {
        let [depth, height, width] = self.extents;
        if t < 0 || h < 0 || t as usize >= depth || h as usize >= height {
            return None;
        }
        let line = (channel * depth + t as usize) * height + h as usize;
        Some(&self.data[image * self.step + line * width..][..width])
    }
}

/// Where the elements of a patch stand: at `position * stride + tap`.
pub(super) struct Taps {
    pub(super) list: Vec<[isize; 3]>,
    stride: Axes,
    /// Least tap and number of elements from it to the greatest, along every axis.
    low: [isize; 3],
    span: Axes,
}

impl Taps {
    pub(super) fn new(list: Vec<[isize; 3]>, stride: Axes) -> Self {
        let ends = |a: usize| {
            let along = || list.iter().map(move |tap| tap[a]);
            (along().min().unwrap_or(0), along().max().unwrap_or(0))
        };
        let low = [0, 1, 2].map(|a| ends(a).0);
        let span = [0, 1, 2].map(|a| (ends(a).1 - ends(a).0) as usize + 1);
        Self { list, stride, low, span }
    }

    /// Extents of the window of a block.
    fn window(&self, extents: Axes) -> Axes {
        [0, 1, 2].map(|a| (extents[a].max(1) - 1) * self.stride[a] + self.span[a])
    }

    /// Elements of working memory for the windows of one channel of a block.
    pub(super) fn window_len(&self, block: &Block) -> usize {
        let [depth, height, width] = self.window(block.extents);
        block.images.len() * depth * height * width.next_multiple_of(self.stride[2])
    }

    /// The window's first position in the input.
    fn origin(&self, block: &Block) -> [isize; 3] {
        [0, 1, 2].map(|a| (block.start[a] * self.stride[a]) as isize + self.low[a])
    }
}

/// Of `len` elements from `first` on, those inside a line of `width`.
#[inline(always)]
fn inside(first: isize, len: usize, width: usize) -> Range<usize> {
    let low = first.min(0).unsigned_abs().min(len);
    let high = (width as isize - first).max(0) as usize;
    low..high.clamp(low, len)
}

/// A run of columns within a panel, and where its patches begin in the window.
struct Run {
    column: usize,
    from: usize,
    len: usize,
}

/// Patches with a column for each position of a block and a row for each channel and tap.
pub(super) struct PositionColumns<'a> {
    images: Images<'a>,
    taps: &'a Taps,
    block: &'a Block,
    runs: Vec<Run>,
    /// For every tap its place in the window.
    places: Vec<usize>,
    /// Window extents; columns are grouped by their remainder modulo the stride.
    extents: Axes,
    /// Working memory: the window of one channel.
    window: &'a mut [f32],
}

impl<'a> PositionColumns<'a> {
    pub(super) fn new(
        images: Images<'a>,
        taps: &'a Taps,
        block: &'a Block,
        panel: usize,
        window: &'a mut [f32],
    ) -> Self {
        let extents = taps.window(block.extents);
        let step = taps.stride[2];
        let group = extents[2].div_ceil(step);
        let line = step * group;
        let mut runs = Vec::new();
        for (image, position, first) in block.lines() {
            let planes = (image - block.images.start) * extents[0] * extents[1];
            let row = planes + (position[1] - block.start[1]) * taps.stride[1];
            let (mut column, end) = (first, first + block.extents[2]);
            while column < end {
                let len = (panel - column % panel).min(end - column);
                runs.push(Run { column, from: row * line + column - first, len });
                column += len;
            }
        }
        let place = |tap: &[isize; 3]| {
            let [t, h, w] = [0, 1, 2].map(|a| (tap[a] - taps.low[a]) as usize);
            (t * extents[1] + h) * line + w % step * group + w / step
        };
        let places = taps.list.iter().map(place).collect();
        Self { images, taps, block, runs, places, extents, window }
    }

    /// Copies the window of a channel.
    #[inline(always)]
    fn fill(&mut self, channel: usize) {
        let [depth, height, width] = self.extents;
        let [t, h, w] = self.taps.origin(self.block);
        let step = self.taps.stride[2];
        let mut lines = self.window.chunks_exact_mut(width.next_multiple_of(step));
        for image in self.block.images.clone() {
            for plane in 0..depth {
                for (row, to) in (0..height).zip(&mut lines) {
                    match self.images.line(image, channel, t + plane as isize, h + row as isize) {
                        Some(from) => group_columns(from, w, width, step, to),
                        None => to.fill(0.0),
                    }
                }
            }
        }
    }
}

/// Copies `width` elements of a line from `first` on, zeros outside it, grouped by their remainder modulo `step`.
#[inline(always)]
fn group_columns(from: &[f32], first: isize, width: usize, step: usize, to: &mut [f32]) {
    let inside = inside(first, width, from.len());
    let from = &from[(first + inside.start as isize).max(0) as usize..][..inside.len()];
    if inside.len() < to.len() {
        to.fill(0.0);
    }
    if step == 1 {
        to[inside].copy_from_slice(from);
        return;
    }
    let group = to.len() / step;
    for (remainder, to) in to.chunks_exact_mut(group).enumerate() {
        // The first element of the group that is inside.
        let start = inside.start.saturating_sub(remainder).div_ceil(step);
        let skip = start * step + remainder - inside.start;
        if skip >= from.len() {
            continue;
        }
        if step == 2 {
            let (pairs, rest) = from[skip..].as_chunks::<2>();
            let to = &mut to[start..];
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
            if let [last] = rest {
                to[pairs.len()] = *last;
            }
        } else {
            to[start..].iter_mut().zip(from[skip..].iter().step_by(step)).for_each(|(to, from)| *to = *from);
        }
    }
}

impl Columns for PositionColumns<'_> {
    #[inline(always)]
    fn pack(&mut self, k: Range<usize>, width: usize, to: &mut [f32]) {
        let n_taps = self.places.len();
        let rows = k.len();
        if !self.block.len().is_multiple_of(width) {
            let last = to.len() - rows * width;
            to[last..].fill(0.0);
        }
        for channel in k.start / n_taps..k.end.div_ceil(n_taps) {
            self.fill(channel);
            let first = channel * n_taps;
            for p in first.max(k.start)..(first + n_taps).min(k.end) {
                let window = &self.window[self.places[p - first]..];
                for run in &self.runs {
                    let at = (run.column / width * rows + p - k.start) * width + run.column % width;
                    copy(&window[run.from..][..run.len], &mut to[at..][..run.len]);
                }
            }
        }
    }
}

/// A copy without a call: most are one or two vectors long.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<16>(), to.as_chunks_mut::<16>());
    from.iter().zip(to).for_each(|(from, to)| *to = *from);
    from_rest.iter().zip(to_rest).for_each(|(from, to)| *to = *from);
}

/// Patches with a column for each tap and channel, channels innermost, and a row for each position of a block.
pub(super) struct TapColumns<'a> {
    images: Images<'a>,
    taps: &'a Taps,
    block: &'a Block,
    channels: Range<usize>,
    /// Where the patch of every position begins in the window.
    bases: Vec<usize>,
    extents: Axes,
    /// Working memory: the window of all channels, channels innermost.
    window: &'a mut [f32],
}

impl<'a> TapColumns<'a> {
    pub(super) fn new(
        images: Images<'a>,
        taps: &'a Taps,
        block: &'a Block,
        channels: Range<usize>,
        window: &'a mut [f32],
    ) -> Self {
        let extents = taps.window(block.extents);
        let mut bases = Vec::with_capacity(block.len());
        for (image, position, _) in block.lines() {
            let planes = (image - block.images.start) * extents[0] * extents[1];
            let row = (planes + (position[1] - block.start[1]) * taps.stride[1]) * extents[2];
            bases.extend((0..block.extents[2]).map(|w| (row + w * taps.stride[2]) * channels.len()));
        }
        Self { images, taps, block, channels, bases, extents, window }
    }

    #[inline(always)]
    fn fill(&mut self) {
        let [depth, height, width] = self.extents;
        let [t, h, w] = self.taps.origin(self.block);
        let mut lines = self.window.chunks_exact_mut(width * self.channels.len());
        for image in self.block.images.clone() {
            for plane in 0..depth {
                for (row, to) in (0..height).zip(&mut lines) {
                    let line = |c: usize| self.images.line(image, c, t + plane as isize, h + row as isize);
                    transpose(line, self.channels.clone(), w, width, to);
                }
            }
        }
    }
}

/// Copies `width` elements from `first` on of the line of every channel, zeros outside, channels innermost.
#[inline(always)]
fn transpose<'a>(
    line: impl Fn(usize) -> Option<&'a [f32]>,
    channels: Range<usize>,
    first: isize,
    width: usize,
    to: &mut [f32],
) {
    let Some(any) = line(channels.start) else {
        to.fill(0.0);
        return;
    };
    let n = channels.len();
    let inside = inside(first, width, any.len());
    let from = (first + inside.start as isize).max(0) as usize;
    to[..inside.start * n].fill(0.0);
    to[inside.end * n..].fill(0.0);
    let to = &mut to[inside.start * n..inside.end * n];
    const SIDE: usize = 16;
    let whole = n / SIDE * SIDE;
    for c in (0..whole).step_by(SIDE) {
        let lines: [&[f32]; SIDE] =
            std::array::from_fn(|i| line(channels.start + c + i).map_or(&[][..], |line| &line[from..][..inside.len()]));
        for (w, to) in to.chunks_exact_mut(n).enumerate() {
            to[c..c + SIDE].copy_from_slice(&lines.map(|line| line[w]));
        }
    }
    for c in whole..n {
        let Some(line) = line(channels.start + c) else { continue };
        to[c..].iter_mut().step_by(n).zip(&line[from..][..inside.len()]).for_each(|(to, from)| *to = *from);
    }
}

impl Columns for TapColumns<'_> {
    #[inline(always)]
    fn pack(&mut self, k: Range<usize>, width: usize, to: &mut [f32]) {
        let (rows, n) = (k.len(), self.channels.len());
        if k.start == 0 {
            self.fill();
        }
        for (panel, to) in to.chunks_exact_mut(rows * width).enumerate() {
            let (start, end) = (panel * width, ((panel + 1) * width).min(self.taps.list.len() * n));
            if end - start < width {
                to.fill(0.0);
            }
            let mut column = start;
            while column < end {
                let (tap, channel) = (self.taps.list[column / n], column % n);
                let [t, h, w] = [0, 1, 2].map(|a| (tap[a] - self.taps.low[a]) as usize);
                let place = ((t * self.extents[1] + h) * self.extents[2] + w) * n + channel;
                let len = (n - channel).min(end - column);
                let window = &self.window[place..];
                for (base, to) in self.bases[k.clone()].iter().zip(to.chunks_exact_mut(width)) {
                    copy(&window[*base..][..len], &mut to[column - start..][..len]);
                }
                column += len;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_position_once() {
        for (images, extents) in [(3, [1, 5, 7]), (2, [3, 40, 9]), (1, [1, 1, 700]), (5, [1, 2, 3])] {
            let start = [1, 2, 3];
            let mut seen = std::collections::BTreeSet::new();
            for block in blocks(images, start, extents, 64) {
                assert!(block.len() <= 64);
                for (image, position, first) in block.lines() {
                    assert!(first < block.len());
                    for w in 0..block.extents[2] {
                        assert!(seen.insert((image, position[0], position[1], position[2] + w)));
                    }
                }
            }
            assert_eq!(seen.len(), images * volume(extents));
        }
    }

    #[test]
    fn columns_are_grouped_by_remainder_with_zeros_outside() {
        let line = [1.0, 2.0, 3.0, 4.0, 5.0];
        let mut to = [9.0; 8];
        group_columns(&line, -1, 7, 2, &mut to);
        assert_eq!(to, [0.0, 2.0, 4.0, 0.0, 1.0, 3.0, 5.0, 0.0]);
        let mut to = [9.0; 6];
        group_columns(&line, 3, 5, 3, &mut to);
        assert_eq!(to, [4.0, 0.0, 5.0, 0.0, 0.0, 0.0]);
    }
}
