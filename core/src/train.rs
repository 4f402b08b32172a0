//! Training as a program: the forward pass, its gradients and the optimiser's step in one graph.

use serde::{Deserialize, Serialize};

use crate::autodiff::differentiate_variables;
use crate::error::{Error, Result};
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

    /// AdamW with PyTorch's defaults.
    pub fn adam_w() -> Self {
        Self::AdamW { betas: betas(), eps: eps(), weight_decay: decoupled_decay() }
    }
}

/// What is trained together before the next: the order of a published recipe (first the memory, then the predictor, then both).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name in progress and messages.
    pub name: String,
    /// Part of the run's epochs, above 0; the shares of a model's stages add up to 1.
    pub share: f64,
    /// The published schedule, over the epochs of this stage.
    pub schedule: Schedule,
    /// Run one after the other in every step, on the same samples: one for most models, two where optimisers alternate (a
    /// discriminator and a generator). The last is the detector's own: a boost adds its losses there.
    pub turns: Vec<Turn>,
}

impl Stage {
    /// The only stage, with the only turn, of most models.
    pub fn single(graph: Graph, optimizer: OptimizerSpec, learning_rate: f64) -> Self {
        let turns = vec![Turn::new(graph, optimizer, learning_rate)];
        Self { name: SINGLE.to_owned(), share: 1.0, schedule: Schedule::Constant, turns }
    }

    /// The detector's own turn, the last.
    ///
    /// # Errors
    /// If the stage has none.
    pub fn main(&self) -> Result<&Turn> {
        self.turns.last().ok_or_else(|| Error::plugin("has no turn").with("stage", &self.name))
    }
}

/// Name of the only stage and of its only turn.
const SINGLE: &str = "train";

/// One loss, and the parameters that descend it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Its name among the turns of a model that share parameters or not: part of the optimiser's state.
    pub name: String,
    /// Output `loss` (scalar, what is minimised), optionally its terms as `loss.<term>`; taps; running statistics as assignments.
    pub graph: Graph,
    /// Scopes: `vunet` trains `vunet` and `vunet.*`. Empty: every parameter that the loss reaches.
    pub trains: Vec<String>,
    /// The published optimiser.
    pub optimizer: OptimizerSpec,
    /// The published learning rate.
    pub learning_rate: f64,
    /// Parts that learn at a rate of their own.
    pub rates: Vec<Rate>,
}

/// A part of a turn's parameters that learns faster or slower than the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Its scope, as in [`Turn::trains`]; it has a parameter at least.
    pub scope: String,
    /// What the learning rate of every step, schedule and warm-up included, is multiplied by there; above 0.
    pub factor: f64,
}

/// Whether the parameter is the scope itself or stands below it.
fn within(scope: &str, parameter: &str) -> bool {
    parameter.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Turn {
    /// The only turn of a stage, `train`; it trains every parameter that the loss reaches.
    pub fn new(graph: Graph, optimizer: OptimizerSpec, learning_rate: f64) -> Self {
        Self { name: SINGLE.to_owned(), graph, trains: Vec::new(), optimizer, learning_rate, rates: Vec::new() }
    }

    /// Whether the turn may change the parameter.
    pub fn may_train(&self, parameter: &str) -> bool {
        self.trains.is_empty() || self.trains.iter().any(|scope| within(scope, parameter))
    }

    /// What the learning rate is multiplied by for the parameter: the product over all scopes that it is in.
    fn factor(&self, parameter: &str) -> f64 {
        self.rates.iter().filter(|rate| within(&rate.scope, parameter)).map(|rate| rate.factor).product()
    }

    /// Succeeds if the learning rate and its factors are numbers above 0, and every factor has a parameter.
    ///
    /// # Errors
    /// Names the number or the scope.
    pub(crate) fn check_rates(&self) -> Result<()> {
        let positive = |number: f64, what: String| match number.is_finite() && number > 0.0 {
            true => Ok(()),
            false => Err(Error::plugin(format!("{what} is {number}, expects more than 0"))),
        };
        positive(self.learning_rate, "its learning rate".to_owned())?;
        for Rate { scope, factor } in &self.rates {
            positive(*factor, format!("the factor of the learning rate for `{scope}`"))?;
            if !self.graph.variables_of(Role::Parameter).any(|parameter| within(scope, &parameter.name)) {
                let message = format!("`{scope}` has a factor of the learning rate and no parameter");
                return Err(Error::plugin(message));
            }
        }
        Ok(())
    }

    /// Adds gradients and the optimiser's step to the graph.
    ///
    /// State is kept in variables `optimizer.m.<parameter>`, `optimizer.v.<parameter>` or `optimizer.buffer.<parameter>`, and the
    /// number of steps taken in `optimizer.step.<turn>`.
    ///
    /// # Errors
    /// If there is no scalar output `loss`, or an operator on the way has no gradient.
    pub fn step(&self) -> Result<TrainStep> {
        let loss = self.graph.expect_output(LOSS)?;
        let parameters: Vec<Variable> = self.graph.variables_of(Role::Parameter).cloned().collect();
        let names: Vec<String> =
            parameters.iter().map(|p| p.name.clone()).filter(|name| self.may_train(name)).collect();
        let mut b = Builder::extend(self.graph.clone());
        let gradients = differentiate_variables(&mut b, loss, &names)?;
        let lr = b.input(LEARNING_RATE, ValueType::f32([]))?;
        let counter = format!("{STATE_PREFIX}step.{}", self.name);
        let before = b.variable(&counter, ValueType::f32([]), Role::OptimizerState, Init::ZEROS)?;
        let step = b.scope("optimizer", |b| b.affine(before, 1.0, 1.0))?;
        b.assign(&counter, step)?;
        let (mut trained, mut unreached) = (Vec::new(), Vec::new());
        for parameter in parameters {
            match gradients.get(&parameter.name) {
                Some(gradient) => {
                    let factor = self.factor(&parameter.name);
                    let lr = b.scope("optimizer", |b| b.affine(lr, factor, 0.0))?;
                    update(&mut b, &self.optimizer, &parameter, *gradient, lr, step)?;
                    trained.push(parameter.name);
                }
                None => unreached.push(parameter.name),
            }
        }
        Ok(TrainStep { program: b.finish(), trained, unreached })
    }
}

/// Name of the scalar output that a turn minimises.
pub const LOSS: &str = "loss";

/// A turn as a program.
#[derive(Clone, Debug)]
pub struct TrainStep {
    /// The forward pass's inputs and [`LEARNING_RATE`]; the forward pass's outputs; its assignments and those of parameters and
    /// optimiser state.
    pub program: Graph,
    /// Parameters that the step changes, in order of declaration.
    pub trained: Vec<String>,
    /// Parameters that the loss does not reach or the turn does not train: they keep their values, as with PyTorch's optimisers.
    pub unreached: Vec<String>,
}

/// Name of the scalar input that carries the learning rate of the step.
pub const LEARNING_RATE: &str = "lr";

/// Prefix of the variables that hold the optimiser's state.
pub const STATE_PREFIX: &str = "optimizer.";

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
    /// Multiplied by `gamma` at each of the given fractions of the epochs.
    Fractions {
        /// From 0 to 1.
        at: Vec<f64>,
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
            Self::Fractions { at, gamma } => {
                gamma.powi(at.iter().filter(|at| **at * epochs as f64 <= epoch as f64).count() as i32)
            }
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
        let fractions = Schedule::Fractions { at: vec![0.5, 0.75], gamma: 0.5 };
        assert_eq!([0, 1, 2, 3].map(|epoch| fractions.factor(epoch, 4)), [1.0, 1.0, 0.5, 0.25]);
        assert!((Schedule::Cosine.factor(5, 10) - 0.5).abs() < 1e-15);
        assert_eq!(Schedule::Cosine.factor(0, 10), 1.0);
        assert_eq!([0, 1, 3, 4].map(|step| warm_up(step, 4)), [0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_turn_trains_whole_scopes_and_nothing_whose_name_only_begins_alike() {
        let mut b = Builder::new("test");
        let names = ["net.w", "net", "network.w"];
        let parameters: Vec<ValueId> =
            names.iter().map(|name| b.parameter(name, [], Init::Constant(1.0)).unwrap()).collect();
        let sum = b.add(parameters[0], parameters[1]).unwrap();
        let loss = b.add(sum, parameters[2]).unwrap();
        b.output("loss", loss).unwrap();
        let turn = Turn::new(b.finish(), OptimizerSpec::adam(), 0.1);
        let step = Turn { trains: vec!["net".to_owned()], ..turn }.step().unwrap();
        assert_eq!(step.trained, ["net.w", "net"]);
        assert_eq!(step.unreached, ["network.w"]);
    }

    #[test]
    fn a_part_with_factors_learns_at_their_product_times_the_rate() {
        let mut b = Builder::new("test");
        let names = ["net.w", "net.fast.w", "network.w"];
        let parameters: Vec<ValueId> =
            names.iter().map(|name| b.parameter(name, [], Init::Constant(1.0)).unwrap()).collect();
        let sum = b.add(parameters[0], parameters[1]).unwrap();
        let loss = b.add(sum, parameters[2]).unwrap();
        b.output("loss", loss).unwrap();
        let sgd = OptimizerSpec::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false };
        let rate = |scope: &str, factor| Rate { scope: scope.to_owned(), factor };
        let turn = Turn { rates: vec![rate("net", 2.0), rate("net.fast", 4.0)], ..Turn::new(b.finish(), sgd, 0.1) };
        let step = turn.step().unwrap();
        let mut interpreter = Interpreter::new(Precision::F64);
        interpreter.initialise(&step.program, 0).unwrap();
        let inputs = BTreeMap::from([(LEARNING_RATE.to_owned(), Array::float([], vec![0.0625]))]);
        interpreter.run(&step.program, &inputs).unwrap();
        let after = names.map(|name| interpreter.variables[name].floats().unwrap()[0]);
        assert_eq!(after, [1.0 - 0.125, 1.0 - 0.5, 1.0 - 0.0625]);
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
        let step = Turn::new(b.finish(), sgd, 0.1).step().unwrap();
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
        assert_eq!(interpreter.variables["optimizer.step.train"].floats().unwrap(), [2.0]);
    }
}
