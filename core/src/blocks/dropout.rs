//! Dropout from noise that the host draws.

use crate::error::Result;
use crate::graph::{Builder, ValueId};
use crate::tensor::ValueType;

/// Drops elements independently; every application has an input `dropout.0`, `dropout.1`, ... of its operand's shape, which is to
/// be filled with standard normal noise ([`crate::plugin::Fill::Noise`]).
#[derive(Clone, Debug)]
pub struct Dropout {
    rate: f64,
    applied: usize,
}

impl Dropout {
    /// Drops each element with probability `rate`, which must be less than 1; 0 never drops and needs no noise.
    pub fn new(rate: f64) -> Self {
        Self { rate, applied: 0 }
    }

    /// `x / (1 - rate)` where it is kept, else 0.
    ///
    /// # Errors
    /// If an input of that name is there already.
    pub fn apply(&mut self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        if self.rate == 0.0 {
            return Ok(x);
        }
        let noise = b.input(&format!("dropout.{}", self.applied), ValueType::f32(b.shape(x)))?;
        self.applied += 1;
        let quantile = b.scalar(normal_quantile(self.rate))?;
        let kept = b.less(quantile, noise)?;
        let factor = b.affine(kept, 1.0 / (1.0 - self.rate), 0.0)?;
        b.mul(x, factor)
    }
}

/// Where the standard normal distribution function is `p`, by bisection.
fn normal_quantile(p: f64) -> f64 {
    let (mut lo, mut hi) = (-9.0, 9.0);
    for _ in 0..64 {
        let middle = (lo + hi) / 2.0;
        if normal_distribution(middle) < p { lo = middle } else { hi = middle }
    }
    (lo + hi) / 2.0
}

/// `1/2 + density(x) * (x + x^3 / 3 + x^5 / (3 * 5) + ...)`.
fn normal_distribution(x: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while sum + term != sum {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Stream;
    use crate::reference::{Array, Interpreter, Precision};

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, expected) in [(0.1, -1.281_551_565_544_6), (0.5, 0.0), (0.975, 1.959_963_984_540_1)] {
            assert!((normal_quantile(p) - expected).abs() < 1e-12, "{p}");
        }
    }

    #[test]
    fn a_tenth_is_dropped_and_the_rest_is_enlarged() {
        let n = 100_000;
        let mut b = Builder::new("test");
        let x = b.fill([n], 0.9).unwrap();
        let y = Dropout::new(0.1).apply(&mut b, x).unwrap();
        b.output("y", y).unwrap();
        let mut stream = Stream::new(0, "noise");
        let noise = Array::float([n], (0..n).map(|_| stream.normal()).collect());
        let inputs = BTreeMap::from([("dropout.0".to_owned(), noise)]);
        let results = Interpreter::new(Precision::F64).run(&b.finish(), &inputs).unwrap();
        let y = results[0].floats().unwrap();
        assert!(y.iter().all(|y| *y == 0.0 || (y - 1.0).abs() < 1e-12));
        let dropped = y.iter().filter(|y| **y == 0.0).count();
        // Four standard deviations.
        assert!(dropped.abs_diff(n / 10) < 380, "{dropped}");
    }
}
