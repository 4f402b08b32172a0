//! The same elements elsewhere: permute, slice, broadcast, concat, pad; and the walk over strided memory that they share.

use std::ops::Range;

use mimus_core::tensor::strides;
use mimus_core::{Error, Op, Result};
use rayon::prelude::*;

use super::{CHUNK, Kernel, Operands, Types};
use crate::buffer::{View, ViewMut};

/// Where the elements of a box, in row-major order, stand in other memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Walk {
    base: usize,
    /// Neighbouring axes that are one in both memories are merged; there is at least one axis.
    axes: Vec<Axis>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    extent: usize,
    step: usize,
}

/// Consecutive elements of the box, from `to` on, that stand `step` apart from `from` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) to: usize,
    pub(crate) from: usize,
    pub(crate) step: usize,
    pub(crate) len: usize,
}

impl Walk {
    pub(crate) fn new(base: usize, extents: &[usize], steps: &[usize]) -> Self {
        let mut axes: Vec<Axis> = Vec::new();
        for (&extent, &step) in extents.iter().zip(steps) {
            match axes.last_mut() {
                _ if extent == 1 => {}
                Some(last) if last.step == step * extent => *last = Axis { extent: last.extent * extent, step },
                _ => axes.push(Axis { extent, step }),
            }
        }
        if axes.is_empty() {
            axes.push(Axis { extent: 1, step: 0 });
        }
        Self { base, axes }
    }

    /// An array of extents `from`, broadcast to `to` as NumPy does.
    pub(crate) fn broadcast(from: &[usize], to: &[usize]) -> Self {
        let own = strides(from).into_iter().zip(from).map(|(step, extent)| if *extent == 1 { 0 } else { step });
        let steps: Vec<usize> = std::iter::repeat_n(0, to.len().saturating_sub(from.len())).chain(own).collect();
        Self::new(0, to, &steps)
    }

    /// Whether the walk is the memory itself, from its start.
    pub(crate) fn is_identity(&self) -> bool {
        self.base == 0 && matches!(self.axes[..], [Axis { step: 1, .. } | Axis { extent: 1, .. }])
    }

    /// Whether every element is the first of the memory.
    pub(crate) fn is_uniform(&self) -> bool {
        self.base == 0 && matches!(self.axes[..], [Axis { step: 0, .. }])
    }

    /// Where element `index` of the box stands.
    pub(crate) fn position(&self, mut index: usize) -> usize {
        let mut position = self.base;
        for axis in self.axes.iter().rev() {
            position += index % axis.extent * axis.step;
            index /= axis.extent;
        }
        position
    }

    /// Calls `f` for the runs that make up the elements in `range`; `to` counts from the range's start.
    #[inline(always)]
    pub(crate) fn runs(&self, range: Range<usize>, mut f: impl FnMut(Run)) {
        let inner = self.axes[self.axes.len() - 1];
        let mut index = range.start;
        while index < range.end {
            let len = (inner.extent - index % inner.extent).min(range.end - index);
            f(Run { to: index - range.start, from: self.position(index), step: inner.step, len });
            index += len;
        }
    }

    /// Gathers the elements in `range` into `to`.
    #[inline(always)]
    pub(crate) fn gather<T: Copy>(&self, from: &[T], range: Range<usize>, to: &mut [T]) {
        self.runs(range, |run| {
            let to = &mut to[run.to..][..run.len];
            match run.step {
                0 => to.fill(from[run.from]),
                1 => to.copy_from_slice(&from[run.from..][..run.len]),
                step => to.iter_mut().zip(from[run.from..].iter().step_by(step)).for_each(|(to, from)| *to = *from),
            }
        });
    }
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (x, y) = (types.input(0)?, types.output(0)?);
    let steps = strides(x);
    let walk = match op {
        Op::Reshape { .. } => Walk::new(0, y, &strides(y)),
        Op::Permute { order } => Walk::new(0, y, &order.iter().map(|a| steps[*a]).collect::<Vec<_>>()),
        Op::Slice { starts, .. } => {
            Walk::new(starts.iter().zip(&steps).map(|(start, step)| start * step).sum(), y, &steps)
        }
        Op::Broadcast { .. } => Walk::broadcast(x, y),
        Op::Concat { axis } => {
            let inner = |shape: &[usize]| shape[*axis..].iter().product();
            return Ok(Box::new(Concat { runs: types.inputs.iter().map(|ty| inner(&ty.shape)).collect() }));
        }
        Op::Pad { before, value, .. } => return Ok(Box::new(Pad::new(x, y, before, *value as f32))),
        _ => return Err(Error::backend("is no layout operator")),
    };
    Ok(Box::new(Pick { walk }))
}

/// Every output element is one of the input.
struct Pick {
    walk: Walk,
}

impl Kernel for Pick {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        match (operands.inputs, operands.outputs) {
            ([View::F32(x)], [ViewMut::F32(y)]) => self.pick(x, y),
            ([View::I64(x)], [ViewMut::I64(y)]) => self.pick(x, y),
            _ => return Err(Error::graph("input and output differ in type")),
        }
        Ok(())
    }
}

impl Pick {
    fn pick<T: Copy + Send + Sync>(&self, x: &[T], y: &mut [T]) {
        y.par_chunks_mut(CHUNK).enumerate().for_each(|(i, y)| {
            let start = i * CHUNK;
            self.walk.gather(x, start..start + y.len(), y);
        });
    }
}

/// Inputs one after another in every row.
struct Concat {
    /// Elements of each input in a row of the output.
    runs: Vec<usize>,
}

impl Kernel for Concat {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        match operands.outputs {
            [ViewMut::F32(y)] => self.concat(&operands.inputs.iter().map(|x| x.f32()).collect::<Result<Vec<_>>>()?, y),
            [ViewMut::I64(y)] => self.concat(&operands.inputs.iter().map(|x| x.i64()).collect::<Result<Vec<_>>>()?, y),
            _ => return Err(Error::graph("has one output")),
        }
        Ok(())
    }
}

impl Concat {
    fn concat<T: Copy + Send + Sync>(&self, inputs: &[&[T]], y: &mut [T]) {
        let row: usize = self.runs.iter().sum();
        y.par_chunks_mut(row).enumerate().for_each(|(i, mut y)| {
            for (x, run) in inputs.iter().zip(&self.runs) {
                let (head, tail) = y.split_at_mut(*run);
                head.copy_from_slice(&x[i * run..][..*run]);
                y = tail;
            }
        });
    }
}

/// The input within a constant frame.
struct Pad {
    value: f32,
    /// Extents of input and output, and the input's first index, for every axis.
    x: Vec<usize>,
    y: Vec<usize>,
    before: Vec<usize>,
}

impl Pad {
    fn new(x: &[usize], y: &[usize], before: &[usize], value: f32) -> Self {
        // A scalar is padded as a vector of one element.
        let vector = |list: &[usize], fill: usize| if list.is_empty() { vec![fill] } else { list.to_vec() };
        Self { value, x: vector(x, 1), y: vector(y, 1), before: vector(before, 0) }
    }

    /// The input's row that stands in the output's row, if there is one.
    fn source(&self, mut row: usize) -> Option<usize> {
        let (mut source, mut step) = (0, 1);
        for a in (0..self.y.len() - 1).rev() {
            let i = (row % self.y[a]).checked_sub(self.before[a]).filter(|i| *i < self.x[a])?;
            source += i * step;
            step *= self.x[a];
            row /= self.y[a];
        }
        Some(source)
    }
}

impl Kernel for Pad {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let last = self.y.len() - 1;
        let (width, from, start) = (self.y[last], self.x[last], self.before[last]);
        let rows = (CHUNK / width).max(1);
        operands.output()?.par_chunks_mut(rows * width).enumerate().for_each(|(i, y)| {
            y.fill(self.value);
            for (row, y) in y.chunks_exact_mut(width).enumerate() {
                if let Some(source) = self.source(i * rows + row) {
                    y[start..start + from].copy_from_slice(&x[source * from..][..from]);
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_are_one_in_both_memories_are_merged() {
        assert!(Walk::broadcast(&[2, 3, 4], &[2, 3, 4]).is_identity());
        assert!(Walk::broadcast(&[1, 1], &[2, 3, 4]).is_uniform());
        let channels = Walk::broadcast(&[3, 1, 1], &[2, 3, 4, 5]);
        assert_eq!(channels.axes.iter().map(|a| (a.extent, a.step)).collect::<Vec<_>>(), [(2, 0), (3, 1), (20, 0)]);
    }

    #[test]
    fn a_walk_can_begin_anywhere() {
        let transposed = Walk::new(0, &[3, 2], &[1, 3]);
        let mut y = [0; 4];
        transposed.gather(&[0, 1, 2, 3, 4, 5], 1..5, &mut y);
        assert_eq!(y, [3, 1, 4, 2]);
    }
}
