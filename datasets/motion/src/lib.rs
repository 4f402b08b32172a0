//! What detectors of video anomalies want besides frames: optical flow and boxes of moving things, computed here or read from files.
#![forbid(unsafe_code)]

pub mod flow;
mod plane;
#[cfg(test)]
mod scenes;

pub use plane::Gray;
