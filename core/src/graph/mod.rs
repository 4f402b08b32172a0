//! The graph: a network, or a whole training step, as plain data with static shapes.

mod build;
mod rewrite;
mod text;
mod verify;
mod wire;

use serde::{Deserialize, Serialize};

pub use build::Builder;
pub(crate) use rewrite::rewrite;
pub use rewrite::{Inlined, Inlining, inline};
pub use wire::WIRE_VERSION;

use crate::error::{Error, Result};
use crate::ops::Op;
use crate::tensor::{HostTensor, ValueType};

/// Names a value inside one graph; printed as `%7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The position of the value in [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for ValueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// The layer that the node belongs to, as a `state_dict` path without the parameter's name (`encoder.0`); may be empty.
    pub label: String,
    /// Values read, in the order that the operator documents.
    pub inputs: Vec<ValueId>,
    /// Values made; their ids are consecutive.
    pub outputs: Vec<ValueId>,
}

/// A value: what type it has and which node makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Element type and extents.
    pub ty: ValueType,
    /// Index of the node that makes the value, in [`Graph::nodes`].
    pub node: usize,
}

/// Which of a network's two programs is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Batch statistics, dropout, losses, updates of running statistics.
    Train,
    /// Running statistics, scores.
    Eval,
}

/// What a variable is for; decides who may change it and where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Learned by gradient.
    Parameter,
    /// Part of the `state_dict` that is not learned by gradient: running statistics, memories, codebooks, calibration.
    Buffer,
    /// State of an optimiser: not part of the published `state_dict`, saved for resuming only.
    OptimizerState,
}

/// How a variable begins. Random values come from the stream of (seed, variable's name): equal on every backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Every element is the number.
    Constant(f64),
    /// Uniform in `[lo, hi)`.
    Uniform {
        /// Lower bound.
        lo: f64,
        /// Upper bound.
        hi: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
}

impl Init {
    /// All elements 0.
    pub const ZEROS: Self = Self::Constant(0.0);
    /// All elements 1.
    pub const ONES: Self = Self::Constant(1.0);

    /// PyTorch's default for convolutions and linear layers: uniform within `1 / sqrt(fan_in)`.
    pub fn fan_in(fan_in: usize) -> Self {
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        Self::Uniform { lo: -bound, hi: bound }
    }

    /// What the square of an element is on average.
    pub fn mean_square(&self) -> f64 {
        match *self {
            Self::Constant(value) => value * value,
            Self::Uniform { lo, hi } => (lo * lo + lo * hi + hi * hi) / 3.0,
            Self::Normal { mean, std } => mean * mean + std * std,
        }
    }
}

/// A named tensor that outlives a run and lives on the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    /// The published `state_dict` name, after any prefix of the boost (`student.encoder.0.weight`).
    pub name: String,
    /// Element type and extents.
    pub ty: ValueType,
    /// What it is for.
    pub role: Role,
    /// How it begins.
    pub init: Init,
}

impl Variable {
    /// How the variable begins under `seed`.
    ///
    /// # Errors
    /// None for a variable of a well-formed graph.
    pub fn first_value(&self, seed: u64) -> Result<HostTensor> {
        let mut stream = crate::random::Stream::new(seed, &format!("init/{}", self.name));
        let (ty, n) = (&self.ty, self.ty.elements());
        match self.init {
            Init::Constant(value) => Ok(HostTensor::full(ty, value)),
            Init::Uniform { lo, hi } => {
                HostTensor::f32(ty.shape.clone(), (0..n).map(|_| stream.range(lo, hi) as f32).collect())
            }
            Init::Normal { mean, std } => {
                HostTensor::f32(ty.shape.clone(), (0..n).map(|_| (mean + std * stream.normal()) as f32).collect())
            }
        }
    }
}

/// A value under a name: an output, an assignment's target, a tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// A program: nodes in execution order, the variables that they read, named outputs, and the assignments
/// `variable := value` that take effect together after the last node.
///
/// [`Builder`] makes graphs that are well formed; [`Graph::verify`] checks one that came from elsewhere.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// Name shown in errors and pictures.
    pub name: String,
    /// Nodes; each reads only values of earlier nodes.
    pub nodes: Vec<Node>,
    /// Values, indexed by [`ValueId`].
    pub values: Vec<Value>,
    /// Variables, read by `variable` nodes and written by assignments.
    pub variables: Vec<Variable>,
    /// What a run returns, in order.
    pub outputs: Vec<Named>,
    /// `variable := value`, at most one for each variable.
    pub assignments: Vec<Named>,
    /// Hidden values at which a boost may attach.
    pub taps: Vec<Named>,
}

impl Graph {
    /// The computation alone: without outputs, assignments and taps.
    #[must_use]
    pub fn computation(&self) -> Self {
        Self { outputs: Vec::new(), assignments: Vec::new(), taps: Vec::new(), ..self.clone() }
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &ValueType {
        &self.values[value.index()].ty
    }

    /// The node that makes a value.
    pub fn producer(&self, value: ValueId) -> &Node {
        &self.nodes[self.values[value.index()].node]
    }

    /// Inputs in node order: name and the value that holds it.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, ValueId)> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Input { name, .. } => Some((name.as_str(), node.outputs[0])),
            _ => None,
        })
    }

    /// The output called `name`.
    pub fn output(&self, name: &str) -> Option<ValueId> {
        find(&self.outputs, name)
    }

    /// The tap called `name`.
    pub fn tap(&self, name: &str) -> Option<ValueId> {
        find(&self.taps, name)
    }

    /// The output called `name`, or an error that lists those that exist.
    pub fn expect_output(&self, name: &str) -> Result<ValueId> {
        self.output(name).ok_or_else(|| self.missing("output", name, &self.outputs))
    }

    /// The tap called `name`, or an error that lists those that exist.
    pub fn expect_tap(&self, name: &str) -> Result<ValueId> {
        self.tap(name).ok_or_else(|| self.missing("tap", name, &self.taps))
    }

    /// The variable called `name`.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// Names of the variables with `role`, in order of declaration.
    pub fn variables_of(&self, role: Role) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(move |variable| variable.role == role)
    }

    fn missing(&self, what: &str, name: &str, known: &[Named]) -> Error {
        let names: Vec<&str> = known.iter().map(|named| named.name.as_str()).collect();
        let error = Error::graph(format!("there is no {what} `{name}`; there are: {}", names.join(", ")));
        error.with("graph", &self.name)
    }
}

fn find(list: &[Named], name: &str) -> Option<ValueId> {
    list.iter().find(|named| named.name == name).map(|named| named.value)
}
