//! Composites: layers and losses that expand into primitive operators, one file a family.

pub mod coder;
pub mod convolution;
pub mod dropout;
pub mod loss;
pub mod memory;
pub mod norm;
pub mod resnet;
pub mod shuffle;
pub mod smooth;
