//! What the backend refuses, with the sentence that says so.

use std::collections::BTreeMap;

use crate::support::{DEVICES, open};
use mimus_candle::Candle;
use mimus_core::plugin::{Backend, BackendRequest, Options};
use mimus_core::{Builder, Graph, HostTensor, Init, Op, ValueType};

/// `y = x + w[indices]`, and `w := x`, in the layer `encoder`.
fn program() -> Graph {
    let mut b = Builder::new("small");
    b.scope("encoder", |b| {
        let x = b.input("x", ValueType::f32([2]))?;
        let w = b.parameter("w", [2], Init::ONES)?;
        let indices = b.input("indices", ValueType::i64([2]))?;
        let rows = b.gather(w, indices)?;
        let y = b.add(x, rows)?;
        b.assign("w", x)?;
        b.output("y", y)
    })
    .unwrap();
    b.finish()
}

fn inputs(indices: [i64; 2]) -> BTreeMap<String, HostTensor> {
    BTreeMap::from([
        ("x".to_owned(), HostTensor::f32([2], vec![1.0, 2.0]).unwrap()),
        ("indices".to_owned(), HostTensor::i64([2], indices.to_vec()).unwrap()),
    ])
}

#[test]
fn missing_unknown_and_mistyped_inputs_are_named() {
    for device in DEVICES {
        let mut session = open(device, 2);
        let id = session.load(&program()).unwrap();
        session.write("encoder.w", &HostTensor::f32([2], vec![3.0, 4.0]).unwrap()).unwrap();
        let mut missing = inputs([0, 1]);
        missing.remove("x");
        let error = session.run(id, &missing).unwrap_err();
        assert_eq!(error.one_line(), "layer `encoder`: op `input`: input `x` has no value");
        let mut unknown = inputs([0, 1]);
        unknown.insert("z".to_owned(), HostTensor::scalar(0.0));
        let error = session.run(id, &unknown).unwrap_err();
        assert_eq!(error.message(), "the program has no input `z`; it has: x, indices");
        let mut mistyped = inputs([0, 1]);
        mistyped.insert("x".to_owned(), HostTensor::scalar(0.0));
        let error = session.run(id, &mistyped).unwrap_err();
        assert_eq!(error.one_line(), "layer `encoder`: op `input`: input `x` is f32[], expects f32[2]");
    }
}

#[test]
fn a_variable_without_value_is_named() {
    for device in DEVICES {
        let mut session = open(device, 2);
        let id = session.load(&program()).unwrap();
        let error = session.run(id, &inputs([0, 1])).unwrap_err();
        assert_eq!(error.one_line(), "layer `encoder`: op `variable`: variable `encoder.w` has no value");
        assert_eq!(session.read("encoder.w").unwrap_err().message(), "variable `encoder.w` has no value");
        assert_eq!(session.read("w").unwrap_err().message(), "no loaded program has a variable `w`");
        let error = session.write("encoder.w", &HostTensor::scalar(1.0)).unwrap_err();
        assert_eq!(error.message(), "variable `encoder.w` is f32[2], given f32[]");
    }
}

#[test]
fn an_index_out_of_range_names_layer_and_operator_and_leaves_variables_alone() {
    for device in DEVICES {
        let mut session = open(device, 2);
        let id = session.load(&program()).unwrap();
        let before = HostTensor::f32([2], vec![3.0, 4.0]).unwrap();
        session.write("encoder.w", &before).unwrap();
        let error = session.run(id, &inputs([0, 2])).unwrap_err();
        assert_eq!(error.one_line(), "layer `encoder`: op `gather`: index 2 is outside 0..2");
        assert_eq!(session.read("encoder.w").unwrap(), before);
        let y = session.run(id, &inputs([1, 0])).unwrap().remove(0);
        assert_eq!(y, HostTensor::f32([2], vec![5.0, 5.0]).unwrap(), "the session works on");
        assert_eq!(session.read("encoder.w").unwrap(), inputs([0, 0])["x"]);
        for (op, bad) in [(Op::OneHot { depth: 2 }, -1), (Op::Gather {}, 9), (Op::GatherGrad { rows: 3 }, 3)] {
            let mut b = Builder::new("index");
            let rows = b.fill([3, 2], 1.0).unwrap();
            let indices = b.constant(HostTensor::i64([3], vec![0, bad, 0]).unwrap()).unwrap();
            let operands = match op {
                Op::OneHot { .. } => vec![indices],
                Op::Gather {} => vec![rows, indices],
                _ => vec![indices, rows],
            };
            let y = b.node(op.clone(), &operands).unwrap();
            b.output("y", y).unwrap();
            let id = session.load(&b.finish()).unwrap();
            let error = session.run(id, &BTreeMap::new()).unwrap_err();
            assert!(error.message().starts_with(&format!("index {bad} is outside 0..")), "{error}");
            assert_eq!(error.context_value("op"), Some(op.name()));
        }
    }
}

#[test]
fn programs_that_disagree_about_a_variable_are_refused() {
    for device in DEVICES {
        let mut session = open(device, 2);
        session.load(&program()).unwrap();
        let mut b = Builder::new("other");
        let w = b.parameter("encoder.w", [3], Init::ONES).unwrap();
        b.output("w", w).unwrap();
        let error = session.load(&b.finish()).unwrap_err();
        assert_eq!(error.one_line(), "graph `other`: variable `encoder.w` is f32[2], the program declares f32[3]");
    }
}

#[test]
fn unknown_devices_and_no_threads_are_refused() {
    let request =
        |device: &str, threads| BackendRequest { device: device.to_owned(), threads, options: Options::default() };
    let error = Candle.open(&request("cuda:7", 1)).err().unwrap();
    assert!(error.message().starts_with("there is no device `cuda:7`"), "{error}");
    assert_eq!(Candle.open(&request("cpu", 0)).err().unwrap().message(), "threads is 0, expects 1 or more");
    assert!(Candle.open(&request("auto", 1)).is_ok());
}
