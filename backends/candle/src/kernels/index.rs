//! Positions as values: argmax, one-hot, gather.

use mimus_core::{Error, Op, Result};
use rayon::prelude::*;

use super::{CHUNK, Kernel, Operands, Types};
use crate::buffer::ViewMut;

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let x = types.input(0)?;
    Ok(match op {
        Op::ArgMax { axis } => Box::new(ArgMax { extent: x[*axis], inner: x[axis + 1..].iter().product() }),
        Op::OneHot { depth } => Box::new(OneHot { depth: *depth }),
        Op::Gather {} => Box::new(Gather { rows: x[0], width: x[1..].iter().product() }),
        Op::GatherGrad { rows } => {
            Box::new(GatherGrad { rows: *rows, width: types.input(1)?[x.len()..].iter().product() })
        }
        _ => return Err(Error::backend("is no index operator")),
    })
}

/// `index` as a row number.
fn row(index: i64, rows: usize) -> Result<usize> {
    let row = usize::try_from(index).ok().filter(|row| *row < rows);
    row.ok_or_else(|| Error::backend(format!("index {index} is outside 0..{rows}")))
}

/// Over the middle axis of `[outer, extent, inner]`.
struct ArgMax {
    extent: usize,
    inner: usize,
}

impl Kernel for ArgMax {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let [ViewMut::I64(y)] = operands.outputs else { return Err(Error::graph("has one i64 output")) };
        let least = (CHUNK / self.extent).max(1);
        y.par_iter_mut().with_min_len(least).enumerate().for_each(|(i, y)| {
            let base = i / self.inner * self.extent * self.inner + i % self.inner;
            let at = |k: usize| x[base + k * self.inner];
            let better = |best: usize, k: usize| if at(best).is_nan() || at(k) <= at(best) { best } else { k };
            *y = (1..self.extent).fold(0, better) as i64;
        });
        Ok(())
    }
}

struct OneHot {
    depth: usize,
}

impl Kernel for OneHot {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let indices = operands.indices(0)?;
        for (y, index) in operands.output()?.chunks_exact_mut(self.depth).zip(indices) {
            y.fill(0.0);
            y[row(*index, self.depth)?] = 1.0;
        }
        Ok(())
    }
}

struct Gather {
    rows: usize,
    width: usize,
}

impl Kernel for Gather {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (x, indices) = (operands.input(0)?, operands.indices(1)?);
        let least = (CHUNK / self.width).max(1);
        let rows = operands.output()?.par_chunks_exact_mut(self.width).with_min_len(least).zip(indices);
        // The first of several bad indices is reported, on any number of threads.
        indices.iter().try_for_each(|index| row(*index, self.rows).map(|_| ()))?;
        rows.try_for_each(|(y, index)| {
            y.copy_from_slice(&x[row(*index, self.rows)? * self.width..][..self.width]);
            Ok(())
        })
    }
}

struct GatherGrad {
    rows: usize,
    width: usize,
}

impl Kernel for GatherGrad {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (indices, dy) = (operands.indices(0)?, operands.input(1)?);
        let dx = operands.output()?;
        dx.fill(0.0);
        for (index, dy) in indices.iter().zip(dy.chunks_exact(self.width)) {
            let to = &mut dx[row(*index, self.rows)? * self.width..][..self.width];
            to.iter_mut().zip(dy).for_each(|(to, dy)| *to += dy);
        }
        Ok(())
    }
}
