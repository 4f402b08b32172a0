//! The oracle: values in f64, kernels that live with their operators, and the loop that applies them.

mod array;
mod interpreter;

pub use array::{Array, Elements};
pub use interpreter::{Interpreter, Precision};
