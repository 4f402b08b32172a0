//! Composites: layers and losses that expand into primitive operators, one file a family.

pub mod attention;
pub mod coder;
pub mod convolution;
pub mod loss;
pub mod memory;
pub mod norm;
