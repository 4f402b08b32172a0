//! Comparisons, selection, conversion: where truth values of ONNX meet our 0 and 1.
//!
//! A comparison stays a truth value as long as it is only scaled and shifted: the gradient of a rectifier, `dy * (a + b * (y > 0))`, is
//! one selection instead of five passes over the feature.

use mimus_core::graph::{Graph, Node};
use mimus_core::{Dtype, Op};

use super::Operands;
use super::emit::{Choice, Emitter, Name, element};
use crate::model::BOOL;

/// 1 where `op` holds, else 0.
pub(super) fn comparison(e: &mut Emitter, op: &str, x: &Operands<'_>) -> Name {
    let truth = e.binary(op, x.name(0), x.name(1));
    e.choose(Choice { truth, yes: 1.0, no: 0.0 })
}

/// What a node makes of a choice without its numbers being computed, if it can.
pub(super) fn choose(e: &mut Emitter, graph: &Graph, node: &Node, names: &[&str]) -> Option<Name> {
    match (&node.op, names) {
        (Op::Select {}, [condition, yes, no]) => {
            let choice = e.choice(condition)?.clone();
            let (yes, no) = (e.number_of(yes), e.number_of(no));
            ((choice.yes != 0.0) && choice.no == 0.0).then(|| e.node("Where", &[&choice.truth, &yes, &no], vec![]))
        }
        (Op::Mul {} | Op::Add {}, [a, b]) => {
            let (choice, other) = if e.choice(a).is_some() { (a, 1) } else { (b, 0) };
            let Choice { truth, yes, no } = e.choice(choice)?.clone();
            let producer = &graph.producer(node.inputs[other]).op;
            match (&node.op, producer) {
                (Op::Mul {}, Op::Fill { value, shape, .. }) if shape.is_empty() => {
                    Some(e.choose(Choice { truth, yes: yes * value, no: no * value }))
                }
                (Op::Add {}, Op::Fill { value, shape, .. }) if shape.is_empty() => {
                    Some(e.choose(Choice { truth, yes: yes + value, no: no + value }))
                }
                (Op::Mul {}, _) if graph.ty(node.inputs[other]) == graph.ty(node.outputs[0]) => {
                    let factor = e.number_of(names[other]);
                    let [yes, no] = [yes, no].map(|number| multiple(e, &factor, number));
                    Some(e.node("Where", &[&truth, &yes, &no], vec![]))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// `x * factor`; 0 is 0 whatever `x` is.
fn multiple(e: &mut Emitter, x: &str, factor: f64) -> Name {
    if factor == 1.0 {
        return x.to_owned();
    }
    let factor_name = e.number(factor);
    if factor == 0.0 { factor_name } else { e.binary("Mul", x, &factor_name) }
}

/// The second operand where the first is not 0, else the third.
pub(super) fn select(e: &mut Emitter, x: &Operands<'_>) -> Name {
    let truth = e.cast(x.name(0), BOOL);
    e.node("Where", &[&truth, x.name(1), x.name(2)], vec![])
}

/// Conversion; to f32 and i64 both sides agree on truncation.
pub(super) fn cast(e: &mut Emitter, x: &Operands<'_>, to: Dtype) -> Name {
    if x.ty(0).dtype == to { x.name(0).to_owned() } else { e.cast(x.name(0), element(to)) }
}

/// Powers that have an operator of their own are exact with it.
pub(super) fn pow(e: &mut Emitter, x: &str, exponent: f64) -> Name {
    match exponent {
        1.0 => x.to_owned(),
        2.0 => e.binary("Mul", x, x),
        0.5 => e.unary("Sqrt", x),
        -1.0 => e.unary("Reciprocal", x),
        -0.5 => {
            let root = e.unary("Sqrt", x);
            e.unary("Reciprocal", &root)
        }
        _ => {
            let exponent = e.number(exponent);
            e.binary("Pow", x, &exponent)
        }
    }
}
