//! The contract of Mimus: a plugin describes, a backend executes, and this crate transforms in between.
//!
//! Layers, each of which uses only those before it: [`error`] and [`random`], [`tensor`], ([`graph`], [`ops`]),
//! ([`blocks`], [`passes`], [`metrics`]), [`plugin`], [`boost`], [`mod@reference`], [`abi`].

pub mod error;
pub mod metrics;
pub mod random;
pub mod tensor;

pub use error::{Context, Error, ErrorKind, Result};
pub use tensor::{Dtype, HostData, HostTensor, Shape, ValueType};
