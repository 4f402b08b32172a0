//! Optimiser steps with PyTorch's arithmetic.

use tch::{TchError, Tensor};

use super::Kernel;
use crate::device::copy;
use crate::ffi::{Argument, call};

pub(super) fn sgd(momentum: f64, weight_decay: f64, nesterov: bool) -> Kernel {
    Box::new(move |x| {
        let (p, lr) = (&x[0], &x[2]);
        let decayed;
        let g = if weight_decay == 0.0 {
            &x[1]
        } else {
            decayed = x[1].f_add(&p.f_mul_scalar(weight_decay)?)?;
            &decayed
        };
        let step = |direction: &Tensor| p.f_sub(&direction.f_mul(lr)?);
        let Some(buffer) = x.get(3) else { return Ok(vec![step(g)?]) };
        let buffer = buffer.f_mul_scalar(momentum)?.f_add_(g)?;
        let next = if nesterov { step(&g.f_add(&buffer.f_mul_scalar(momentum)?)?)? } else { step(&buffer)? };
        Ok(vec![next, buffer])
    })
}

/// The constants of an Adam step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Adam {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) eps: f64,
    pub(crate) weight_decay: f64,
    pub(crate) decoupled: bool,
}

/// Parameters, gradients and moments of one step with the same constants, a list for each.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) parameters: Vec<Tensor>,
    pub(crate) gradients: Vec<Tensor>,
    pub(crate) first: Vec<Tensor>,
    pub(crate) second: Vec<Tensor>,
}

impl Adam {
    /// Steps all parameters and their moments where they are, in one call.
    ///
    /// # Errors
    /// If the engine fails.
    pub(crate) fn step(&self, group: &Group, lr: &Tensor, step: &Tensor) -> Result<(), TchError> {
        // The engine walks through memory, not through indices.
        let gradients = group.gradients.iter().map(Tensor::f_contiguous).collect::<Result<Vec<_>, _>>()?;
        let steps: Vec<Tensor> = group.parameters.iter().map(|_| step.shallow_clone()).collect();
        let name = if self.decoupled { c"aten::_fused_adamw_" } else { c"aten::_fused_adam_" };
        let arguments = [
            Argument::Tensors(&group.parameters),
            Argument::Tensors(&gradients),
            Argument::Tensors(&group.first),
            Argument::Tensors(&group.second),
            Argument::Tensors(&[]),
            Argument::Tensors(&steps),
            Argument::Float(lr.f_double_value(&[])?),
            Argument::Float(self.beta1),
            Argument::Float(self.beta2),
            Argument::Float(self.weight_decay),
            Argument::Float(self.eps),
            Argument::Bool(false),
            Argument::Bool(false),
            Argument::Absent,
            Argument::Absent,
        ];
        call(name, c"", &arguments, 0).map(|_| ())
    }
}

/// A step whose results go elsewhere than where they come from.
pub(super) fn adam(constants: Adam) -> Kernel {
    Box::new(move |x| {
        let copy = |i: usize| copy(&x[i]);
        let (p, m, v) = (copy(0)?, copy(2)?, copy(3)?);
        let group = Group {
            parameters: vec![p.shallow_clone()],
            gradients: vec![x[1].shallow_clone()],
            first: vec![m.shallow_clone()],
            second: vec![v.shallow_clone()],
        };
        constants.step(&group, &x[4], &x[5])?;
        Ok(vec![p, m, v])
    })
}
