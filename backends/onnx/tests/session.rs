//! What only this backend has: variables as constants of a model, programs as files. Skipped, with the reason, without the native library.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]
#![allow(clippy::print_stderr, reason = "says why a test was skipped")]

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::plugin::{Backend, BackendRequest, ExportRequest, FileOutput, Options, Session};
use mimus_core::{Builder, Dtype, Graph, HostTensor, Init, ValueType, native};
use mimus_onnx::Onnx;

/// A session, if the native library is there; in CI it has to be.
fn session() -> Option<Box<dyn Session>> {
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    match native::require("onnxruntime") {
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}");
            None
        }
        found => {
            found.unwrap();
            let request = BackendRequest { device: "cpu".to_owned(), threads: 2, options: Options::default() };
            Some(Onnx.open(&request).unwrap())
        }
    }
}

/// `y = x * w`, in the layer `scale`.
fn program() -> Graph {
    let mut b = Builder::new("scale");
    let x = b.input("x", ValueType::f32([2])).unwrap();
    let w = b.parameter("scale.w", [2], Init::ONES).unwrap();
    let y = b.mul(x, w).unwrap();
    b.output("y", y).unwrap();
    b.finish()
}

fn vector(values: [f32; 2]) -> HostTensor {
    HostTensor::f32([2], values.to_vec()).unwrap()
}

fn inputs() -> BTreeMap<String, HostTensor> {
    BTreeMap::from([("x".to_owned(), vector([3.0, 5.0]))])
}

fn request() -> ExportRequest {
    ExportRequest {
        program: program(),
        variables: BTreeMap::from([("scale.w".to_owned(), vector([2.0, 4.0]))]),
        metadata: BTreeMap::from([("made.by".to_owned(), "a test".to_owned())]),
    }
}

#[test]
fn a_constant_of_a_model_may_be_written_between_runs() {
    let Some(mut session) = session() else { return };
    let id = session.load(&program()).unwrap();
    for factor in [2.0, -1.0] {
        session.write("scale.w", &vector([factor, factor])).unwrap();
        assert_eq!(session.run(id, &inputs()).unwrap(), [vector([3.0 * factor, 5.0 * factor])]);
    }
}

#[test]
fn an_exported_program_computes_the_same_and_carries_its_texts() {
    let bytes = Onnx.export(&request()).unwrap();
    assert_eq!(bytes, Onnx.export(&request()).unwrap(), "the same content makes the same bytes");
    let Some(mut session) = session() else { return };
    let file = session.load_file(&bytes).unwrap();
    assert_eq!(file.inputs, [("x".to_owned(), ValueType::f32([2]))]);
    assert_eq!(file.outputs, [FileOutput { name: "y".to_owned(), dtype: Dtype::F32, shape: vec![Some(2)] }]);
    assert_eq!(file.metadata["made.by"], "a test");
    assert_eq!(session.run(file.program, &inputs()).unwrap(), [vector([6.0, 20.0])]);
    let error = session.load_file(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(error.message().starts_with("ONNX Runtime refuses"), "{error}");
}

#[test]
fn a_variable_without_value_cannot_be_exported() {
    let error = Onnx.export(&ExportRequest { variables: BTreeMap::new(), ..request() }).unwrap_err();
    assert_eq!(error.one_line(), "graph `scale`: variable `scale.w` has no value");
}
