//! The builder: every method appends one node, asks the operator for its type at once, and names the layer in errors.

use super::{Graph, Init, Named, Node, Role, Value, ValueId, Variable};
use crate::error::{Context, Error, Result};
use crate::ops::{Mode, Op};
use crate::tensor::{Dtype, HostTensor, ValueType};

/// Describes a network node by node.
///
/// Names of layers nest: inside [`Builder::scope`]`("encoder.0", ..)` a parameter `weight` is the variable
/// `encoder.0.weight`, and errors name the layer `encoder.0`.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    graph: Graph,
    scope: Vec<String>,
}

impl Builder {
    /// An empty graph called `name`.
    pub fn new(name: &str) -> Self {
        Self { graph: Graph { name: name.to_owned(), ..Graph::default() }, scope: Vec::new() }
    }

    /// Continues an existing, well-formed graph.
    pub fn extend(graph: Graph) -> Self {
        Self { graph, scope: Vec::new() }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// The extents of a value.
    pub fn shape(&self, value: ValueId) -> &[usize] {
        &self.graph.ty(value).shape
    }

    /// Builds `body` with `label` added to the path of layers.
    pub fn scope<T>(&mut self, label: &str, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scope.push(label.to_owned());
        let result = body(self);
        self.scope.pop();
        result
    }

    fn label(&self) -> String {
        self.scope.join(".")
    }

    fn qualified(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.label()) }
    }

    /// Appends a node and returns all its outputs.
    ///
    /// # Errors
    /// Names layer, operator and the violated constraint.
    pub fn nodes(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let label = self.label();
        let types = inputs.iter().map(|id| self.known(*id)).collect::<Result<Vec<_>>>();
        let types = types.and_then(|types| op.infer(&types)).context("op", op.name());
        let types = if label.is_empty() { types } else { types.context("layer", &label) };
        let node = self.graph.nodes.len();
        let first = self.graph.values.len() as u32;
        let types = types?;
        let outputs: Vec<ValueId> = (first..first + types.len() as u32).map(ValueId).collect();
        self.graph.values.extend(types.into_iter().map(|ty| Value { ty, node }));
        self.graph.nodes.push(Node { op, label, inputs: inputs.to_vec(), outputs: outputs.clone() });
        Ok(outputs)
    }

    fn known(&self, id: ValueId) -> Result<&ValueType> {
        let value = self.graph.values.get(id.index());
        value.map(|value| &value.ty).ok_or_else(|| Error::graph(format!("value {id} belongs to another graph")))
    }

    /// Appends a node with one output.
    ///
    /// # Errors
    /// As [`Builder::nodes`]; also if the operator has several outputs.
    pub fn node(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        match self.nodes(op, inputs)?[..] {
            [value] => Ok(value),
            ref several => Err(Error::graph(format!("has {} outputs where one is expected", several.len()))),
        }
    }

    /// A tensor that the host gives to every run.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn input(&mut self, name: &str, ty: ValueType) -> Result<ValueId> {
        if self.graph.inputs().any(|(taken, _)| taken == name) {
            return Err(Error::graph(format!("there are two inputs `{name}`")).with("graph", &self.graph.name));
        }
        self.node(Op::Input { name: name.to_owned(), dtype: ty.dtype, shape: ty.shape }, &[])
    }

    /// A variable, named below the current scope, and its value.
    ///
    /// # Errors
    /// If the name is taken by a variable of another type, role or beginning; the same declaration again reads it again.
    pub fn variable(&mut self, name: &str, ty: ValueType, role: Role, init: Init) -> Result<ValueId> {
        let variable = Variable { name: self.qualified(name), ty, role, init };
        match self.graph.variable(&variable.name) {
            Some(known) if *known == variable => {}
            Some(_) => {
                return Err(Error::graph(format!("variable `{}` is declared twice and differently", variable.name)));
            }
            None => self.graph.variables.push(variable.clone()),
        }
        let ValueType { dtype, shape } = variable.ty;
        self.node(Op::Variable { name: variable.name, dtype, shape }, &[])
    }

    /// A learned f32 variable, named below the current scope.
    ///
    /// # Errors
    /// As [`Builder::variable`].
    pub fn parameter(&mut self, name: &str, shape: impl Into<Vec<usize>>, init: Init) -> Result<ValueId> {
        self.variable(name, ValueType::f32(shape.into()), Role::Parameter, init)
    }

    /// An f32 variable that gradients do not change, named below the current scope.
    ///
    /// # Errors
    /// As [`Builder::variable`].
    pub fn buffer(&mut self, name: &str, shape: impl Into<Vec<usize>>, init: Init) -> Result<ValueId> {
        self.variable(name, ValueType::f32(shape.into()), Role::Buffer, init)
    }

    /// A constant tensor.
    ///
    /// # Errors
    /// None today; fallible as all nodes are.
    pub fn constant(&mut self, value: HostTensor) -> Result<ValueId> {
        self.node(Op::Constant { value }, &[])
    }

    /// An f32 tensor full of `value`.
    ///
    /// # Errors
    /// None today; fallible as all nodes are.
    pub fn fill(&mut self, shape: impl Into<Vec<usize>>, value: f64) -> Result<ValueId> {
        self.node(Op::Fill { dtype: Dtype::F32, shape: shape.into(), value }, &[])
    }

    /// An f32 scalar, which broadcasts against everything.
    ///
    /// # Errors
    /// None today; fallible as all nodes are.
    pub fn scalar(&mut self, value: f64) -> Result<ValueId> {
        self.fill([], value)
    }

    /// Makes `value` an output of the program.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn output(&mut self, name: &str, value: ValueId) -> Result<()> {
        add(&mut self.graph.outputs, "output", name.to_owned(), value)
    }

    /// Makes `value` a place where a boost may attach.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn tap(&mut self, name: &str, value: ValueId) -> Result<()> {
        add(&mut self.graph.taps, "tap", name.to_owned(), value)
    }

    /// What the variable `name`, below the current scope, will take at the end of the run, as far as it is known.
    pub fn assigned(&self, name: &str) -> Option<ValueId> {
        let name = self.qualified(name);
        self.graph.assignments.iter().find(|named| named.name == name).map(|named| named.value)
    }

    /// Lets the variable `name`, below the current scope, take `value` instead of what it was assigned: a layer that is called
    /// several times in a run moves its statistics once a call, each time from [`Builder::assigned`].
    ///
    /// # Errors
    /// As [`Builder::assign`], but for the earlier assignment.
    pub fn reassign(&mut self, name: &str, value: ValueId) -> Result<()> {
        let qualified = self.qualified(name);
        self.graph.assignments.retain(|named| named.name != qualified);
        self.assign(name, value)
    }

    /// Lets the variable `name`, below the current scope, take `value` at the end of the run.
    ///
    /// # Errors
    /// If there is no such variable, its type differs, or it has an assignment already.
    pub fn assign(&mut self, name: &str, value: ValueId) -> Result<()> {
        let name = self.qualified(name);
        let ty = self.known(value)?;
        match self.graph.variable(&name) {
            None => Err(Error::graph(format!("assignment to `{name}`, which is no variable"))),
            Some(variable) if variable.ty != *ty => {
                Err(Error::graph(format!("variable `{name}` is {}, its assignment is {ty}", variable.ty)))
            }
            Some(_) => add(&mut self.graph.assignments, "assignment", name, value),
        }
    }
}

fn add(list: &mut Vec<Named>, what: &str, name: String, value: ValueId) -> Result<()> {
    if list.iter().any(|named| named.name == name) {
        return Err(Error::graph(format!("there are two {what}s `{name}`")));
    }
    list.push(Named { name, value });
    Ok(())
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) => $op:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// If the operand does not fit; see the operator.
            pub fn $name(&mut self, x: ValueId $(, $arg: $ty)*) -> Result<ValueId> {
                self.node($op, &[x])
            }
        )*
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// If the operands do not broadcast; see the operator.
            pub fn $name(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
                self.node(Op::$op {}, &[a, b])
            }
        )*
    };
}

/// One method for each operator; see [`Op`] for their meaning.
impl Builder {
    unary! {
        /// [`Op::Neg`].
        neg() => Op::Neg {};
        /// [`Op::Abs`].
        abs() => Op::Abs {};
        /// [`Op::Sign`].
        sign() => Op::Sign {};
        /// [`Op::Exp`].
        exp() => Op::Exp {};
        /// [`Op::Log`].
        log() => Op::Log {};
        /// [`Op::Sqrt`].
        sqrt() => Op::Sqrt {};
        /// [`Op::Sigmoid`].
        sigmoid() => Op::Sigmoid {};
        /// [`Op::Tanh`].
        tanh() => Op::Tanh {};
        /// [`Op::Relu`].
        relu() => Op::Relu {};
        /// [`Op::LeakyRelu`].
        leaky_relu(slope: f64) => Op::LeakyRelu { slope };
        /// [`Op::Elu`].
        elu(alpha: f64) => Op::Elu { alpha };
        /// [`Op::Clamp`].
        clamp(min: f64, max: f64) => Op::Clamp { min, max };
        /// [`Op::Pow`].
        pow(exponent: f64) => Op::Pow { exponent };
        /// [`Op::Cast`].
        cast(dtype: Dtype) => Op::Cast { dtype };
        /// [`Op::StopGradient`].
        stop_gradient() => Op::StopGradient {};
        /// [`Op::Sum`] over `axes`, which stay as extent 1.
        sum_keep(axes: &[usize]) => Op::Sum { axes: axes.to_vec(), keep: true };
        /// [`Op::Sum`] over `axes`, which disappear.
        sum(axes: &[usize]) => Op::Sum { axes: axes.to_vec(), keep: false };
        /// [`Op::Mean`] over `axes`, which stay as extent 1.
        mean_keep(axes: &[usize]) => Op::Mean { axes: axes.to_vec(), keep: true };
        /// [`Op::Mean`] over `axes`, which disappear.
        mean(axes: &[usize]) => Op::Mean { axes: axes.to_vec(), keep: false };
        /// [`Op::Max`] over `axes`, which stay as extent 1.
        max_keep(axes: &[usize]) => Op::Max { axes: axes.to_vec(), keep: true };
        /// [`Op::Max`] over `axes`, which disappear.
        max(axes: &[usize]) => Op::Max { axes: axes.to_vec(), keep: false };
        /// [`Op::Reshape`].
        reshape(shape: impl Into<Vec<usize>>) => Op::Reshape { shape: shape.into() };
        /// [`Op::Permute`].
        permute(order: &[usize]) => Op::Permute { order: order.to_vec() };
        /// [`Op::Broadcast`].
        broadcast(shape: impl Into<Vec<usize>>) => Op::Broadcast { shape: shape.into() };
        /// [`Op::Slice`].
        slice(starts: &[usize], ends: &[usize]) => Op::Slice { starts: starts.to_vec(), ends: ends.to_vec() };
        /// [`Op::Pad`].
        pad(before: &[usize], after: &[usize], value: f64) => Op::Pad { before: before.to_vec(), after: after.to_vec(), value };
        /// [`Op::Softmax`].
        softmax(axis: usize) => Op::Softmax { axis };
        /// [`Op::LogSoftmax`].
        log_softmax(axis: usize) => Op::LogSoftmax { axis };
        /// [`Op::ArgMax`].
        argmax(axis: usize) => Op::ArgMax { axis };
        /// [`Op::OneHot`].
        one_hot(depth: usize) => Op::OneHot { depth };
        /// [`Op::Resize`].
        resize(size: &[usize], mode: Mode, align_corners: bool) => Op::Resize { size: size.to_vec(), mode, align_corners };
        /// [`Op::MaxPool`].
        max_pool(kernel: &[usize], stride: &[usize], padding: &[usize]) =>
            Op::MaxPool { kernel: kernel.to_vec(), stride: stride.to_vec(), padding: padding.to_vec() };
        /// [`Op::AvgPool`], padding counted in the divisor as PyTorch does by default.
        avg_pool(kernel: &[usize], stride: &[usize], padding: &[usize]) => Op::AvgPool {
            kernel: kernel.to_vec(), stride: stride.to_vec(), padding: padding.to_vec(), count_include_pad: true,
        };
    }

    binary! {
        /// [`Op::Add`].
        add => Add;
        /// [`Op::Sub`].
        sub => Sub;
        /// [`Op::Mul`].
        mul => Mul;
        /// [`Op::Div`].
        div => Div;
        /// [`Op::Maximum`].
        maximum => Maximum;
        /// [`Op::Minimum`].
        minimum => Minimum;
        /// [`Op::Equal`].
        equal => Equal;
        /// [`Op::Less`].
        less => Less;
        /// [`Op::LessEqual`].
        less_equal => LessEqual;
        /// [`Op::Gather`]: rows of the first operand at the indices in the second.
        gather => Gather;
    }

    /// `x * factor + term`.
    ///
    /// # Errors
    /// If `x` is not f32.
    pub fn affine(&mut self, x: ValueId, factor: f64, term: f64) -> Result<ValueId> {
        let scaled = if factor == 1.0 {
            x
        } else {
            let factor = self.scalar(factor)?;
            self.mul(x, factor)?
        };
        if term == 0.0 {
            return Ok(scaled);
        }
        let term = self.scalar(term)?;
        self.add(scaled, term)
    }

    /// [`Op::Select`].
    ///
    /// # Errors
    /// If the operands do not broadcast.
    pub fn select(&mut self, condition: ValueId, yes: ValueId, no: ValueId) -> Result<ValueId> {
        self.node(Op::Select {}, &[condition, yes, no])
    }

    /// [`Op::Concat`].
    ///
    /// # Errors
    /// If an extent other than that of `axis` differs.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        self.node(Op::Concat { axis }, parts)
    }

    /// [`Op::MatMul`] of operands stored untransposed.
    ///
    /// # Errors
    /// If the extents do not fit.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.node(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, b])
    }
}
