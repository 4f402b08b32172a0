//! What generated data sets are drawn with: points, distances, soft edges, colours and smooth noise.
#![forbid(unsafe_code)]

pub mod geometry;
pub mod noise;
