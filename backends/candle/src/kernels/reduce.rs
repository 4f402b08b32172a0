//! Sums, means and maxima over axes.

use mimus_core::tensor::strides;
use mimus_core::{Error, Op, Result};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::layout::Walk;
use super::{CHUNK, Kernel, Operands, Types, product};

/// Reduced elements that one task adds up: a long sum is cut by its length alone.
const SEGMENT: usize = 32 * 1024;

/// The sum of a slice: sixteen sums side by side in f32 over short stretches, in f64 over these.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f64 {
    sum_of(x.len(), |i| x[i])
}

/// The sum of `f(i)`, in the order of [`sum`].
#[inline(always)]
pub(crate) fn sum_of(len: usize, f: impl Fn(usize) -> f32) -> f64 {
    const LANES: usize = 32;
    const STRETCH: usize = 16 * LANES;
    let mut total = 0.0;
    for start in (0..len).step_by(STRETCH) {
        let end = (start + STRETCH).min(len);
        let mut lanes = [0.0_f32; LANES];
        let whole = start + (end - start) / LANES * LANES;
        for i in (start..whole).step_by(LANES) {
            for (lane, sum) in lanes.iter_mut().enumerate() {
                *sum += f(i + lane);
            }
        }
        for i in whole..end {
            lanes[i - whole] += f(i);
        }
        total += lanes.iter().map(|x| f64::from(*x)).sum::<f64>();
    }
    total
}

/// Input memory seen as kept and reduced axes.
#[derive(Clone)]
struct Plan {
    /// For every output element, the input's first element that belongs to it.
    kept: Walk,
    /// The reduced elements that belong to the first output element.
    reduced: Walk,
    outputs: usize,
    /// Elements for each output.
    count: usize,
    /// Whether neighbouring outputs are neighbours in the input.
    columns: Option<usize>,
}

pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    let (Op::Sum { axes, .. } | Op::Mean { axes, .. } | Op::Max { axes, .. } | Op::MaxGrad { axes, .. }) = op else {
        return Err(Error::backend("is no reduction"));
    };
    let plan = Plan::new(types.input(0)?, axes);
    Ok(match op {
        Op::Sum { .. } => Box::new(Sum { divisor: 1.0, plan }),
        Op::Mean { .. } => Box::new(Sum { divisor: plan.count as f64, plan }),
        Op::Max { .. } => Box::new(Max { plan }),
        _ => Box::new(MaxGrad { plan }),
    })
}

impl Plan {
    fn new(shape: &[usize], axes: &[usize]) -> Self {
        let steps = strides(shape);
        let part = |reduced: bool| -> (Vec<usize>, Vec<usize>) {
            (0..shape.len()).filter(|a| axes.contains(a) == reduced).map(|a| (shape[a], steps[a])).unzip()
        };
        let ((kept, kept_steps), (reduced, reduced_steps)) = (part(false), part(true));
        let last = (0..shape.len()).rev().find(|a| shape[*a] > 1);
        let columns = last.filter(|a| !axes.contains(a)).map(|last| {
            // The innermost kept axes up to the first reduced one.
            (0..=last).rev().take_while(|a| !axes.contains(a) || shape[*a] == 1).map(|a| shape[a]).product()
        });
        Self {
            kept: Walk::new(0, &kept, &kept_steps),
            reduced: Walk::new(0, &reduced, &reduced_steps),
            outputs: kept.iter().product(),
            count: reduced.iter().product(),
            columns,
        }
    }

    fn segments(&self) -> usize {
        self.count.div_ceil(SEGMENT)
    }
}

struct Sum {
    plan: Plan,
    divisor: f64,
}

/// Some outputs over some of their elements.
struct SumTask<'a> {
    plan: &'a Plan,
    x: &'a [f32],
    first: usize,
    segment: usize,
    sums: &'a mut [f64],
}

impl WithSimd for SumTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { plan, x, first, segment, sums } = self;
        let range = segment * SEGMENT..((segment + 1) * SEGMENT).min(plan.count);
        match plan.columns {
            // Output by output, along runs of its elements.
            None => {
                for (i, total) in sums.iter_mut().enumerate() {
                    let base = plan.kept.position(first + i);
                    *total = 0.0;
                    plan.reduced.runs(range.clone(), |run| {
                        let x = &x[base + run.from..];
                        *total += if run.step == 1 { sum(&x[..run.len]) } else { sum_of(run.len, |i| x[i * run.step]) };
                    });
                }
            }
            // Element by element, along runs of neighbouring outputs.
            Some(_) => {
                sums.fill(0.0);
                plan.kept.runs(first..first + sums.len(), |out| {
                    let sums = &mut sums[out.to..][..out.len];
                    for i in range.clone() {
                        let x = &x[out.from + plan.reduced.position(i)..][..out.len];
                        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x));
                    }
                });
            }
        }
    }
}

impl Kernel for Sum {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let (plan, segments) = (&self.plan, self.plan.segments());
        // Outputs of a task: about a chunk of elements, and no more neighbours than stay in the first cache.
        let outputs = (CHUNK / plan.count.min(SEGMENT)).clamp(1, 512);
        let outputs = plan.columns.map_or(outputs, |columns| outputs.max(columns.min(512)));
        let mut sums = vec![0.0_f64; segments * plan.outputs];
        let tasks = sums.par_chunks_mut(plan.outputs).enumerate();
        let tasks =
            tasks.flat_map(|(s, sums)| sums.par_chunks_mut(outputs).enumerate().map(move |(i, sums)| (s, i, sums)));
        tasks.for_each(|(segment, i, sums)| {
            product::arch().dispatch(SumTask { plan, x, first: i * outputs, segment, sums });
        });
        for (i, y) in operands.output()?.iter_mut().enumerate() {
            let total: f64 = (0..segments).map(|segment| sums[segment * plan.outputs + i]).sum();
            *y = (total / self.divisor) as f32;
        }
        Ok(())
    }
}

/// The first maximal element of output `i`: how many elements of the output are before it.
fn first_maximum(plan: &Plan, x: &[f32], i: usize) -> usize {
    let base = plan.kept.position(i);
    let (mut best, mut at) = (x[base + plan.reduced.position(0)], 0);
    plan.reduced.runs(0..plan.count, |run| {
        for j in 0..run.len {
            let x = x[base + run.from + j * run.step];
            if !best.is_nan() && (x > best || x.is_nan()) {
                (best, at) = (x, run.to + j);
            }
        }
    });
    base + plan.reduced.position(at)
}

struct Max {
    plan: Plan,
}

impl Kernel for Max {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let x = operands.input(0)?;
        let outputs = (CHUNK / self.plan.count).max(1);
        operands.output()?.par_chunks_mut(outputs).enumerate().for_each(|(chunk, y)| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = x[first_maximum(&self.plan, x, chunk * outputs + i)];
            }
        });
        Ok(())
    }
}

struct MaxGrad {
    plan: Plan,
}

impl Kernel for MaxGrad {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let (x, dy) = (operands.input(0)?, operands.input(1)?);
        let least = (CHUNK / self.plan.count).max(1);
        let best: Vec<usize> =
            (0..dy.len()).into_par_iter().with_min_len(least).map(|i| first_maximum(&self.plan, x, i)).collect();
        let dx = operands.output()?;
        dx.par_chunks_mut(CHUNK).for_each(|dx| dx.fill(0.0));
        best.iter().zip(dy).for_each(|(i, dy)| dx[*i] = *dy);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_many_keeps_its_digits() {
        let x: Vec<f32> = (0..1_000_003).map(|i| 0.1 + (i % 7) as f32 * 1e-4).collect();
        let exact: f64 = x.iter().map(|x| f64::from(*x)).sum();
        assert!((sum(&x) - exact).abs() < 1e-7 * exact);
    }

    #[test]
    fn only_innermost_kept_axes_are_columns() {
        assert_eq!(Plan::new(&[2, 3, 4], &[0]).columns, Some(12));
        assert_eq!(Plan::new(&[2, 3, 4], &[0, 2]).columns, None);
        assert_eq!(Plan::new(&[2, 3, 4, 1], &[1]).columns, Some(4));
    }
}
