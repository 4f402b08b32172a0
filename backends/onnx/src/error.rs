//! The engine's errors in our words: with the layer and the operator of the node that failed, where it names one.

use mimus_core::Error;

use crate::lower::SEPARATOR;

/// An error of ONNX Runtime.
pub(crate) fn engine<R>(error: ort::Error<R>) -> Error {
    translated(error.message())
}

fn translated(message: &str) -> Error {
    let error = Error::backend(format!("ONNX Runtime refuses: {}", message.trim()));
    let Some((label, op)) = failed_node(message) else { return error };
    let error = error.with("op", op);
    if label.is_empty() { error } else { error.with("layer", label) }
}

/// Layer and operator from the name that the engine gives in `Name:'encoder.0/conv/17'`.
fn failed_node(message: &str) -> Option<(&str, &str)> {
    let name = message.split_once("Name:'")?.1.split_once('\'')?.0;
    let (node, _number) = name.rsplit_once(SEPARATOR)?;
    node.rsplit_once(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_that_failed_is_named_by_layer_and_operator() {
        let message =
            "Non-zero status code returned while running Conv node. Name:'encoder.0/conv/17' Status Message: x";
        let error = translated(message);
        assert_eq!(error.context_value("layer"), Some("encoder.0"));
        assert_eq!(error.context_value("op"), Some("conv"));
        assert_eq!(translated("no name").context(), []);
    }
}
