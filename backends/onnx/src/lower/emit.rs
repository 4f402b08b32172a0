//! The ONNX graph under construction: names, nodes, constants.

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::{Dtype, HostTensor, ValueType};

use crate::model::{
    AttributeDef, DimDef, FLOAT, GraphDef, INT64, NodeDef, ShapeDef, TensorDef, TensorType, TypeDef, ValueInfo,
};

/// Name of a value in the ONNX graph.
pub(super) type Name = String;

/// Between layer, operator and number in a node's name, so that an error of the engine leads back to the layer.
pub(crate) const SEPARATOR: char = '/';

/// `yes` where `truth` holds, else `no`: a comparison, or a multiple of one.
#[derive(Clone)]
pub(super) struct Choice {
    pub(super) truth: Name,
    pub(super) yes: f64,
    pub(super) no: f64,
}

/// What lowerings append to.
#[derive(Default)]
pub(super) struct Emitter {
    pub(super) graph: GraphDef,
    taken: BTreeSet<Name>,
    counter: usize,
    /// Layer and operator of the node that is lowered.
    place: String,
    /// Small constants by type, extents and bytes, so that each is there once.
    literals: BTreeMap<(i32, Vec<usize>, Vec<u8>), Name>,
    /// Values that are one of two numbers by a truth value, and the value that holds the number where one was needed.
    choices: BTreeMap<Name, (Choice, Option<Name>)>,
    /// For a reshaped value, what it was before.
    reshaped: BTreeMap<Name, (Name, Vec<usize>)>,
}

impl Emitter {
    /// Says which node the following ones belong to.
    pub(super) fn enter(&mut self, label: &str, op: &str) {
        self.place = format!("{label}{SEPARATOR}{op}");
    }

    /// A name that nothing else has: `wanted`, or with a mark behind it.
    pub(super) fn claim(&mut self, wanted: &str) -> Name {
        let mut name = wanted.to_owned();
        while !self.taken.insert(name.clone()) {
            name.push('\'');
        }
        name
    }

    fn fresh(&mut self) -> Name {
        self.counter += 1;
        self.claim(&format!("%{}", self.counter))
    }

    /// Appends a node of one output.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeDef>) -> Name {
        self.nodes(op, inputs, attributes, 1).swap_remove(0)
    }

    /// Appends a node of `n` outputs.
    pub(super) fn nodes(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeDef>, n: usize) -> Vec<Name> {
        let outputs: Vec<Name> = (0..n).map(|_| self.fresh()).collect();
        self.push(op, inputs, attributes, outputs.clone());
        outputs
    }

    /// Appends a node whose output has a name already.
    pub(super) fn push(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeDef>, outputs: Vec<Name>) {
        let name = format!("{}{SEPARATOR}{}", self.place, self.graph.nodes.len());
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        self.graph.nodes.push(NodeDef { inputs, outputs, name, op_type: op.to_owned(), attributes });
    }

    /// A constant tensor under a name of its own.
    pub(super) fn initializer(&mut self, wanted: &str, value: &HostTensor) -> Name {
        let name = self.claim(wanted);
        self.store(&name, element(value.dtype()), value.shape(), value.to_le_bytes());
        name
    }

    fn store(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) {
        let dims = shape.iter().map(|n| *n as i64).collect();
        let tensor = TensorDef { dims, data_type: Some(data_type), name: name.to_owned(), raw_data };
        self.graph.initializers.push(tensor);
    }

    /// A constant of any element type that is shared with all that equal it.
    pub(super) fn literal(&mut self, data_type: i32, shape: &[usize], bytes: Vec<u8>) -> Name {
        let key = (data_type, shape.to_vec(), bytes);
        if let Some(name) = self.literals.get(&key) {
            return name.clone();
        }
        let name = self.fresh();
        self.store(&name, data_type, shape, key.2.clone());
        self.literals.insert(key, name.clone());
        name
    }

    /// An f32 scalar.
    pub(super) fn number(&mut self, value: f64) -> Name {
        self.literal(FLOAT, &[], (value as f32).to_le_bytes().to_vec())
    }

    /// f32 elements.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f64]) -> Name {
        self.literal(FLOAT, shape, values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect())
    }

    /// An i64 scalar.
    pub(super) fn integer(&mut self, value: i64) -> Name {
        self.literal(INT64, &[], value.to_le_bytes().to_vec())
    }

    /// i64 elements in one axis: shapes, axes, positions.
    pub(super) fn list(&mut self, values: &[usize]) -> Name {
        let bytes = values.iter().flat_map(|n| (*n as i64).to_le_bytes()).collect();
        self.literal(INT64, &[values.len()], bytes)
    }

    /// A name for a choice. Nothing is computed for it until [`Emitter::number_of`] asks.
    pub(super) fn choose(&mut self, choice: Choice) -> Name {
        let name = self.fresh();
        self.choices.insert(name.clone(), (choice, None));
        name
    }

    /// The choice behind a name, if it is one.
    pub(super) fn choice(&self, name: &str) -> Option<&Choice> {
        self.choices.get(name).map(|(choice, _)| choice)
    }

    /// The value itself: for a choice, the chosen numbers.
    pub(super) fn number_of(&mut self, name: &str) -> Name {
        let Some((Choice { truth, yes, no }, known)) = self.choices.get(name).cloned() else { return name.to_owned() };
        if let Some(known) = known {
            return known;
        }
        let number = if (yes, no) == (1.0, 0.0) {
            self.cast(&truth, FLOAT)
        } else {
            let (yes, no) = (self.number(yes), self.number(no));
            self.node("Where", &[&truth, &yes, &no], vec![])
        };
        if let Some((_, known)) = self.choices.get_mut(name) {
            *known = Some(number.clone());
        }
        number
    }

    /// The same elements under other extents; what was reshaped before is taken from its beginning, so that equal values have one name.
    pub(super) fn reshape(&mut self, x: &str, from: &[usize], to: &[usize]) -> Name {
        if from == to {
            return x.to_owned();
        }
        let (x, from) = self.reshaped.get(x).cloned().unwrap_or_else(|| (x.to_owned(), from.to_vec()));
        if from == to {
            return x;
        }
        let name = self.view(&x, to);
        self.reshaped.insert(name.clone(), (x, from));
        name
    }

    /// The same elements under other extents than those that it has.
    pub(super) fn view(&mut self, x: &str, to: &[usize]) -> Name {
        let shape = self.list(to);
        self.node("Reshape", &[x, &shape], vec![])
    }

    /// Axes reordered.
    pub(super) fn transpose(&mut self, x: &str, order: &[usize]) -> Name {
        if order.iter().copied().eq(0..order.len()) {
            return x.to_owned();
        }
        self.node("Transpose", &[x], vec![AttributeDef::ints("perm", order)])
    }

    /// A box of `x [shape]`.
    pub(super) fn slice(&mut self, x: &str, shape: &[usize], starts: &[usize], ends: &[usize]) -> Name {
        if ends == shape && starts.iter().all(|start| *start == 0) {
            return x.to_owned();
        }
        let (starts, ends) = (self.list(starts), self.list(ends));
        self.node("Slice", &[x, &starts, &ends], vec![])
    }

    /// `ReduceSum` and the like over axes; over none it is `x` itself.
    ///
    /// One axis after another, the last first: the engine adds up in a row, and short sums of short sums lose fewer digits than a long one.
    pub(super) fn reduce(&mut self, op: &str, x: &str, axes: &[usize], keep: bool) -> Name {
        axes.iter().rev().fold(x.to_owned(), |x, axis| {
            let axis = self.list(&[*axis]);
            self.node(op, &[&x, &axis], vec![AttributeDef::int("keepdims", i64::from(keep))])
        })
    }

    /// Two operands, one result.
    pub(super) fn binary(&mut self, op: &str, a: &str, b: &str) -> Name {
        self.node(op, &[a, b], vec![])
    }

    /// One operand, one result.
    pub(super) fn unary(&mut self, op: &str, x: &str) -> Name {
        self.node(op, &[x], vec![])
    }

    /// Conversion to an element type.
    pub(super) fn cast(&mut self, x: &str, to: i32) -> Name {
        self.node("Cast", &[x], vec![AttributeDef::int("to", i64::from(to))])
    }
}

/// ONNX's number of an element type.
pub(super) fn element(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::F32 => FLOAT,
        Dtype::I64 => INT64,
    }
}

/// The declaration of an input or output.
pub(crate) fn declared(name: &str, ty: &ValueType) -> ValueInfo {
    let dims = ty.shape.iter().map(|n| DimDef { value: Some(*n as i64) }).collect();
    let tensor = TensorType { element: Some(element(ty.dtype)), shape: Some(ShapeDef { dims }) };
    ValueInfo { name: name.to_owned(), ty: Some(TypeDef { tensor: Some(tensor) }) }
}
