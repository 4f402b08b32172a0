//! Optimiser steps with PyTorch's arithmetic.

use tch::{Device, TchError, Tensor};

use super::Kernel;
use crate::device::copy;
use crate::ffi::{Argument, call, elements, elements_mut};

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
    /// Steps all parameters and their moments where they are.
    ///
    /// # Errors
    /// If the engine fails.
    pub(crate) fn step(&self, group: &mut Group, lr: &Tensor, step: &Tensor) -> Result<(), TchError> {
        // Both ways walk through memory, not through indices.
        let gradients = group.gradients.iter().map(Tensor::f_contiguous).collect::<Result<Vec<_>, _>>()?;
        let scalars = [lr.f_double_value(&[])?, step.f_double_value(&[])?];
        if group.parameters.iter().all(|p| p.device() == Device::Cpu) {
            let moments = group.first.iter_mut().zip(&mut group.second);
            let mut all = group.parameters.iter_mut().zip(&gradients).zip(moments);
            return all.try_for_each(|((p, g), (m, v))| self.step_on_cpu([p, m, v], g, scalars));
        }
        let steps: Vec<Tensor> = group.parameters.iter().map(|_| step.shallow_clone()).collect();
        let name = if self.decoupled { c"aten::_fused_adamw_" } else { c"aten::_fused_adam_" };
        let arguments = [
            Argument::Tensors(&group.parameters),
            Argument::Tensors(&gradients),
            Argument::Tensors(&group.first),
            Argument::Tensors(&group.second),
            Argument::Tensors(&[]),
            Argument::Tensors(&steps),
            Argument::Float(scalars[0]),
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

    /// The step of one parameter in the CPU's memory, rounded as the contract has it. The engine's own, in one call for all parameters, is
    /// as exact but rounds elsewhere, and the golden case `memae_video` amplifies that beyond its tolerance.
    ///
    /// # Errors
    /// If a tensor is not row-major f32.
    fn step_on_cpu(&self, [p, m, v]: [&mut Tensor; 3], g: &Tensor, [lr, step]: [f64; 2]) -> Result<(), TchError> {
        let state = (elements_mut(p), elements_mut(m), elements_mut(v), elements(g));
        let (Some(p), Some(m), Some(v), Some(g)) = state else {
            return Err(TchError::Torch("a parameter, its moments or its gradient are not row-major f32".to_owned()));
        };
        let (l2, shrink) = if self.decoupled { (0.0, 1.0 - lr * self.weight_decay) } else { (self.weight_decay, 1.0) };
        let rate = (lr / (1.0 - self.beta1.powf(step))) as f32;
        let correction = (1.0 / (1.0 - self.beta2.powf(step)).sqrt()) as f32;
        let (l2, shrink, eps) = (l2 as f32, shrink as f32, self.eps as f32);
        let [beta1, beta2] = [self.beta1 as f32, self.beta2 as f32];
        let [rest1, rest2] = [(1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32];
        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
            let g = g + l2 * *p;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *p = *p * shrink - rate * *m / (v.sqrt() * correction + eps);
        }
        Ok(())
    }
}

/// A step whose results go elsewhere than where they come from.
pub(super) fn adam(constants: Adam) -> Kernel {
    Box::new(move |x| {
        let copy = |i: usize| copy(&x[i]);
        let (p, m, v) = (copy(0)?, copy(2)?, copy(3)?);
        let mut group = Group {
            parameters: vec![p.shallow_clone()],
            gradients: vec![x[1].shallow_clone()],
            first: vec![m.shallow_clone()],
            second: vec![v.shallow_clone()],
        };
        constants.step(&mut group, &x[4], &x[5])?;
        Ok(vec![p, m, v])
    })
}
