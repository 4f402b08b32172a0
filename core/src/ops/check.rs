//! Sentences for the constraints that many operators share, and arithmetic on extents that cannot overflow.

use crate::error::{Error, Result};
use crate::tensor::{Dtype, Shape, ValueType};

/// More elements than any host or device holds: a graph beyond it is refused instead of overflowing.
pub(super) const MAX_ELEMENTS: usize = 1 << 40;

pub(super) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::graph(message))
}

/// The type, if its extents are at least 1 and its elements countable.
pub(super) fn sized(dtype: Dtype, shape: Shape) -> Result<ValueType> {
    let mut elements = 1usize;
    for extent in &shape {
        if *extent == 0 {
            return fail(format!("shape {shape:?} has an empty axis"));
        }
        elements = match elements.checked_mul(*extent) {
            Some(n) if n <= MAX_ELEMENTS => n,
            _ => return fail(format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")),
        };
    }
    Ok(ValueType::new(dtype, shape))
}

pub(super) fn dtype(what: &str, ty: &ValueType, expected: Dtype) -> Result<()> {
    if ty.dtype == expected { Ok(()) } else { fail(format!("{what} is {ty}, expects {expected}")) }
}

/// That every type is f32.
pub(super) fn floats(types: &[&ValueType]) -> Result<()> {
    for (i, ty) in types.iter().enumerate() {
        dtype(&format!("input {i}"), ty, Dtype::F32)?;
    }
    Ok(())
}

pub(super) fn shape(what: &str, ty: &ValueType, expected: &[usize]) -> Result<()> {
    if ty.shape == expected { Ok(()) } else { fail(format!("{what} has shape {:?}, expects {expected:?}", ty.shape)) }
}

pub(super) fn axis(axis: usize, rank: usize) -> Result<()> {
    if axis < rank { Ok(()) } else { fail(format!("axis {axis} is outside a value of rank {rank}")) }
}

/// That `axes` are sorted, distinct and within the rank.
pub(super) fn axes(axes: &[usize], rank: usize) -> Result<()> {
    if !axes.is_sorted_by(|a, b| a < b) {
        return fail(format!("axes {axes:?} are not sorted and distinct"));
    }
    axes.iter().try_for_each(|a| axis(*a, rank))
}

/// That an attribute list has one entry for every axis.
pub(super) fn per_axis(name: &str, list: &[usize], n: usize) -> Result<()> {
    if list.len() == n { Ok(()) } else { fail(format!("{name} {list:?} has {} entries, expects {n}", list.len())) }
}

/// That no entry of an attribute list is 0.
pub(super) fn positive(name: &str, list: &[usize]) -> Result<()> {
    if list.contains(&0) { fail(format!("{name} {list:?} must not contain 0")) } else { Ok(()) }
}
