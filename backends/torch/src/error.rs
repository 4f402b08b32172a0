//! The engine's failures in our words.

use mimus_core::graph::Node;
use mimus_core::plugin::names::located;
use mimus_core::{Error, ValueType};
use tch::TchError;

/// Why a step came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// libtorch refused.
    Engine(TchError),
    /// What was asked for makes no sense.
    Refused(Error),
}

impl From<TchError> for Failure {
    fn from(error: TchError) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What the engine says, without its stack trace.
pub(crate) fn engine(error: &TchError) -> Error {
    let message = match error {
        TchError::Torch(message) => message.clone(),
        other => other.to_string(),
    };
    Error::backend(format!("libtorch: {}", message.lines().next().unwrap_or_default()))
}

/// The operator, layer and, where the engine failed, operands of a failure.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    op: &'static str,
    label: String,
    operands: String,
}

impl Location {
    pub(crate) fn new(node: &Node, operands: &[&ValueType]) -> Self {
        let operands: Vec<String> = operands.iter().map(ToString::to_string).collect();
        Self { op: node.op.name(), label: node.label.clone(), operands: operands.join(", ") }
    }

    /// A failure here as an error for people.
    pub(crate) fn error(&self, failure: Failure) -> Error {
        let error = match failure {
            Failure::Engine(error) => engine(&error).with("operands", &self.operands),
            Failure::Refused(error) => error,
        };
        located(error, self.op, &self.label)
    }
}
