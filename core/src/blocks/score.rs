//! How the score of an image comes from its score map, and that of a region from its errors.

use crate::error::Result;
use crate::graph::{Builder, Graph, Init, ValueId};
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

/// Prefix of the outputs and buffers of scores that are measured over the training samples.
pub const STATISTICS: &str = "statistics";

/// The output of an evaluation graph by which a model says that its samples are regions of frames: `[]`, the score of a frame in which
/// there is none. The host cuts regions (objects) from every frame of a clip and brings them to the input's extents; the score of a frame
/// is the highest of its regions.
pub const EMPTY_SCORE: &str = "empty_score";

/// `sum of weight * (score - mean) / std` over scores `[N]` with their names and weights, `[N]`, and what it is for scores of zero, `[]`
/// (a frame without regions: [`EMPTY_SCORE`]). Mean and deviation are those of the training samples, for
/// [`crate::plugin::ModelSpec::statistics`] of these names: outputs `statistics.<name>` `[N]`, buffers `statistics.<name>.mean` and
/// `statistics.<name>.std`.
///
/// # Errors
/// If a score is not `[N]` of one N, or a name is taken.
pub fn standardised_sum(b: &mut Builder, scores: &[(&str, ValueId, f64)]) -> Result<[ValueId; 2]> {
    let mut totals = [b.scalar(0.0)?, b.scalar(0.0)?];
    for (name, score, weight) in scores {
        let name = format!("{STATISTICS}.{name}");
        b.output(&name, *score)?;
        let parts = [*score, b.scalar(0.0)?];
        b.scope(&name, |b| {
            let mean = b.buffer("mean", [], Init::ZEROS)?;
            let std = b.buffer("std", [], Init::ONES)?;
            for (total, part) in totals.iter_mut().zip(parts) {
                let centred = b.sub(part, mean)?;
                let standardised = b.div(centred, std)?;
                let weighted = b.affine(standardised, *weight, 0.0)?;
                *total = b.add(*total, weighted)?;
            }
            Ok(())
        })?;
    }
    Ok(totals)
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

    #[test]
    fn scores_are_standardised_each_by_its_own_numbers() {
        let mut b = Builder::new("test");
        let [x, y] = ["x", "y"].map(|name| b.input(name, ValueType::f32([2])).unwrap());
        let [total, empty] = standardised_sum(&mut b, &[("x", x, 2.0), ("y", y, 0.5)]).unwrap();
        b.output("score", total).unwrap();
        b.output("empty", empty).unwrap();
        let mut interpreter = Interpreter::new(Precision::F64);
        for (name, value) in [("x.mean", 1.0), ("x.std", 2.0), ("y.mean", -1.0), ("y.std", 4.0)] {
            interpreter.variables.insert(format!("statistics.{name}"), Array::float([], vec![value]));
        }
        let inputs = [("x", vec![1.0, 5.0]), ("y", vec![3.0, -9.0])];
        let inputs = inputs.map(|(name, values)| (name.to_owned(), Array::float([2], values))).into();
        let results = interpreter.run(&b.finish(), &inputs).unwrap();
        let floats: Vec<&[f64]> = results.iter().map(|array| array.floats().unwrap()).collect();
        assert_eq!(floats, [&[1.0, 5.0][..], &[3.0, -9.0], &[0.5, 3.0], &[-0.875]]);
    }
}
