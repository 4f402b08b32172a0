//! The checks that every operator's tests share: evaluation by name of the values, and gradients against finite differences.

use std::collections::BTreeMap;

use crate::autodiff::pull_back;
use crate::error::Result;
use crate::graph::{Builder, ValueId};
use crate::random::Stream;
use crate::reference::{Array, Elements, Interpreter, Precision};
use crate::tensor::ValueType;

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

/// Compares the gradient of `sum(G * f(x))`, `G` random, with central finite differences in every float element.
pub(crate) fn check_gradient(arrays: &[Array], build: impl Fn(&mut Builder, &[ValueId]) -> Result<ValueId>) {
    let value = |arrays: &[Array]| evaluate(arrays, |b, x| Ok(vec![build(b, x)?])).remove(0);
    let y = value(arrays);
    let g = random(&mut Stream::keyed("cotangent"), &y.shape, [-1.0, 1.0]);
    let project = |arrays: &[Array]| -> f64 {
        value(arrays).floats().unwrap().iter().zip(g.floats().unwrap()).map(|(y, g)| y * g).sum()
    };
    let mut all = arrays.to_vec();
    all.push(g.clone());
    let analytic = evaluate(&all, |b, x| {
        let y = build(b, &x[..arrays.len()])?;
        let gradients = pull_back(b, &[(y, x[arrays.len()])], &x[..arrays.len()])?;
        let zero = |b: &mut Builder, x| b.fill(b.shape(x).to_vec(), 0.0);
        gradients.into_iter().zip(x).map(|(g, x)| g.map_or_else(|| zero(b, *x), Ok)).collect()
    });
    for (i, array) in arrays.iter().enumerate() {
        let Elements::Float(elements) = &array.elements else { continue };
        assert_eq!(analytic[i].ty(), ValueType::f32(array.shape.clone()), "gradient of input {i}");
        for j in 0..elements.len() {
            let shifted = |step: f64| {
                let mut arrays = arrays.to_vec();
                let Elements::Float(elements) = &mut arrays[i].elements else { unreachable!() };
                elements[j] += step;
                project(&arrays)
            };
            let h = 1e-5;
            let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
            let found = analytic[i].floats().unwrap()[j];
            let difference = (numeric - found).abs();
            assert!(difference <= 1e-6 * (1.0 + numeric.abs()), "input {i} element {j}: {found} is not {numeric}");
        }
    }
}
