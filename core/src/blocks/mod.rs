//! Composites: layers and losses that expand into primitive operators, one file a family.

pub mod attention;
pub mod codebook;
pub mod coder;
pub mod convolution;
pub mod double;
pub mod dropout;
pub mod items;
pub mod loss;
pub mod memory;
pub mod norm;
pub mod pad;
pub mod resnet;
pub mod score;
pub mod shuffle;
pub mod smooth;
pub mod ssim;
pub mod unet;
pub mod warp;
