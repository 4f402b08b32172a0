//! Optimiser steps with PyTorch's arithmetic, all moments of an element in one pass.

use mimus_core::{Error, Op, Result};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{CHUNK, Kernel, Operands, product};

pub(super) fn prepare(op: &Op) -> Box<dyn Kernel> {
    Box::new(Step { op: op.clone() })
}

struct Step {
    op: Op,
}

impl Kernel for Step {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        match self.op {
            Op::Sgd { momentum: 0.0, weight_decay, .. } => plain_sgd(operands, weight_decay as f32),
            Op::Sgd { momentum, weight_decay, nesterov } => {
                sgd(operands, momentum as f32, weight_decay as f32, nesterov)
            }
            Op::Adam { .. } => self.adam(operands),
            _ => Err(Error::backend("is no optimiser")),
        }
    }
}

fn plain_sgd(operands: Operands<'_, '_>, weight_decay: f32) -> Result<()> {
    let (p, g, lr) = (operands.input(0)?, operands.input(1)?, operands.input(2)?[0]);
    let [new_p] = operands.outputs()?;
    let chunks = new_p.par_chunks_mut(CHUNK).zip(p.par_chunks(CHUNK)).zip(g.par_chunks(CHUNK));
    chunks.for_each(|((new_p, p), g)| {
        new_p.iter_mut().zip(p).zip(g).for_each(|((new_p, p), g)| *new_p = p - lr * (g + weight_decay * p));
    });
    Ok(())
}

fn sgd(operands: Operands<'_, '_>, momentum: f32, weight_decay: f32, nesterov: bool) -> Result<()> {
    let (p, g, lr) = (operands.input(0)?, operands.input(1)?, operands.input(2)?[0]);
    let buffer = operands.input(3)?;
    let [new_p, new_buffer] = operands.outputs()?;
    let chunks = new_p.par_chunks_mut(CHUNK).zip(new_buffer.par_chunks_mut(CHUNK));
    let inputs = p.par_chunks(CHUNK).zip(g.par_chunks(CHUNK)).zip(buffer.par_chunks(CHUNK));
    chunks.zip(inputs).for_each(|((new_p, new_buffer), ((p, g), buffer))| {
        let inputs = p.iter().zip(g).zip(buffer);
        for ((new_p, new_buffer), ((p, g), buffer)) in new_p.iter_mut().zip(new_buffer).zip(inputs) {
            let g = g + weight_decay * p;
            *new_buffer = momentum * buffer + g;
            *new_p = p - lr * if nesterov { g + momentum * *new_buffer } else { *new_buffer };
        }
    });
    Ok(())
}

/// The scalars of a step of Adam.
#[derive(Clone, Copy)]
struct AdamScalars {
    betas: [f32; 2],
    /// `1 - beta`, rounded once.
    rests: [f32; 2],
    /// Learning rate over the first moment's correction.
    rate: f32,
    /// Inverse of the square root of the second moment's correction.
    correction: f32,
    eps: f32,
    l2: f32,
    shrink: f32,
}

struct AdamChunk<'a> {
    scalars: AdamScalars,
    inputs: [&'a [f32]; 4],
    outputs: [&'a mut [f32]; 3],
}

impl WithSimd for AdamChunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AdamScalars { betas, rests, rate, correction, eps, l2, shrink } = self.scalars;
        let n = self.inputs[0].len();
        let [p, g, m, v] = self.inputs.map(|x| &x[..n]);
        let [new_p, new_m, new_v] = self.outputs.map(|y| &mut y[..n]);
        for i in 0..n {
            let g = g[i] + l2 * p[i];
            let m = betas[0] * m[i] + rests[0] * g;
            let v = betas[1] * v[i] + rests[1] * g * g;
            new_p[i] = p[i] * shrink - rate * m / (v.sqrt() * correction + eps);
            new_m[i] = m;
            new_v[i] = v;
        }
    }
}

impl Step {
    fn adam(&self, operands: Operands<'_, '_>) -> Result<()> {
        let Op::Adam { beta1, beta2, eps, weight_decay, decoupled } = self.op else {
            return Err(Error::backend("is no Adam"));
        };
        let inputs = [operands.input(0)?, operands.input(1)?, operands.input(2)?, operands.input(3)?];
        let (lr, t) = (f64::from(operands.input(4)?[0]), f64::from(operands.input(5)?[0]));
        let scalars = AdamScalars {
            betas: [beta1 as f32, beta2 as f32],
            rests: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
            rate: (lr / (1.0 - beta1.powf(t))) as f32,
            correction: (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32,
            eps: eps as f32,
            l2: if decoupled { 0.0 } else { weight_decay as f32 },
            shrink: if decoupled { (1.0 - lr * weight_decay) as f32 } else { 1.0 },
        };
        let [p, m, v] = operands.outputs()?;
        let outputs = p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
        outputs.enumerate().for_each(|(i, ((p, m), v))| {
            let inputs = inputs.map(|x| &x[i * CHUNK..][..p.len()]);
            product::arch().dispatch(AdamChunk { scalars, inputs, outputs: [p, m, v] });
        });
        Ok(())
    }
}
