//! What detectors of video anomalies want besides frames: optical flow and boxes of moving things, computed here or read from files.
#![forbid(unsafe_code)]

mod files;
pub mod flow;
mod plane;
pub mod proposals;
#[cfg(test)]
mod scenes;

pub use files::{BoxFile, FlowFolder, FoundBox};
pub use plane::Gray;
