//! Small functions from graph to graph that keep what a program computes.

mod common;
mod conv_norm;
mod dead;
mod fold;
mod freeze;
mod zero_sum;

pub use common::merge_common;
pub use conv_norm::fold_conv_norm;
pub use dead::{keep_outputs, remove_dead};
pub use fold::fold_constants;
pub use freeze::freeze;
pub use zero_sum::zero_sums;

use crate::error::Result;
use crate::graph::Graph;

/// All passes, in the order in which each profits from the one before.
///
/// # Errors
/// If the graph is not well formed.
pub fn optimise(graph: &Graph) -> Result<Graph> {
    let graph = zero_sums(&fold_conv_norm(&remove_dead(graph)?)?)?;
    remove_dead(&merge_common(&fold_constants(&graph)?)?)
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of all passes share: "same outputs" on the interpreter.

    use std::collections::BTreeMap;

    use crate::graph::Graph;
    use crate::random::Stream;
    use crate::reference::{Array, Interpreter, Precision};

    /// Runs both graphs twice on the same random inputs; outputs and variables must agree to `tolerance`.
    pub(crate) fn assert_same(before: &Graph, after: &Graph, tolerance: f64) {
        after.verify().unwrap();
        let mut stream = Stream::keyed("passes");
        let inputs: BTreeMap<String, Array> = before
            .inputs()
            .map(|(name, v)| {
                (name.to_owned(), crate::ops::testing::random(&mut stream, &before.ty(v).shape, [-1.0, 1.0]))
            })
            .collect();
        let run = |graph: &Graph| {
            let mut interpreter = Interpreter::new(Precision::F64);
            interpreter.initialise(before, 7).unwrap();
            let mut results = interpreter.run(graph, &inputs).unwrap();
            results.extend(interpreter.run(graph, &inputs).unwrap());
            results.extend(interpreter.variables.into_values());
            results
        };
        for (a, b) in run(before).iter().zip(run(after)) {
            assert_eq!(a.ty(), b.ty());
            if let Ok(a) = a.floats() {
                let difference = a.iter().zip(b.floats().unwrap()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(difference <= tolerance, "differ by {difference}");
            }
        }
    }
}
