//! Programs to ONNX graphs of standard operators: gradients and optimiser steps are written out in them too.

mod conv;
mod elementwise;
mod emit;
mod index;
mod layout;
mod norm;
mod optimizer;
mod pool;
mod reduce;
mod resize;

use std::collections::BTreeMap;

use mimus_core::graph::{Graph, Node};
use mimus_core::{Error, HostTensor, Op, Result, ValueType};

pub(crate) use emit::SEPARATOR;
pub(crate) use emit::declared;
use emit::{Emitter, Name};

use crate::model::{AttributeDef, GraphDef};
use conv::Geometry;
use optimizer::Adam;
use pool::Windows;

/// Filled constants of more elements are made in the graph from one number.
const MOST_FILLED: usize = 4096;

/// An output that holds an index out of `0..rows` if there was one.
pub(crate) struct Check {
    pub(crate) output: String,
    pub(crate) rows: usize,
    pub(crate) op: &'static str,
    pub(crate) label: String,
}

/// A lowered program: the graph and what its names stand for.
pub(crate) struct Lowered {
    pub(crate) graph: GraphDef,
    /// ONNX names of the program's inputs, in node order.
    pub(crate) inputs: Vec<String>,
    /// Variables that are inputs of the graph, and their ONNX names.
    pub(crate) variables: Vec<(String, String)>,
    /// ONNX names of the program's outputs, in order.
    pub(crate) outputs: Vec<String>,
    /// Assigned variables, and the ONNX names of their next values.
    pub(crate) assignments: Vec<(String, String)>,
    pub(crate) checks: Vec<Check>,
}

/// What a lowering sees of a node.
pub(crate) struct Operands<'a> {
    names: Vec<&'a str>,
    types: Vec<&'a ValueType>,
    outputs: Vec<&'a ValueType>,
}

impl<'a> Operands<'a> {
    fn new(graph: &'a Graph, node: &Node, names: &'a [Name]) -> Self {
        Self {
            names: names.iter().map(String::as_str).collect(),
            types: node.inputs.iter().map(|value| graph.ty(*value)).collect(),
            outputs: node.outputs.iter().map(|value| graph.ty(*value)).collect(),
        }
    }

    fn name(&self, i: usize) -> &'a str {
        self.names[i]
    }

    fn all(&self) -> Vec<&'a str> {
        self.names.clone()
    }

    fn ty(&self, i: usize) -> &'a ValueType {
        self.types[i]
    }

    fn output(&self, i: usize) -> &'a ValueType {
        self.outputs[i]
    }
}

/// Lowers a well-formed program. Variables in `constants` become constants of the graph, the others its inputs.
///
/// Inputs, outputs and variables keep their names; where two share one, the later gets a mark behind it, in the order inputs, outputs,
/// variables, next values of variables.
///
/// # Errors
/// If a value is read before it is made: the graph was not verified.
pub(crate) fn lower(graph: &Graph, constants: &BTreeMap<String, HostTensor>) -> Result<Lowered> {
    let mut e = Emitter::default();
    e.graph.name.clone_from(&graph.name);
    let mut values: Vec<Option<Name>> = vec![None; graph.values.len()];
    let mut inputs = Vec::new();
    for (name, value) in graph.inputs() {
        let onnx = e.claim(name);
        e.graph.inputs.push(declared(&onnx, graph.ty(value)));
        values[value.index()] = Some(onnx.clone());
        inputs.push(onnx);
    }
    let outputs: Vec<Name> = graph.outputs.iter().map(|named| e.claim(&named.name)).collect();
    let variables = sources(&mut e, graph, constants, &mut values);
    let mut checks = Vec::new();
    for node in &graph.nodes {
        if matches!(node.op, Op::Input { .. } | Op::Variable { .. }) {
            continue;
        }
        e.enter(&node.label, node.op.name());
        let names = node.inputs.iter().map(|value| made(&values, value.index())).collect::<Result<Vec<_>>>()?;
        let results = match elementwise::choose(&mut e, graph, node, &names) {
            Some(result) => vec![result],
            None => {
                let names: Vec<Name> = names.iter().map(|name| e.number_of(name)).collect();
                let x = Operands::new(graph, node, &names);
                lower_node(&mut e, graph, node, &x, &mut checks)
            }
        };
        for (value, name) in node.outputs.iter().zip(results) {
            values[value.index()] = Some(name);
        }
    }
    for (named, onnx) in graph.outputs.iter().zip(&outputs) {
        finish(&mut e, made(&values, named.value.index())?, onnx, graph.ty(named.value));
    }
    let mut assignments = Vec::new();
    for named in &graph.assignments {
        let onnx = e.claim(&format!("{}.next", named.name));
        finish(&mut e, made(&values, named.value.index())?, &onnx, graph.ty(named.value));
        assignments.push((named.name.clone(), onnx));
    }
    Ok(Lowered { graph: e.graph, inputs, variables, outputs, assignments, checks })
}

/// Declares the variables that the program reads, once each; returns those that are inputs.
fn sources(
    e: &mut Emitter,
    graph: &Graph,
    constants: &BTreeMap<String, HostTensor>,
    values: &mut [Option<Name>],
) -> Vec<(String, String)> {
    let mut known: BTreeMap<&str, Name> = BTreeMap::new();
    let mut inputs = Vec::new();
    for node in &graph.nodes {
        let Op::Variable { name, .. } = &node.op else { continue };
        let onnx = match (known.get(name.as_str()), constants.get(name)) {
            (Some(onnx), _) => onnx.clone(),
            (None, Some(value)) => e.initializer(name, value),
            (None, None) => {
                let onnx = e.claim(name);
                e.graph.inputs.push(declared(&onnx, graph.ty(node.outputs[0])));
                inputs.push((name.clone(), onnx.clone()));
                onnx
            }
        };
        known.insert(name, onnx.clone());
        values[node.outputs[0].index()] = Some(onnx);
    }
    inputs
}

fn made(values: &[Option<Name>], index: usize) -> Result<&str> {
    values[index].as_deref().ok_or_else(|| Error::graph(format!("value %{index} is used before it is made")))
}

/// Makes a value an output of the graph under a name of its own.
fn finish(e: &mut Emitter, value: &str, name: &str, ty: &ValueType) {
    e.enter("", "output");
    let value = e.number_of(value);
    e.push("Identity", &[&value], vec![], vec![name.to_owned()]);
    e.graph.outputs.push(declared(name, ty));
}

/// A tensor of one number.
fn fill(e: &mut Emitter, ty: &ValueType, value: f64) -> Name {
    let (one, bytes) = (ValueType::new(ty.dtype, []), |ty: &ValueType| HostTensor::full(ty, value).to_le_bytes());
    if ty.elements() <= MOST_FILLED {
        return e.literal(emit::element(ty.dtype), &ty.shape, bytes(ty));
    }
    let (number, shape) = (e.literal(emit::element(ty.dtype), &[], bytes(&one)), e.list(&ty.shape));
    e.binary("Expand", &number, &shape)
}

/// The one place that knows every operator.
fn lower_node(e: &mut Emitter, graph: &Graph, node: &Node, x: &Operands<'_>, checks: &mut Vec<Check>) -> Vec<Name> {
    let axis_attribute = |axis: usize| vec![AttributeDef::int("axis", axis as i64)];
    let mut index = |e: &mut Emitter, i: usize, rows: usize| {
        let (safe, check) = index::within(e, graph, node, node.inputs[i], x.name(i), rows);
        checks.extend(check);
        safe
    };
    vec![match &node.op {
        // Sources that need no node: their names are there already.
        Op::Input { .. } | Op::Variable { .. } => return Vec::new(),
        Op::Constant { value } => e.literal(emit::element(value.dtype()), value.shape(), value.to_le_bytes()),
        Op::Fill { value, .. } => fill(e, x.output(0), *value),
        Op::Neg {} => e.unary("Neg", x.name(0)),
        Op::Abs {} => e.unary("Abs", x.name(0)),
        Op::Sign {} => e.unary("Sign", x.name(0)),
        Op::Exp {} => e.unary("Exp", x.name(0)),
        Op::Log {} => e.unary("Log", x.name(0)),
        Op::Sqrt {} => e.unary("Sqrt", x.name(0)),
        Op::Sigmoid {} => e.unary("Sigmoid", x.name(0)),
        Op::Tanh {} => e.unary("Tanh", x.name(0)),
        Op::Relu {} => e.unary("Relu", x.name(0)),
        Op::LeakyRelu { slope } => e.node("LeakyRelu", &[x.name(0)], vec![AttributeDef::float("alpha", *slope)]),
        Op::Elu { alpha } => e.node("Elu", &[x.name(0)], vec![AttributeDef::float("alpha", *alpha)]),
        Op::Clamp { min, max } => {
            let (min, max) = (e.number(*min), e.number(*max));
            e.node("Clip", &[x.name(0), &min, &max], vec![])
        }
        Op::Pow { exponent } => elementwise::pow(e, x.name(0), *exponent),
        Op::Add {} => e.binary("Add", x.name(0), x.name(1)),
        Op::Sub {} => e.binary("Sub", x.name(0), x.name(1)),
        Op::Mul {} => e.binary("Mul", x.name(0), x.name(1)),
        Op::Div {} => e.binary("Div", x.name(0), x.name(1)),
        Op::Maximum {} => e.binary("Max", x.name(0), x.name(1)),
        Op::Minimum {} => e.binary("Min", x.name(0), x.name(1)),
        Op::Equal {} => elementwise::comparison(e, "Equal", x),
        Op::Less {} => elementwise::comparison(e, "Less", x),
        Op::LessEqual {} => elementwise::comparison(e, "LessOrEqual", x),
        Op::Select {} => elementwise::select(e, x),
        Op::Cast { dtype } => elementwise::cast(e, x, *dtype),
        Op::StopGradient {} => x.name(0).to_owned(),
        Op::Sum { axes, keep } => e.reduce("ReduceSum", x.name(0), axes, *keep),
        Op::Mean { axes, keep } => e.reduce("ReduceMean", x.name(0), axes, *keep),
        Op::Max { axes, keep } => e.reduce("ReduceMax", x.name(0), axes, *keep),
        Op::MaxGrad { axes, .. } => reduce::max_grad(e, x, axes),
        Op::Reshape { shape } => e.reshape(x.name(0), &x.ty(0).shape, shape),
        Op::Permute { order } => e.transpose(x.name(0), order),
        Op::Slice { starts, ends } => e.slice(x.name(0), &x.ty(0).shape, starts, ends),
        Op::Concat { axis } => layout::concat(e, x, *axis),
        Op::Pad { before, after, value } => layout::pad(e, x, before, after, *value),
        Op::Broadcast { shape } => layout::broadcast(e, x, shape),
        Op::MatMul { transpose_a, transpose_b } => layout::matmul(e, x, *transpose_a, *transpose_b),
        Op::Conv { stride, padding, dilation, groups } => {
            conv::conv(e, x, &Geometry { stride, padding, dilation, groups: *groups })
        }
        Op::ConvTranspose { stride, padding, dilation, groups, .. } => {
            conv::conv_transpose(e, x, &Geometry { stride, padding, dilation, groups: *groups })
        }
        Op::ConvWeightGrad { stride, padding, dilation, groups, .. } => {
            conv::conv_weight_grad(e, x, &Geometry { stride, padding, dilation, groups: *groups })
        }
        Op::MaxPool { kernel, stride, padding } => pool::max_pool(e, x, Windows { kernel, stride, padding }),
        Op::MaxPoolGrad { kernel, stride, padding } => pool::max_pool_grad(e, x, Windows { kernel, stride, padding }),
        Op::AvgPool { kernel, stride, padding, count_include_pad } => {
            pool::avg_pool(e, x, Windows { kernel, stride, padding }, *count_include_pad)
        }
        Op::AvgPoolGrad { kernel, stride, padding, count_include_pad, .. } => {
            pool::avg_pool_grad(e, x, Windows { kernel, stride, padding }, *count_include_pad)
        }
        Op::Resize { mode, align_corners, .. } => resize::resize(e, x, *mode, *align_corners),
        Op::ResizeGrad { mode, align_corners, .. } => resize::resize_grad(e, x, *mode, *align_corners),
        Op::Softmax { axis } => e.node("Softmax", &[x.name(0)], axis_attribute(*axis)),
        Op::LogSoftmax { axis } => e.node("LogSoftmax", &[x.name(0)], axis_attribute(*axis)),
        Op::BatchNorm { eps } => norm::batch_norm(e, x, *eps),
        Op::BatchNormTrain { eps } => return norm::batch_norm_train(e, x, *eps),
        Op::BatchNormTrainGrad { eps } => return norm::batch_norm_train_grad(e, x, *eps),
        Op::ArgMax { axis } => e.node("ArgMax", &[x.name(0)], index::argmax_attributes(*axis, false)),
        Op::OneHot { depth } => {
            let safe = index(e, 0, *depth);
            index::one_hot(e, &safe, &x.ty(0).shape, *depth)
        }
        Op::Gather {} => {
            let safe = index(e, 1, x.ty(0).shape[0]);
            e.node("Gather", &[x.name(0), &safe], axis_attribute(0))
        }
        Op::GatherGrad { rows } => {
            let safe = index(e, 0, *rows);
            index::gather_grad(e, &safe, x)
        }
        Op::Sgd { momentum, weight_decay, nesterov } => {
            return optimizer::sgd(e, x, *momentum, *weight_decay, *nesterov);
        }
        Op::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
            let how = Adam { betas: [*beta1, *beta2], eps: *eps, weight_decay: *weight_decay, decoupled: *decoupled };
            return optimizer::adam(e, x, &how);
        }
    }]
}
