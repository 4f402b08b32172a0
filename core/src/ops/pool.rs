//! The operators of the family `pool`.

use super::{GradientContext, InputGradients, Op};
use crate::error::{Error, Result};
use crate::reference::Array;
use crate::tensor::ValueType;

pub(super) fn infer(op: &Op, _inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
    Err(Error::graph("has no type rule").with("op", op.name()))
}

pub(super) fn gradient(op: &Op, _context: &mut GradientContext<'_>) -> Result<InputGradients> {
    Err(Error::graph("has no gradient").with("op", op.name()))
}

pub(super) fn evaluate(op: &Op, _inputs: &[&Array]) -> Result<Vec<Array>> {
    Err(Error::graph("has no kernel").with("op", op.name()))
}
