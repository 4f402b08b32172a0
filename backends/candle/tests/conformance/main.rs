//! The backend against the contract: operators, training steps, refusals.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

mod errors;
mod operators;
mod support;
mod training;
