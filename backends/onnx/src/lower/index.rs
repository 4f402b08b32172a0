//! Positions as values. ONNX wraps or clips what is out of range: such indices are found by an output of their own.

use mimus_core::graph::{Graph, Node, ValueId};
use mimus_core::{Dtype, Op};

use super::emit::{Choice, Emitter, Name, declared};
use super::{Check, Operands};
use crate::model::{AttributeDef, INT64};
use mimus_core::ValueType;

pub(super) fn argmax_attributes(axis: usize, keep: bool) -> Vec<AttributeDef> {
    let int = |name, value: i64| AttributeDef::int(name, value);
    vec![int("axis", axis as i64), int("keepdims", i64::from(keep)), int("select_last_index", 0)]
}

/// Truth values `[.., n]`: where the position along the last axis is `index [.., 1]`.
pub(super) fn is_index(e: &mut Emitter, index: &str, n: usize) -> Name {
    let bytes = (0..n as i64).flat_map(i64::to_le_bytes).collect();
    let positions = e.literal(INT64, &[n], bytes);
    e.binary("Equal", index, &positions)
}

/// Indices that are surely within `0..rows`, and, unless that is plain, the check that tells whether they were.
///
/// The check's output is the first index that is out of range, or any index if none is.
pub(super) fn within(
    e: &mut Emitter,
    graph: &Graph,
    node: &Node,
    index: ValueId,
    name: &str,
    rows: usize,
) -> (Name, Option<Check>) {
    if bound(graph, index).is_some_and(|bound| bound <= rows) {
        return (name.to_owned(), None);
    }
    let n = graph.ty(index).elements();
    let flat = e.reshape(name, &graph.ty(index).shape, &[n]);
    let (least, most) = (e.integer(0), e.integer(rows as i64 - 1));
    let safe = e.node("Clip", &[name, &least, &most], vec![]);
    let clipped = e.reshape(&safe, &graph.ty(index).shape, &[n]);
    let same = e.binary("Equal", &flat, &clipped);
    let same = e.cast(&same, crate::model::FLOAT);
    let first = e.node("ArgMin", &[&same], argmax_attributes(0, true));
    let found = e.node("Gather", &[&flat, &first], vec![]);
    let output = e.claim("index check");
    e.push("Identity", &[&found], vec![], vec![output.clone()]);
    e.graph.outputs.push(declared(&output, &ValueType::i64([1])));
    let check = Check { output, rows, op: node.op.name(), label: node.label.clone() };
    (safe, Some(check))
}

/// One past the largest index that a value can hold, if its maker says so.
fn bound(graph: &Graph, index: ValueId) -> Option<usize> {
    let maker = graph.producer(index);
    match &maker.op {
        Op::ArgMax { axis } => Some(graph.ty(maker.inputs[0]).shape[*axis]),
        Op::Reshape { .. } | Op::Permute { .. } | Op::Slice { .. } | Op::Broadcast { .. } => {
            bound(graph, maker.inputs[0])
        }
        Op::Constant { value } if value.dtype() == Dtype::I64 => {
            let indices = value.as_i64().ok()?;
            if indices.iter().any(|index| *index < 0) {
                return None;
            }
            usize::try_from(indices.iter().max()? + 1).ok()
        }
        _ => None,
    }
}

/// f32 rows with a 1 at each index.
pub(super) fn one_hot(e: &mut Emitter, index: &str, shape: &[usize], depth: usize) -> Name {
    let column = e.reshape(index, shape, &[shape, &[1]].concat());
    let truth = is_index(e, &column, depth);
    e.choose(Choice { truth, yes: 1.0, no: 0.0 })
}

/// Rows added up where their indices say.
pub(super) fn gather_grad(e: &mut Emitter, index: &str, x: &Operands<'_>) -> Name {
    let rows = x.output(0);
    let (shape, zeros) = (&x.ty(0).shape, super::fill(e, rows, 0.0));
    let index = e.reshape(index, shape, &[shape.as_slice(), &[1]].concat());
    e.node("ScatterND", &[&zeros, &index, x.name(1)], vec![AttributeDef::text("reduction", "add")])
}
