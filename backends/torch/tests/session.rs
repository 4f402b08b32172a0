//! What no other backend has: options, steps of the optimiser in place, values in memory that is another's.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeMap;

use mimus_core::plugin::{Backend, BackendRequest, OptionValue, Options, Session};
use mimus_core::random::Stream;
use mimus_core::train::{LEARNING_RATE, OptimizerSpec, Turn};
use mimus_core::{Builder, Error, Graph, HostTensor, Init, Op, ValueType};
use mimus_torch::Torch;

type Inputs = BTreeMap<String, HostTensor>;

fn request(options: &[(&str, OptionValue)]) -> BackendRequest {
    let given = options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let options = Options::resolve(&Torch.info().options, given).unwrap();
    BackendRequest { device: "cpu".to_owned(), threads: 2, options }
}

fn open(options: &[(&str, OptionValue)]) -> Box<dyn Session> {
    Torch.open(&request(options)).unwrap()
}

fn random(key: &str, shape: &[usize]) -> HostTensor {
    let mut stream = Stream::keyed(key);
    HostTensor::f32(shape, (0..shape.iter().product()).map(|_| stream.range(-1.0, 1.0) as f32).collect()).unwrap()
}

/// Convolution, batch norm, rectifier, transposed convolution, mean square, as a step of Adam.
fn training() -> (Graph, Inputs) {
    let mut b = Builder::new("training");
    let x = b.input("x", ValueType::f32([2, 3, 16, 16])).unwrap();
    let down = b.parameter("down", [8, 3, 3, 3], Init::fan_in(27)).unwrap();
    let bias = b.parameter("bias", [8], Init::ZEROS).unwrap();
    let up = b.parameter("up", [8, 3, 4, 4], Init::fan_in(128)).unwrap();
    let [weight, shift] =
        [("weight", Init::ONES), ("shift", Init::ZEROS)].map(|(n, i)| b.parameter(n, [8], i).unwrap());
    let conv = Op::Conv { stride: vec![2, 2], padding: vec![1, 1], dilation: vec![1, 1], groups: 1 };
    let h = b.node(conv, &[x, down, bias]).unwrap();
    let h = b.nodes(Op::BatchNormTrain { eps: 1e-5 }, &[h, weight, shift]).unwrap()[0];
    let h = b.leaky_relu(h, 0.2).unwrap();
    let (stride, padding, dilation) = (vec![2, 2], vec![1, 1], vec![1, 1]);
    let op = Op::ConvTranspose { stride, padding, output_padding: vec![0, 0], dilation, groups: 1 };
    let y = b.node(op, &[h, up]).unwrap();
    let difference = b.sub(y, x).unwrap();
    let square = b.mul(difference, difference).unwrap();
    let loss = b.mean(square, &[0, 1, 2, 3]).unwrap();
    b.output("loss", loss).unwrap();
    let step = Turn::new(b.finish(), OptimizerSpec::adam(), 1e-3).step().unwrap().program;
    let inputs = [("x".to_owned(), random("x", &[2, 3, 16, 16])), (LEARNING_RATE.to_owned(), HostTensor::scalar(0.01))];
    (step, BTreeMap::from(inputs))
}

/// The losses of some steps.
fn losses(options: &[(&str, OptionValue)]) -> Vec<f32> {
    let (program, inputs) = training();
    let mut session = open(options);
    let id = session.load(&program).unwrap();
    for variable in &program.variables {
        session.write(&variable.name, &variable.first_value(3).unwrap()).unwrap();
    }
    (0..6).map(|_| session.run(id, &inputs).unwrap()[0].as_f32().unwrap()[0]).collect()
}

/// The largest relative difference.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f32::max)
}

#[test]
fn steps_are_the_same_bits_in_every_session_and_the_loss_falls() {
    let first = losses(&[]);
    assert_eq!(first, losses(&[]));
    assert!(first[5] < 0.9 * first[0], "{first:?}");
}

#[test]
fn the_layout_of_images_changes_digits_only_and_bf16_few() {
    let exact = losses(&[("channels_last", OptionValue::Bool(false))]);
    let channels_last = losses(&[]);
    let rounded = losses(&[("precision", OptionValue::Text("bf16".to_owned()))]);
    assert!(distance(&channels_last, &exact) < 1e-5, "{channels_last:?} {exact:?}");
    assert!(distance(&rounded, &exact) < 2e-2, "{rounded:?} {exact:?}");
    assert_ne!(rounded, exact, "nothing was rounded");
}

#[test]
fn tf32_is_refused_on_the_cpu() {
    let error = Torch.open(&request(&[("precision", OptionValue::Text("tf32".to_owned()))])).err().unwrap();
    assert_eq!(error.one_line(), "key `precision`: precision is \"tf32\", which the CPU does not have");
}

/// `p` takes a step of Adam; `old` and `half` take what `p` was, seen as a matrix; both are given back.
#[test]
fn a_step_in_place_changes_neither_outputs_nor_other_variables() {
    let mut b = Builder::new("step");
    let [p, m, v] = ["p", "m", "v"].map(|name| b.parameter(name, [4], Init::ONES).unwrap());
    b.parameter("old", [2, 2], Init::ZEROS).unwrap();
    b.parameter("half", [2], Init::ZEROS).unwrap();
    let matrix = b.reshape(p, [2, 2]).unwrap();
    let half = b.slice(p, &[2], &[4]).unwrap();
    let [g, lr, step] = [(vec![4], 1.0), (vec![], 0.5), (vec![], 1.0)].map(|(shape, x)| b.fill(shape, x).unwrap());
    let op = Op::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    let results = b.nodes(op, &[p, g, m, v, lr, step]).unwrap();
    b.assign("old", matrix).unwrap();
    b.assign("half", half).unwrap();
    for (name, value) in ["p", "m", "v"].into_iter().zip(results) {
        b.assign(name, value).unwrap();
    }
    b.output("before", matrix).unwrap();
    let mut session = open(&[]);
    let id = session.load(&b.finish()).unwrap();
    let start = HostTensor::f32([4], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    session.write("p", &start).unwrap();
    for (name, shape) in [("m", vec![4]), ("v", vec![4]), ("old", vec![2, 2]), ("half", vec![2])] {
        session.write(name, &HostTensor::full(&ValueType::f32(shape), 0.0)).unwrap();
    }
    let before = session.run(id, &Inputs::new()).unwrap().remove(0);
    assert_eq!(before.as_f32().unwrap(), start.as_f32().unwrap());
    assert_eq!(session.read("old").unwrap(), before);
    assert_eq!(session.read("half").unwrap().as_f32().unwrap(), [3.0, 4.0]);
    let after = session.read("p").unwrap();
    assert!(distance(after.as_f32().unwrap(), &[0.5, 1.5, 2.5, 3.5]) < 1e-6, "{after:?}");
    session.run(id, &Inputs::new()).unwrap();
    assert_eq!(session.read("half").unwrap().as_f32().unwrap(), &after.as_f32().unwrap()[2..], "of the second run");
}

#[test]
fn a_failed_run_leaves_parameters_that_are_stepped_in_place_alone() {
    let mut b = Builder::new("step");
    let [p, m, v] = ["p", "m", "v"].map(|name| b.parameter(name, [4], Init::ONES).unwrap());
    let indices = b.input("indices", ValueType::i64([1])).unwrap();
    let [g, lr, step] = [(vec![4], 1.0), (vec![], 0.5), (vec![], 1.0)].map(|(shape, x)| b.fill(shape, x).unwrap());
    let op = Op::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    for (name, value) in ["p", "m", "v"].into_iter().zip(b.nodes(op, &[p, g, m, v, lr, step]).unwrap()) {
        b.assign(name, value).unwrap();
    }
    let row = b.gather(p, indices).unwrap();
    b.output("row", row).unwrap();
    let mut session = open(&[]);
    let id = session.load(&b.finish()).unwrap();
    let ones = HostTensor::f32([4], vec![1.0; 4]).unwrap();
    ["p", "m", "v"].into_iter().for_each(|name| session.write(name, &ones).unwrap());
    let run = |session: &mut dyn Session, index| -> Result<Vec<HostTensor>, Error> {
        session.run(id, &BTreeMap::from([("indices".to_owned(), HostTensor::i64([1], vec![index]).unwrap())]))
    };
    assert_eq!(run(&mut *session, 4).unwrap_err().one_line(), "op `gather`: index 4 is outside 0..4");
    assert_eq!(session.read("p").unwrap(), ones);
    run(&mut *session, 3).unwrap();
    assert_ne!(session.read("p").unwrap(), ones);
}

#[test]
fn what_was_computed_from_variables_alone_follows_them() {
    let mut b = Builder::new("prepared");
    let x = b.input("x", ValueType::f32([1, 2, 3, 3])).unwrap();
    let w = b.parameter("w", [2, 2, 1, 1], Init::ONES).unwrap();
    let twice = b.add(w, w).unwrap();
    let conv = Op::Conv { stride: vec![1, 1], padding: vec![0, 0], dilation: vec![1, 1], groups: 1 };
    let y = b.node(conv, &[x, twice]).unwrap();
    let y = b.relu(y).unwrap();
    b.output("y", y).unwrap();
    b.output("twice", twice).unwrap();
    let mut session = open(&[]);
    let id = session.load(&b.finish()).unwrap();
    let inputs = BTreeMap::from([("x".to_owned(), HostTensor::full(&ValueType::f32([1, 2, 3, 3]), 1.0))]);
    for value in [1.0, 1.0, 3.0] {
        session.write("w", &HostTensor::full(&ValueType::f32([2, 2, 1, 1]), value)).unwrap();
        for _ in 0..2 {
            let results = session.run(id, &inputs).unwrap();
            assert_eq!(results[0], HostTensor::full(&ValueType::f32([1, 2, 3, 3]), 4.0 * value));
            assert_eq!(results[1], HostTensor::full(&ValueType::f32([2, 2, 1, 1]), 2.0 * value));
        }
    }
}
