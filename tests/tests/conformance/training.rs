//! A whole training step against the interpreter, and the same bits on any number of threads.

use crate::operators;
use crate::support::{Draft, Program, STEP, Target, floats};
use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::random::Stream;
use mimus_core::train::{LEARNING_RATE, OptimizerSpec, Turn};
use mimus_core::{Builder, HostTensor, Init, Op, Phase, ValueId, ValueType};

/// Strided convolutions down, transposed ones up, batch norm and leaky ReLU between: the shape of the autoencoders.
fn autoencoder(b: &mut Builder, x: ValueId) -> ValueId {
    let mut h = x;
    for (i, channels) in [12, 20].into_iter().enumerate() {
        h = Conv::new(channels, &[3, 3])
            .stride(&[2, 2])
            .padding(&[1, 1])
            .without_bias()
            .forward(b, &format!("encoder.{i}"), h)
            .unwrap();
        h = batch_norm(b, &format!("norm.{i}"), h, Phase::Train, 0.1, Init::ONES).unwrap();
        h = b.leaky_relu(h, 0.2).unwrap();
    }
    for (i, channels) in [12, 3].into_iter().enumerate() {
        let up = Conv::new(channels, &[3, 3]).stride(&[2, 2]).padding(&[1, 1]).output_padding(&[1, 1]);
        h = up.transposed(b, &format!("decoder.{i}"), h).unwrap();
        h = b.tanh(h).unwrap();
    }
    h
}

/// A step with each optimiser.
fn steps() -> Vec<Program> {
    let sgd = OptimizerSpec::Sgd { momentum: 0.9, weight_decay: 1e-3, nesterov: true };
    let step = |optimizer: OptimizerSpec| {
        let mut b = Builder::new("autoencoder");
        let x = b.input("x", ValueType::f32([4, 3, 20, 24])).unwrap();
        let y = autoencoder(&mut b, x);
        let difference = b.sub(y, x).unwrap();
        let square = b.mul(difference, difference).unwrap();
        let loss = b.mean(square, &[0, 1, 2, 3]).unwrap();
        b.output("loss", loss).unwrap();
        let step = Turn::new(b.finish(), optimizer, 1e-3).step().unwrap();
        let mut draft = Draft { builder: Builder::extend(step.program), ..Draft::new() };
        draft.inputs.insert("x".to_owned(), floats(&mut Stream::keyed("x"), &[4, 3, 20, 24], [-1.0, 1.0]));
        draft.inputs.insert(LEARNING_RATE.to_owned(), HostTensor::scalar(1e-2));
        draft.finish(STEP)
    };
    [OptimizerSpec::adam(), sgd].map(step).into()
}

pub(crate) fn a_training_step_agrees_with_the_interpreter(target: &Target) {
    for step in steps() {
        step.check(target);
    }
}

pub(crate) fn results_are_the_same_bits_on_any_number_of_threads(target: &Target) {
    let operators = Op::NAMES.iter().filter(|name| !["input", "variable"].contains(name));
    for program in operators.flat_map(|name| operators::programs(name)).chain(steps()) {
        program.check_threads(target);
    }
}
