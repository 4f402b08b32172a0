//! The oracle: values in f64, kernels that live with their operators.

mod array;

pub use array::{Array, Elements};
