//! How the score of an image comes from its score map, and that of a region from its errors.

use crate::error::Result;
use crate::graph::{Builder, Graph, Init, ValueId};
use crate::plugin::{EMPTY_SCORE, STATISTICS};
use crate::tensor::ValueType;

/// What is taken of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all pixels.
    Mean,
    /// The largest pixel.
    Max,
    /// The largest mean of a square of this many pixels in height and width, an odd number; those beyond the border count as 0.
    MaxOfMeans(usize),
}

/// The rule as a graph, for [`crate::plugin::ModelSpec::image_score`]: `score_map` `[N, 1, H, W]` to `score` `[N]`. Defined for any map, a
/// fused one too.
///
/// # Errors
/// If the square does not fit the map.
pub fn image_score([samples, height, width]: [usize; 3], pooling: Pooling) -> Result<Graph> {
    let mut b = Builder::new("image-score");
    let map = b.input("score_map", ValueType::f32([samples, 1, height, width]))?;
    let score = match pooling {
        Pooling::Mean => b.mean(map, &[1, 2, 3])?,
        Pooling::Max => b.max(map, &[1, 2, 3])?,
        Pooling::MaxOfMeans(side) => {
            let means = b.avg_pool(map, &[side; 2], &[1, 1], &[side / 2; 2])?;
            b.max(means, &[1, 2, 3])?
        }
    };
    b.output("score", score)?;
    Ok(b.finish())
}

/// The score of a region from errors `(name, error [N], weight)`: `sum of weight * (error - mean) / std`, with mean and deviation of the
/// training samples' errors, which the host measures ([`crate::plugin::ModelSpec::statistics`]). Outputs `statistics.<name>`, `score`
/// `[N]`, and, as the score of a frame without regions, that of errors of zero ([`EMPTY_SCORE`]): no region scores less.
///
/// # Errors
/// If the errors differ in shape.
pub fn standardised(b: &mut Builder, errors: &[(&str, ValueId, f64)]) -> Result<()> {
    let (mut score, mut empty) = (b.scalar(0.0)?, b.scalar(0.0)?);
    for (name, error, weight) in errors {
        b.output(&format!("{STATISTICS}.{name}"), *error)?;
        let nothing = b.scalar(0.0)?;
        let weighted = b.scope(&format!("{STATISTICS}.{name}"), |b| {
            let mean = b.buffer("mean", [], Init::ZEROS)?;
            let std = b.buffer("std", [], Init::ONES)?;
            let mut weighted = [*error, nothing];
            for error in &mut weighted {
                let centred = b.sub(*error, mean)?;
                let standardised = b.div(centred, std)?;
                *error = b.affine(standardised, *weight, 0.0)?;
            }
            Ok(weighted)
        })?;
        score = b.add(score, weighted[0])?;
        empty = b.add(empty, weighted[1])?;
    }
    b.output("score", score)?;
    b.output(EMPTY_SCORE, empty)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reference::{Array, Interpreter, Precision};

    #[test]
    fn a_map_has_one_score_by_each_rule() {
        let map = Array::float([1, 1, 3, 3], vec![0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 9.0]);
        let inputs = BTreeMap::from([("score_map".to_owned(), map)]);
        for (pooling, expected) in [(Pooling::Mean, 2.0), (Pooling::Max, 9.0), (Pooling::MaxOfMeans(3), 2.0)] {
            let graph = image_score([1, 3, 3], pooling).unwrap();
            let score = Interpreter::new(Precision::F64).run(&graph, &inputs).unwrap();
            assert_eq!(score[0].floats().unwrap(), [expected], "{pooling:?}");
        }
    }
}
