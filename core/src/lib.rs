//! The contract of Mimus: a plugin describes, a backend executes, and this crate transforms in between.
//!
//! Layers, each of which uses only those before it: [`error`] and [`random`]; [`synthesis`]; [`tensor`]; [`graph`] with [`ops`] and
//! [`mod@reference`]; [`autodiff`], [`passes`], [`blocks`] and [`train`]; [`mod@plugin`]; [`boost`]; [`native`]; [`abi`]. [`metrics`] stands alone.

pub mod abi;
pub mod autodiff;
pub mod blocks;
pub mod boost;
pub mod error;
pub mod folders;
pub mod graph;
pub mod metrics;
pub mod native;
pub mod ops;
pub mod passes;
pub mod plugin;
pub mod random;
pub mod reference;
pub mod synthesis;
pub mod tensor;
pub mod train;

pub use error::{Context, Error, ErrorKind, Result};
pub use graph::{Builder, Graph, Init, Phase, Role, ValueId};
pub use ops::Op;
pub use tensor::{Dtype, HostData, HostTensor, Shape, ValueType};
