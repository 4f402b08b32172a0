//! Graphs to the bytes of an ONNX file.

use std::collections::BTreeMap;

use mimus_core::{Error, Result};
use prost::Message;

use crate::model::{Entry, GraphDef, IR_VERSION, Model, NodeDef, OPSET, OperatorSet};

/// The format cannot hold more in one file.
const MOST_BYTES: usize = i32::MAX as usize;

/// A complete file.
///
/// # Errors
/// If it would be larger than the format allows.
pub(crate) fn encode(graph: GraphDef, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let model = Model {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSet { domain: String::new(), version: Some(OPSET) }],
        producer_name: "mimus".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        metadata: metadata.iter().map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect(),
    };
    let bytes = model.encoded_len();
    if bytes > MOST_BYTES {
        return Err(Error::backend(format!("the model takes {bytes} bytes, an ONNX file holds at most {MOST_BYTES}")));
    }
    Ok(model.encode_to_vec())
}

/// The smallest model: a session on it shows that a device is there and lends its memory.
pub(crate) fn anchor() -> Vec<u8> {
    let ty = mimus_core::ValueType::f32([1]);
    let identity = NodeDef {
        inputs: vec!["x".to_owned()],
        outputs: vec!["y".to_owned()],
        name: "anchor".to_owned(),
        op_type: "Identity".to_owned(),
        attributes: Vec::new(),
    };
    let graph = GraphDef {
        nodes: vec![identity],
        name: "anchor".to_owned(),
        initializers: Vec::new(),
        inputs: vec![crate::lower::declared("x", &ty)],
        outputs: vec![crate::lower::declared("y", &ty)],
    };
    encode(graph, &BTreeMap::new()).unwrap_or_default()
}
