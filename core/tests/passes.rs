//! Every pass keeps what a program computes: outputs and variables, over several runs, bit for bit in double precision on random graphs.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeMap;

use mimus_core::passes::{fold_constants, merge_common, optimise, remove_dead};
use mimus_core::random::Stream;
use mimus_core::reference::{Array, Interpreter, Precision};
use mimus_core::{Builder, Graph, Init, Result, ValueId, ValueType};
use proptest::prelude::*;

const SHAPE: [usize; 2] = [2, 3];

/// A program of elementwise operators and sums: many equal nodes, constants, and values that nothing reads.
fn program(steps: &[(u8, u8, u8)]) -> Result<Graph> {
    let mut b = Builder::new("random");
    let x = b.input("x", ValueType::f32(SHAPE))?;
    let state = b.buffer("state", SHAPE, Init::ONES)?;
    let weight = b.parameter("weight", SHAPE, Init::Uniform { lo: -1.0, hi: 1.0 })?;
    let mut values = vec![x, state, weight, b.fill(SHAPE, 0.5)?, b.fill(SHAPE, -2.0)?];
    for &(op, i, j) in steps {
        let pick = |i: u8| values[usize::from(i) % values.len()];
        let value = step(&mut b, op, pick(i), pick(j))?;
        values.push(value);
    }
    let last = values[values.len() - 1];
    b.output("y", last)?;
    b.output("earlier", values[values.len() / 2])?;
    b.tap("tap", last)?;
    let next = b.tanh(last)?;
    b.assign("state", next)?;
    Ok(b.finish())
}

fn step(b: &mut Builder, op: u8, x: ValueId, y: ValueId) -> Result<ValueId> {
    match op % 10 {
        0 => b.add(x, y),
        1 => b.sub(x, y),
        2 => {
            // Bounded, so that no chain of products overflows.
            let x = b.sigmoid(x)?;
            b.mul(x, y)
        }
        3 => b.maximum(x, y),
        4 => b.select(x, y, x),
        5 => b.less(x, y),
        6 => b.leaky_relu(x, 0.2),
        7 => b.fill(SHAPE, f64::from(y.0) - 2.0),
        8 => {
            let sum = b.sum_keep(x, &[1])?;
            b.mul(sum, y).and_then(|product| b.tanh(product))
        }
        _ => b.abs(x),
    }
}

/// Outputs of three runs, and the variables after them, as bits.
fn results(graph: &Graph) -> Vec<(String, Vec<u64>)> {
    graph.verify().unwrap();
    let mut stream = Stream::keyed("passes");
    let mut interpreter = Interpreter::new(Precision::F64);
    interpreter.variables.insert("state".to_owned(), Array::float(SHAPE, vec![1.0; 6]));
    interpreter.variables.insert("weight".to_owned(), Array::float(SHAPE, vec![0.3, -0.2, 0.9, -0.8, 0.1, 0.0]));
    let bits = |array: &Array| array.floats().unwrap().iter().map(|x| x.to_bits()).collect();
    let mut results = Vec::new();
    for _ in 0..3 {
        let x = Array::float(SHAPE, (0..6).map(|_| stream.range(-1.0, 1.0)).collect());
        // A pass may find that an input is not needed.
        let inputs = BTreeMap::from([("x".to_owned(), x)]);
        let outputs = interpreter.run(graph, &inputs).unwrap();
        let names = graph.outputs.iter().map(|output| output.name.clone());
        results.extend(names.zip(outputs.iter().map(bits)));
    }
    results.extend(interpreter.variables.iter().map(|(name, value)| (name.clone(), bits(value))));
    results
}

proptest! {
    #[test]
    fn no_pass_changes_what_a_program_computes(steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..40)) {
        let graph = program(&steps).unwrap();
        let before = results(&graph);
        for pass in [remove_dead, merge_common, fold_constants, optimise] {
            let after = pass(&graph).unwrap();
            prop_assert_eq!(&results(&after), &before, "{}became\n{}", graph, after);
        }
    }
}
