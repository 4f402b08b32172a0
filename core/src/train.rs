//! Training as a program: the forward pass, its gradients and the optimiser's step in one graph.

use serde::{Deserialize, Serialize};

use crate::autodiff::differentiate_variables;
use crate::error::Result;
use crate::graph::{Builder, Graph, Init, Role, ValueId, Variable};
use crate::ops::Op;
use crate::tensor::ValueType;

/// An optimiser and its constants; defaults are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum; 0 for none.
        #[serde(default)]
        momentum: f64,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Nesterov's variant.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam with the L2 penalty added to the gradient.
    Adam {
        /// Decay of the moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the square root.
        #[serde(default = "eps")]
        eps: f64,
        /// L2 penalty added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of the moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the square root.
        #[serde(default = "eps")]
        eps: f64,
        /// Decay of the parameter itself.
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
    },
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn eps() -> f64 {
    1e-8
}

fn decoupled_decay() -> f64 {
    0.01
}

impl OptimizerSpec {
    /// Adam with PyTorch's defaults.
    pub fn adam() -> Self {
        Self::Adam { betas: betas(), eps: eps(), weight_decay: 0.0 }
    }
}

/// A forward program turned into one training step.
#[derive(Clone, Debug)]
pub struct TrainStep {
    /// The program: the forward pass's inputs and [`LEARNING_RATE`]; the forward pass's outputs; its assignments and those of
    /// parameters and optimiser state.
    pub program: Graph,
    /// Parameters that the step changes, in order of declaration.
    pub trained: Vec<String>,
    /// Parameters that the loss does not reach: they keep their values, as with PyTorch's optimisers.
    pub unreached: Vec<String>,
}

/// Name of the scalar input that carries the learning rate of the step.
pub const LEARNING_RATE: &str = "lr";

/// Prefix of the variables that hold the optimiser's state.
pub const STATE_PREFIX: &str = "optimizer.";

/// Adds gradients and the optimiser's step to `forward`, which must have the scalar output `loss`.
///
/// State is kept in variables `optimizer.m.<parameter>`, `optimizer.v.<parameter>` or `optimizer.buffer.<parameter>`, and the
/// number of steps taken in `optimizer.step`.
///
/// # Errors
/// If there is no such output, it is no scalar, or an operator on the way has no gradient.
pub fn train_step(forward: Graph, loss: &str, optimizer: &OptimizerSpec) -> Result<TrainStep> {
    let loss = forward.expect_output(loss)?;
    let parameters: Vec<Variable> = forward.variables_of(Role::Parameter).cloned().collect();
    let names: Vec<String> = parameters.iter().map(|variable| variable.name.clone()).collect();
    let mut b = Builder::extend(forward);
    let gradients = differentiate_variables(&mut b, loss, &names)?;
    let lr = b.input(LEARNING_RATE, ValueType::f32([]))?;
    let step = b.scope("optimizer", |b| {
        let before = b.variable("step", ValueType::f32([]), Role::OptimizerState, Init::ZEROS)?;
        let step = b.affine(before, 1.0, 1.0)?;
        b.assign("step", step)?;
        Ok(step)
    })?;
    let (mut trained, mut unreached) = (Vec::new(), Vec::new());
    for parameter in parameters {
        match gradients.get(&parameter.name) {
            Some(gradient) => {
                update(&mut b, optimizer, &parameter, *gradient, lr, step)?;
                trained.push(parameter.name);
            }
            None => unreached.push(parameter.name),
        }
    }
    Ok(TrainStep { program: b.finish(), trained, unreached })
}

fn update(
    b: &mut Builder,
    optimizer: &OptimizerSpec,
    parameter: &Variable,
    gradient: ValueId,
    lr: ValueId,
    step: ValueId,
) -> Result<()> {
    let (op, states): (Op, &[&str]) = match *optimizer {
        OptimizerSpec::Sgd { momentum, weight_decay, nesterov } => {
            (Op::Sgd { momentum, weight_decay, nesterov }, if momentum == 0.0 { &[] } else { &["buffer"] })
        }
        OptimizerSpec::Adam { betas: [beta1, beta2], eps, weight_decay } => {
            (Op::Adam { beta1, beta2, eps, weight_decay, decoupled: false }, &["m", "v"])
        }
        OptimizerSpec::AdamW { betas: [beta1, beta2], eps, weight_decay } => {
            (Op::Adam { beta1, beta2, eps, weight_decay, decoupled: true }, &["m", "v"])
        }
    };
    let Variable { name, ty, role, init } = parameter.clone();
    let value = b.variable(&name, ty.clone(), role, init)?;
    let names: Vec<String> = states.iter().map(|state| format!("{STATE_PREFIX}{state}.{name}")).collect();
    let mut inputs = vec![value, gradient];
    for state in &names {
        inputs.push(b.variable(state, ty.clone(), Role::OptimizerState, Init::ZEROS)?);
    }
    // SGD's buffer comes after the learning rate, Adam's moments before it: see the operators.
    match op {
        Op::Sgd { .. } => inputs.insert(2, lr),
        _ => inputs.extend([lr, step]),
    }
    let results = b.scope("optimizer", |b| b.nodes(op, &inputs))?;
    let targets = std::iter::once(&name).chain(&names);
    targets.zip(results).try_for_each(|(target, result)| b.assign(target, result))
}

/// How the learning rate changes; definitions as in PyTorch, in epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Multiplied by `gamma` every `every` epochs (`StepLR`).
    Step {
        /// Number of epochs between changes, at least 1.
        every: usize,
        /// Factor.
        gamma: f64,
    },
    /// Multiplied by `gamma` at each of the given epochs (`MultiStepLR`).
    MultiStep {
        /// Epochs.
        epochs: Vec<usize>,
        /// Factor.
        gamma: f64,
    },
    /// `(1 + cos(pi e / E)) / 2` after `e` of `E` epochs (`CosineAnnealingLR`).
    Cosine,
}

impl Schedule {
    /// The factor of the base learning rate in epoch `epoch` (from 0) of `epochs`.
    pub fn factor(&self, epoch: usize, epochs: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, gamma } => gamma.powi((epoch / (*every).max(1)) as i32),
            Self::MultiStep { epochs, gamma } => gamma.powi(epochs.iter().filter(|e| **e <= epoch).count() as i32),
            Self::Cosine => (1.0 + (std::f64::consts::PI * epoch as f64 / epochs.max(1) as f64).cos()) / 2.0,
        }
    }
}

/// The factor of a linear warm-up over the first `steps` steps, for the step `step` (from 0).
pub fn warm_up(step: usize, steps: usize) -> f64 {
    if step < steps { (step + 1) as f64 / steps as f64 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reference::{Array, Interpreter, Precision};

    #[test]
    fn schedules_follow_their_definitions() {
        assert_eq!(Schedule::Step { every: 2, gamma: 0.5 }.factor(5, 10), 0.25);
        assert_eq!(Schedule::MultiStep { epochs: vec![3, 6], gamma: 0.1 }.factor(3, 10), 0.1);
        assert!((Schedule::Cosine.factor(5, 10) - 0.5).abs() < 1e-15);
        assert_eq!(Schedule::Cosine.factor(0, 10), 1.0);
        assert_eq!([0, 1, 3, 4].map(|step| warm_up(step, 4)), [0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_step_descends_and_leaves_unreached_parameters_alone() {
        let mut b = Builder::new("test");
        let w = b.parameter("w", [2], Init::Constant(3.0)).unwrap();
        b.parameter("idle", [1], Init::Constant(7.0)).unwrap();
        let square = b.mul(w, w).unwrap();
        let loss = b.mean(square, &[0]).unwrap();
        b.output("loss", loss).unwrap();
        let sgd = OptimizerSpec::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false };
        let step = train_step(b.finish(), "loss", &sgd).unwrap();
        assert_eq!((step.trained, step.unreached), (vec!["w".to_owned()], vec!["idle".to_owned()]));
        let mut interpreter = Interpreter::new(Precision::F64);
        interpreter.initialise(&step.program, 0).unwrap();
        let inputs = BTreeMap::from([(LEARNING_RATE.to_owned(), Array::float([], vec![0.1]))]);
        // Loss w^2: gradient of the mean is w, buffer 3 then 0.9 * 3 + 2.7.
        assert_eq!(interpreter.run(&step.program, &inputs).unwrap()[0].floats().unwrap(), [9.0]);
        interpreter.run(&step.program, &inputs).unwrap();
        let w = interpreter.variables["w"].floats().unwrap();
        assert!((w[0] - (2.7 - 0.1 * 5.4)).abs() < 1e-12);
        assert_eq!(interpreter.variables["idle"].floats().unwrap(), [7.0]);
        assert_eq!(interpreter.variables["optimizer.step"].floats().unwrap(), [2.0]);
    }
}
