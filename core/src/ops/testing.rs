//! What the tests of all operators share: evaluation, and the gradient of every operator against finite differences.

use std::collections::{BTreeMap, BTreeSet};

use crate::autodiff::pull_back;
use crate::error::Result;
use crate::graph::{Builder, ValueId};
use crate::ops::{Op, conv, elementwise, index, layout, matmul, norm, pool, reduce, resize};
use crate::random::Stream;
use crate::reference::{Array, Elements, Interpreter, Precision};
use crate::tensor::Dtype;

/// A random array: floats in `[lo, hi)`.
pub(crate) fn random(stream: &mut Stream, shape: &[usize], [lo, hi]: [f64; 2]) -> Array {
    Array::float(shape, (0..shape.iter().product()).map(|_| stream.range(lo, hi)).collect())
}

/// Random extents, each from 1 to `most`.
pub(crate) fn extents(stream: &mut Stream, rank: usize, most: u64) -> Vec<usize> {
    (0..rank).map(|_| 1 + stream.below(most) as usize).collect()
}

fn inputs(b: &mut Builder, arrays: &[Array]) -> Vec<ValueId> {
    let declare = |(i, array): (usize, &Array)| b.input(&format!("x{i}"), array.ty()).unwrap();
    arrays.iter().enumerate().map(declare).collect()
}

fn bind(arrays: &[Array]) -> BTreeMap<String, Array> {
    arrays.iter().enumerate().map(|(i, array)| (format!("x{i}"), array.clone())).collect()
}

/// Builds a graph of the arrays and runs it in f64.
pub(crate) fn evaluate(
    arrays: &[Array],
    build: impl Fn(&mut Builder, &[ValueId]) -> Result<Vec<ValueId>>,
) -> Vec<Array> {
    let mut b = Builder::new("test");
    let x = inputs(&mut b, arrays);
    for (i, value) in build(&mut b, &x).unwrap().into_iter().enumerate() {
        b.output(&format!("y{i}"), value).unwrap();
    }
    Interpreter::new(Precision::F64).run(&b.finish(), &bind(arrays)).unwrap()
}

/// An application of an operator whose gradient finite differences can check.
pub(crate) struct Case {
    pub(crate) op: Op,
    pub(crate) arrays: Vec<Array>,
    /// Float inputs that no gradient may reach.
    pub(crate) held: &'static [usize],
}

impl Case {
    /// All float inputs have a gradient.
    pub(crate) fn new(op: Op, arrays: impl Into<Vec<Array>>) -> Self {
        Self { op, arrays: arrays.into(), held: &[] }
    }
}

/// The gradients of `sum(G * y)` with respect to the inputs, where `y` is the operator's first output.
///
/// # Errors
/// If the operator has none.
pub(crate) fn gradients(b: &mut Builder, op: &Op, x: &[ValueId], g: ValueId) -> Result<Vec<Option<ValueId>>> {
    let y = b.nodes(op.clone(), x)?[0];
    pull_back(b, &[(y, g)], x)
}

/// Compares the gradient of `sum(G * y)`, `G` random and `y` the first output, with central finite differences in every float element.
pub(crate) fn check_gradient(Case { op, arrays, held }: &Case) {
    let value = |arrays: &[Array]| op.evaluate(&arrays.iter().collect::<Vec<_>>()).unwrap().swap_remove(0);
    let y = value(arrays);
    let g = random(&mut Stream::keyed("cotangent"), &y.shape, [-1.0, 1.0]);
    let project = |arrays: &[Array]| -> f64 {
        value(arrays).floats().unwrap().iter().zip(g.floats().unwrap()).map(|(y, g)| y * g).sum()
    };
    let all = [arrays.as_slice(), std::slice::from_ref(&g)].concat();
    let floats: Vec<usize> = (0..arrays.len()).filter(|i| arrays[*i].floats().is_ok()).collect();
    let reached: Vec<usize> = floats.into_iter().filter(|i| !held.contains(i)).collect();
    let analytic = evaluate(&all, |b, x| {
        let gradients = gradients(b, op, &x[..arrays.len()], x[arrays.len()])?;
        assert!(held.iter().all(|i| gradients[*i].is_none()), "{op:?}: a gradient reaches {held:?}");
        Ok(reached
            .iter()
            .map(|i| gradients[*i].unwrap_or_else(|| panic!("{op:?}: no gradient for input {i}")))
            .collect())
    });
    for (i, analytic) in reached.into_iter().zip(analytic) {
        assert_eq!(analytic.ty(), arrays[i].ty(), "{op:?}: gradient of input {i}");
        for (j, found) in analytic.floats().unwrap().iter().enumerate() {
            let shifted = |step: f64| {
                let mut arrays = arrays.clone();
                let Elements::Float(elements) = &mut arrays[i].elements else { unreachable!() };
                elements[j] += step;
                project(&arrays)
            };
            let h = 1e-5;
            let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
            let near = (numeric - found).abs() <= 1e-6 * (1.0 + numeric.abs());
            assert!(near, "{op:?}: input {i} element {j}: {found} is not {numeric}");
        }
    }
}

/// Operators that have no gradient with respect to any input, so that finite differences have nothing to check.
const WITHOUT: [&str; 17] = [
    "input",
    "variable",
    "constant",
    "fill",
    "sign",
    "equal",
    "less",
    "less_equal",
    "cast",
    "stop_gradient",
    "max_grad",
    "max_pool_grad",
    "batch_norm_train_grad",
    "argmax",
    "one_hot",
    "sgd",
    "adam",
];

fn differentiable() -> Vec<Case> {
    let mut stream = Stream::keyed("differentiable");
    let families: [fn(&mut Stream) -> Vec<Case>; 9] = [
        elementwise::differentiable::cases,
        reduce::differentiable::cases,
        layout::differentiable::cases,
        matmul::differentiable::cases,
        conv::differentiable::cases,
        pool::differentiable::cases,
        resize::differentiable::cases,
        norm::differentiable::cases,
        index::differentiable::cases,
    ];
    families.into_iter().flat_map(|cases| cases(&mut stream)).collect()
}

#[test]
fn every_gradient_rule_agrees_with_finite_differences() {
    let cases = differentiable();
    cases.iter().for_each(check_gradient);
    let checked: BTreeSet<&str> = cases.iter().map(|case| case.op.name()).collect();
    let unchecked: BTreeSet<&str> = Op::NAMES.iter().copied().filter(|name| !checked.contains(name)).collect();
    assert_eq!(unchecked, BTreeSet::from(WITHOUT));
}

#[test]
fn no_gradient_flows_through_steps_of_a_value() {
    let x = random(&mut Stream::keyed("steps"), &[2, 3], [-1.0, 1.0]);
    let unary = [Op::Sign {}, Op::StopGradient {}, Op::Cast { dtype: Dtype::F32 }];
    let binary = [Op::Equal {}, Op::Less {}, Op::LessEqual {}];
    let cases = unary.map(|op| (op, 1)).into_iter().chain(binary.map(|op| (op, 2)));
    for (op, n) in cases {
        evaluate(&[x.clone(), x.clone(), x.clone()], |b, x| {
            assert_eq!(gradients(b, &op, &x[..n], x[2])?, vec![None; n], "{op:?}");
            Ok(Vec::new())
        });
    }
}

#[test]
fn a_second_gradient_that_does_not_exist_is_refused() {
    let x = random(&mut Stream::keyed("second"), &[2, 3, 4], [-1.0, 1.0]);
    let max = Op::MaxGrad { axes: vec![], keep: true };
    let pool = Op::MaxPoolGrad { kernel: vec![1], stride: vec![1], padding: vec![0] };
    for op in [max, pool] {
        evaluate(&[x.clone(), x.clone(), x.clone()], |b, x| {
            let error = gradients(b, &op, &x[..2], x[2]).unwrap_err();
            assert_eq!(error.message(), "has no second gradient");
            Ok(Vec::new())
        });
    }
}
