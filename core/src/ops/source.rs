//! Nodes without inputs: what the host gives, what a variable holds, and constants.

use super::{GradientContext, InputGradients, Op, check, expect_inputs};
use crate::error::{Error, Result};
use crate::reference::Array;
use crate::tensor::{Dtype, ValueType};

/// Constraints: C1 no inputs; C2 every extent is at least 1; C3 the number of elements is countable.
pub(super) fn infer(op: &Op, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    expect_inputs(op, inputs, 0..=0)?;
    let (dtype, shape) = match op {
        Op::Input { dtype, shape, .. } | Op::Variable { dtype, shape, .. } | Op::Fill { dtype, shape, .. } => {
            (*dtype, shape.clone())
        }
        Op::Constant { value } => (value.dtype(), value.shape().to_vec()),
        _ => return check::fail("is no source"),
    };
    Ok(vec![check::sized(dtype, shape)?])
}

pub(super) fn gradient(_: &Op, _: &mut GradientContext<'_>) -> Result<InputGradients> {
    Ok(Vec::new())
}

/// Inputs and variables are bound by the interpreter, which knows their values. A fill is rounded as all results are: by the
/// interpreter's precision.
pub(super) fn evaluate(op: &Op, _: &[&Array]) -> Result<Vec<Array>> {
    match op {
        Op::Constant { value } => Ok(vec![Array::from(value)]),
        Op::Fill { dtype, shape, value } => {
            let n = shape.iter().product();
            Ok(vec![match dtype {
                Dtype::F32 => Array::float(shape.clone(), vec![*value; n]),
                Dtype::I64 => Array::int(shape.clone(), vec![*value as i64; n]),
            }])
        }
        _ => Err(Error::graph("has no value of its own").with("op", op.name())),
    }
}
