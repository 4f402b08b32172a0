//! Convolution, transposed convolution and the weight gradient.
//!
//! The engine's kernels for convolutions and products are its fast ones; the other two operators are written with these.

use super::Operands;
use super::emit::{Emitter, Name};
use crate::model::AttributeDef;

/// Elements of each residue that [`woven_columns`] sorts at once.
const LONGEST_STRETCH: usize = 16;

/// Attributes that the three operators share, by spatial axis.
pub(super) struct Geometry<'a> {
    pub(super) stride: &'a [usize],
    pub(super) padding: &'a [usize],
    pub(super) dilation: &'a [usize],
    pub(super) groups: usize,
}

fn attributes(stride: &[usize], pads: &[usize], dilation: &[usize], groups: usize) -> Vec<AttributeDef> {
    vec![
        AttributeDef::ints("strides", stride),
        AttributeDef::ints("pads", pads),
        AttributeDef::ints("dilations", dilation),
        AttributeDef::int("group", groups as i64),
    ]
}

pub(super) fn conv(e: &mut Emitter, x: &Operands<'_>, how: &Geometry<'_>) -> Name {
    let pads = [how.padding, how.padding].concat();
    e.node("Conv", &x.all(), attributes(how.stride, &pads, how.dilation, how.groups))
}

/// The outputs of one residue along an axis, modulo the stride, as a plain correlation with some of the weight's positions.
///
/// Output `o = stride * t + residue` sums `w[k] * x[t + (residue + padding - k * dilation) / stride]` over the `k` for which the
/// division leaves no rest: an arithmetic sequence, of which the last reads the first element.
struct Phase {
    /// Positions in the weight, the last first; empty if no position contributes.
    positions: Vec<usize>,
    dilation: usize,
    /// Where in the input the window of output 0 begins.
    begin: i64,
}

impl Phase {
    fn new(kernel: usize, stride: usize, padding: usize, dilation: usize, residue: usize) -> Self {
        let reached = |k: usize| (residue + padding) as i64 - (k * dilation) as i64;
        let hit = |k: &usize| reached(*k).rem_euclid(stride as i64) == 0;
        let positions: Vec<usize> = (0..kernel).filter(hit).rev().collect();
        let offset = |k: usize| reached(k).div_euclid(stride as i64);
        let begin = positions.first().map_or(0, |k| offset(*k));
        let dilation = match positions[..] {
            [last, before, ..] => (offset(before) - offset(last)).unsigned_abs() as usize,
            _ => 1,
        };
        Self { positions, dilation, begin }
    }

    /// Elements to add in front of and behind an axis of `n` for `outputs` windows; less than 0 to take away.
    fn margins(&self, n: usize, outputs: usize) -> [i64; 2] {
        let span = (self.dilation * self.positions.len().saturating_sub(1)) as i64;
        [-self.begin, self.begin + span + outputs as i64 - n as i64]
    }
}

/// One convolution for every residue of the output's position modulo the stride, and their results interleaved.
pub(super) fn conv_transpose(e: &mut Emitter, x: &Operands<'_>, how: &Geometry<'_>) -> Name {
    let (kernel, output) = (&x.ty(1).shape[2..], &x.output(0).shape);
    let each: Vec<usize> = (0..kernel.len()).map(|a| output[a + 2].div_ceil(how.stride[a])).collect();
    let weight = swapped(e, x.name(1), &x.ty(1).shape, how.groups);
    let phase_of =
        |a: usize, residue: usize| Phase::new(kernel[a], how.stride[a], how.padding[a], how.dilation[a], residue);
    let part = |e: &mut Emitter, residue: usize| {
        let residues = digits(residue, how.stride);
        let phases: Vec<Phase> = residues.iter().enumerate().map(|(a, residue)| phase_of(a, *residue)).collect();
        phase(e, x, &weight, &phases, &each, how.groups)
    };
    let parts = (0..how.stride.iter().product()).map(|residue| part(e, residue)).collect();
    let whole = interleaved(e, parts, how.stride, &[&output[..2], &each].concat());
    let full: Vec<usize> =
        output[..2].iter().copied().chain((0..each.len()).map(|a| how.stride[a] * each[a])).collect();
    e.slice(&whole, &full, &vec![0; full.len()], output)
}

/// A position in a box of the given extents from its row-major number.
fn digits(number: usize, extents: &[usize]) -> Vec<usize> {
    let mut rest = number;
    let mut digits: Vec<usize> = extents.iter().rev().map(|n| (rest % n, rest /= n).0).collect();
    digits.reverse();
    digits
}

/// `[N, O, T..]` of every residue, the last axis' residues fastest, to `[N, O, stride * T..]`.
fn interleaved(e: &mut Emitter, mut parts: Vec<Name>, stride: &[usize], shape: &[usize]) -> Name {
    let mut shape = shape.to_vec();
    for a in (0..stride.len()).rev().filter(|a| stride[*a] > 1) {
        let axis = a + 2;
        let weave = if axis == shape.len() - 1 { woven_columns } else { woven_rows };
        parts = parts.chunks(stride[a]).map(|group| weave(e, group, &shape, axis)).collect();
        shape[axis] *= stride[a];
    }
    parts.swap_remove(0)
}

/// One after another along `axis`, line by line.
fn woven_rows(e: &mut Emitter, group: &[Name], shape: &[usize], axis: usize) -> Name {
    let apart = [&shape[..=axis], &[1], &shape[axis + 1..]].concat();
    let mut longer = shape.to_vec();
    longer[axis] *= group.len();
    let joined = joined(e, group, shape, &apart, axis + 1);
    e.view(&joined, &longer)
}

/// One after another along the last axis: the engine is slow at moving single elements and fast at products, so that a matrix of 0 and
/// 1 sorts short stretches of every line.
fn woven_columns(e: &mut Emitter, group: &[Name], shape: &[usize], axis: usize) -> Name {
    let (n, residues) = (shape[axis], group.len());
    let stretch = (1..=n.min(LONGEST_STRETCH)).rev().find(|length| n.is_multiple_of(*length)).unwrap_or(1);
    let rows = shape.iter().product::<usize>() / stretch;
    let side = stretch * residues;
    let mut order = vec![0.0; side * side];
    for residue in 0..residues {
        (0..stretch).for_each(|t| order[(residue * stretch + t) * side + t * residues + residue] = 1.0);
    }
    let joined = joined(e, group, shape, &[rows, stretch], 1);
    let order = e.floats(&[side, side], &order);
    let sorted = e.binary("MatMul", &joined, &order);
    let mut longer = shape.to_vec();
    longer[axis] *= residues;
    e.view(&sorted, &longer)
}

/// Parts of one shape, seen under another, joined along an axis.
fn joined(e: &mut Emitter, group: &[Name], shape: &[usize], seen: &[usize], axis: usize) -> Name {
    let parts: Vec<Name> = group.iter().map(|part| e.reshape(part, shape, seen)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    e.node("Concat", &parts, vec![AttributeDef::int("axis", axis as i64)])
}

/// The outputs `[N, O, T..]` of one residue.
fn phase(e: &mut Emitter, x: &Operands<'_>, weight: &str, phases: &[Phase], each: &[usize], groups: usize) -> Name {
    let (input, output) = (&x.ty(0).shape, &x.output(0).shape);
    if phases.iter().any(|phase| phase.positions.is_empty()) {
        let shape = [&output[..2], each].concat();
        let zeros = super::fill(e, &mimus_core::ValueType::f32(shape), 0.0);
        return match x.names.get(2) {
            None => zeros,
            Some(bias) => {
                let column = e.view(bias, &[&output[1..2], vec![1; each.len()].as_slice()].concat());
                e.binary("Add", &zeros, &column)
            }
        };
    }
    let margins: Vec<[i64; 2]> = (0..each.len()).map(|a| phases[a].margins(input[a + 2], each[a])).collect();
    let more = |side: usize| margins.iter().map(move |margin| margin[side].max(0) as usize);
    let less = |side: usize| margins.iter().map(move |margin| (-margin[side]).max(0) as usize);
    let starts: Vec<usize> = [0, 0].into_iter().chain(less(0)).collect();
    let ends: Vec<usize> =
        input[..2].iter().copied().chain(input[2..].iter().zip(less(1)).map(|(n, cut)| n - cut)).collect();
    let cut = e.slice(x.name(0), input, &starts, &ends);
    let taken = positions(e, weight, &x.ty(1).shape, phases, groups);
    let mut operands = vec![cut.as_str(), &taken];
    operands.extend(x.names.get(2));
    let pads: Vec<usize> = more(0).chain(more(1)).collect();
    let dilation: Vec<usize> = phases.iter().map(|phase| phase.dilation).collect();
    e.node("Conv", &operands, attributes(&vec![1; each.len()], &pads, &dilation, groups))
}

/// The weight's positions that the phases take, `[O, I/groups, ..]`.
fn positions(e: &mut Emitter, weight: &str, shape: &[usize], phases: &[Phase], groups: usize) -> Name {
    let (kernel, rows) = (&shape[2..], [shape[1] * groups, shape[0] / groups]);
    let extents: Vec<usize> = phases.iter().map(|phase| phase.positions.len()).collect();
    let number = |taken: usize| {
        let at = digits(taken, &extents);
        (0..at.len()).fold(0, |number, a| number * kernel[a] + phases[a].positions[at[a]])
    };
    let numbers: Vec<usize> = (0..extents.iter().product()).map(number).collect();
    let all: usize = kernel.iter().product();
    let flat = e.view(weight, &[rows[0], rows[1], all]);
    let taken = if numbers.iter().copied().eq(0..all) {
        flat
    } else {
        let numbers = e.list(&numbers);
        e.node("Gather", &[&flat, &numbers], vec![AttributeDef::int("axis", 2)])
    };
    e.view(&taken, &[rows.as_slice(), &extents].concat())
}

/// A weight `[I, O/groups, ..]` as `[O, I/groups, ..]`.
fn swapped(e: &mut Emitter, weight: &str, shape: &[usize], groups: usize) -> Name {
    let (inner, outer, kernel) = (shape[0] / groups, shape[1], &shape[2..]);
    let apart = [&[groups, inner, outer], kernel].concat();
    let weight = e.reshape(weight, shape, &apart);
    let order: Vec<usize> = [0, 2, 1].into_iter().chain(3..apart.len()).collect();
    let weight = e.transpose(&weight, &order);
    e.view(&weight, &[&[groups * outer, inner], kernel].concat())
}

/// For every position of the weight along the last axis, a product of the gradient and the input's elements that meet it, summed over
/// the images.
pub(super) fn conv_weight_grad(e: &mut Emitter, x: &Operands<'_>, how: &Geometry<'_>) -> Name {
    let (input, dy, weight) = (&x.ty(0).shape, &x.ty(1).shape, &x.output(0).shape);
    let (n, groups, channels, last) = (input[0], how.groups, weight[1], input.len() - 3);
    let padded_shape: Vec<usize> =
        input.iter().enumerate().map(|(a, n)| if a < 2 { *n } else { n + 2 * how.padding[a - 2] }).collect();
    let padded = padded(e, x.name(0), how.padding);
    let lines = Lines::new(&padded_shape[2..], &weight[2..], &dy[2..], how);
    let length: usize = dy[2..].iter().product();
    let rows = e.reshape(x.name(1), dy, &[n, groups, dy[1] / groups, length]);
    let mut columns = Vec::new();
    for position in 0..weight[last + 2] {
        let met = lines.gather(e, &padded, &padded_shape, position);
        let patches = e.view(&met, &[n, groups, channels * lines.positions, length]);
        let patches = e.transpose(&patches, &[0, 1, 3, 2]);
        let products = e.binary("MatMul", &rows, &patches);
        let sum = e.reduce("ReduceSum", &products, &[0], false);
        columns.push(e.view(&sum, &[dy[1], channels, lines.positions, 1]));
    }
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let joined = match names[..] {
        [one] => one.to_owned(),
        _ => e.node("Concat", &names, vec![AttributeDef::int("axis", 3)]),
    };
    e.view(&joined, weight)
}

fn padded(e: &mut Emitter, x: &str, padding: &[usize]) -> Name {
    if padding.iter().all(|n| *n == 0) {
        return x.to_owned();
    }
    let side = [&[0, 0], padding].concat();
    let pads = e.list(&[side.as_slice(), &side].concat());
    e.node("Pad", &[x, &pads], vec![AttributeDef::text("mode", "constant")])
}

/// Which lines of the padded input (its last axis) meet which position of the weight's other axes, and what of a line is met.
struct Lines {
    /// Positions of the weight in all axes but the last.
    positions: usize,
    /// Numbers of lines, `[positions, windows in all axes but the last]`.
    numbers: Vec<usize>,
    /// Lines in a plane of the padded input.
    all: usize,
    windows: usize,
    stride: usize,
    dilation: usize,
}

impl Lines {
    fn new(padded: &[usize], kernel: &[usize], windows: &[usize], how: &Geometry<'_>) -> Self {
        let last = padded.len() - 1;
        let [positions, starts] = [kernel, windows].map(|extents| extents[..last].iter().product::<usize>());
        let line = |position: usize, start: usize| {
            let (k, o) = (digits(position, &kernel[..last]), digits(start, &windows[..last]));
            (0..last).fold(0, |line, a| line * padded[a] + o[a] * how.stride[a] + k[a] * how.dilation[a])
        };
        let numbers = (0..positions).flat_map(|k| (0..starts).map(move |o| (k, o))).map(|(k, o)| line(k, o)).collect();
        Self {
            positions,
            numbers,
            all: padded[..last].iter().product(),
            windows: windows[last],
            stride: how.stride[last],
            dilation: how.dilation[last],
        }
    }

    /// `[N, C, positions, windows..]` that `position` of the weight's last axis meets.
    fn gather(&self, e: &mut Emitter, padded: &str, shape: &[usize], position: usize) -> Name {
        let width = shape[shape.len() - 1];
        let planes = [shape[0], shape[1], self.all, width];
        let lines = e.reshape(padded, shape, &planes);
        let start = position * self.dilation;
        let end = start + self.stride * (self.windows - 1) + 1;
        let cut = if (start, end, self.stride) == (0, width, 1) {
            lines
        } else {
            let [starts, ends, axes, steps] = [start, end, 3, self.stride].map(|n| e.list(&[n]));
            e.node("Slice", &[&lines, &starts, &ends, &axes, &steps], vec![])
        };
        if self.numbers.iter().copied().eq(0..self.all) {
            return cut;
        }
        let numbers = e.list(&self.numbers);
        e.node("Gather", &[&cut, &numbers], vec![AttributeDef::int("axis", 2)])
    }
}
