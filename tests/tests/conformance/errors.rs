//! What a session refuses, with the sentence that says so.

use std::collections::BTreeMap;

use crate::support::{THREADS, Target};
use mimus_core::plugin::Session;
use mimus_core::{Builder, Error, Graph, HostTensor, Init, Op, ValueType};

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
        ("x".to_owned(), pair([1.0, 2.0])),
        ("indices".to_owned(), HostTensor::i64([2], indices.into()).unwrap()),
    ])
}

fn pair(values: [f32; 2]) -> HostTensor {
    HostTensor::f32([2], values.into()).unwrap()
}

/// The error says `line`, after what names plugin and method.
#[track_caller]
fn assert_says(error: &Error, line: &str) {
    assert!(error.one_line().ends_with(line), "{error}\nexpected: {line}");
}

pub(crate) fn missing_unknown_and_mistyped_inputs_are_named(target: &Target) {
    let mut session = target.open(THREADS);
    let id = session.load(&program()).unwrap();
    session.write("encoder.w", &pair([3.0, 4.0])).unwrap();
    let mut refused = |change: &dyn Fn(&mut BTreeMap<String, HostTensor>)| {
        let mut inputs = inputs([0, 1]);
        change(&mut inputs);
        session.run(id, &inputs).unwrap_err()
    };
    let missing = refused(&|inputs| drop(inputs.remove("x")));
    assert_says(&missing, "layer `encoder`: op `input`: input `x` has no value");
    let unknown = refused(&|inputs| drop(inputs.insert("z".to_owned(), HostTensor::scalar(0.0))));
    assert_eq!(unknown.message(), "the program has no input `z`; it has: x, indices");
    let mistyped = refused(&|inputs| drop(inputs.insert("x".to_owned(), HostTensor::scalar(0.0))));
    assert_says(&mistyped, "layer `encoder`: op `input`: input `x` is f32[], expects f32[2]");
}

pub(crate) fn a_variable_without_value_is_named(target: &Target) {
    let mut session = target.open(THREADS);
    let id = session.load(&program()).unwrap();
    let error = session.run(id, &inputs([0, 1])).unwrap_err();
    assert_says(&error, "layer `encoder`: op `variable`: variable `encoder.w` has no value");
    assert_eq!(session.read("encoder.w").unwrap_err().message(), "variable `encoder.w` has no value");
    assert_eq!(session.read("w").unwrap_err().message(), "no loaded program has a variable `w`");
    let error = session.write("encoder.w", &HostTensor::scalar(1.0)).unwrap_err();
    assert_eq!(error.message(), "variable `encoder.w` is f32[2], given f32[]");
}

pub(crate) fn a_run_that_fails_leaves_variables_alone(target: &Target) {
    let mut session = target.open(THREADS);
    let id = session.load(&program()).unwrap();
    let before = pair([3.0, 4.0]);
    session.write("encoder.w", &before).unwrap();
    let error = session.run(id, &inputs([0, 2])).unwrap_err();
    assert_says(&error, "layer `encoder`: op `gather`: index 2 is outside 0..2");
    assert_eq!(session.read("encoder.w").unwrap(), before);
    let y = session.run(id, &inputs([1, 0])).unwrap().remove(0);
    assert_eq!(y, pair([5.0, 5.0]), "the session works on");
    assert_eq!(session.read("encoder.w").unwrap(), pair([1.0, 2.0]));
}

pub(crate) fn an_index_out_of_range_is_refused_by_one_hot(target: &Target) {
    refuses(target, Op::OneHot { depth: 2 }, &[-1, 2]);
}

pub(crate) fn an_index_out_of_range_is_refused_by_gather(target: &Target) {
    refuses(target, Op::Gather {}, &[-1, 9]);
}

pub(crate) fn an_index_out_of_range_is_refused_by_gather_grad(target: &Target) {
    refuses(target, Op::GatherGrad { rows: 3 }, &[-1, 3]);
}

/// The operator names each of the indices `bad` among good ones.
fn refuses(target: &Target, op: Op, bad: &[i64]) {
    for index in bad {
        let mut b = Builder::new("index");
        let rows = b.fill([3, 2], 1.0).unwrap();
        let indices = b.input("indices", ValueType::i64([3])).unwrap();
        let operands = match op {
            Op::OneHot { .. } => vec![indices],
            Op::Gather {} => vec![rows, indices],
            _ => vec![indices, rows],
        };
        let y = b.node(op.clone(), &operands).unwrap();
        b.output("y", y).unwrap();
        let mut session = target.open(THREADS);
        let error = run(&mut *session, &b.finish(), &[0, *index, 0]).unwrap_err();
        assert!(error.message().starts_with(&format!("index {index} is outside 0..")), "{error}");
        assert_eq!(error.context_value("op"), Some(op.name()));
    }
}

fn run(session: &mut dyn Session, graph: &Graph, indices: &[i64]) -> mimus_core::Result<Vec<HostTensor>> {
    let id = session.load(graph)?;
    session.run(id, &BTreeMap::from([("indices".to_owned(), HostTensor::i64([3], indices.to_vec())?)]))
}

pub(crate) fn programs_that_disagree_about_a_variable_are_refused(target: &Target) {
    let mut session = target.open(THREADS);
    session.load(&program()).unwrap();
    let mut b = Builder::new("other");
    let w = b.parameter("encoder.w", [3], Init::ONES).unwrap();
    b.output("w", w).unwrap();
    let error = session.load(&b.finish()).unwrap_err();
    assert_says(&error, "graph `other`: variable `encoder.w` is f32[2], the program declares f32[3]");
}

pub(crate) fn unknown_devices_and_no_threads_are_refused(target: &Target) {
    let error = target.backend.open(&target.request("cuda:77", 1)).err().unwrap();
    assert!(error.message().starts_with("there is no device `cuda:77`"), "{error}");
    let error = target.backend.open(&target.request(&target.device, 0)).err().unwrap();
    assert_eq!(error.message(), "threads is 0, expects 1 or more");
    assert!(target.backend.open(&target.request("auto", 1)).is_ok());
}
