//! Memory items of MNAD (Park et al., "Learning Memory-guided Normality for Anomaly Detection", CVPR 2020): read, losses, and
//! the update that takes the place of a gradient.

use super::loss::{mean_all, squared_difference};
use super::memory::{restore, rows, unit};
use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};
use crate::ops::Op;

/// Added to every difference within a distance of the triplet loss, as PyTorch does.
const TRIPLET_EPS: f64 = 1e-6;

/// Where the paper and the official code differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Compactness is a mean of squares, and an item's update is relative to the largest weight over all queries.
    Code,
    /// Compactness is a mean of distances, and the update is relative to the largest weight over the item's own queries.
    Paper,
}

/// Queries that have met the items.
#[derive(Clone, Debug)]
pub struct Addressed {
    /// The items, rows of unit norm `[items, C]`.
    pub items: ValueId,
    /// Softmax over the items for every query, `[queries, items]` (equation 1).
    pub by_item: ValueId,
    /// Softmax over the queries for every item, `[queries, items]` (equation 4).
    pub by_query: ValueId,
    /// The nearest item of every query, i64 `[queries]`.
    pub nearest: ValueId,
    /// `[N, C, ..]`.
    query: ValueId,
    /// `[queries, C]`.
    rows: ValueId,
}

/// Lets every position of `query [N, C, ..]`, channels of unit norm, meet the `items [items, C]`. Queries are the positions of
/// all samples together. Rows of `items` are divided by their norm here, so that a variable may begin with uniform numbers, as
/// in the official code.
///
/// # Errors
/// If there are fewer than two items, or the channels differ.
pub fn address(b: &mut Builder, items: ValueId, query: ValueId) -> Result<Addressed> {
    let count = b.shape(items).first().copied().unwrap_or_default();
    if count < 2 {
        return Err(Error::graph(format!(
            "there are {count} memory items, expects at least 2: the nearest and the next"
        )));
    }
    let items = unit(b, items)?;
    let items = b.stop_gradient(items)?;
    let rows = rows(b, query)?;
    let similarity = b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[rows, items])?;
    let by_item = b.softmax(similarity, 1)?;
    let by_query = b.softmax(similarity, 0)?;
    let nearest = b.argmax(by_item, 1)?;
    Ok(Addressed { items, by_item, by_query, nearest, query, rows })
}

impl Addressed {
    /// The query and the items weighted by their softmax, `[N, 2C, ..]` (equation 2). As in the official code no gradient passes
    /// through the weights.
    ///
    /// # Errors
    /// None for what [`address`] returned.
    pub fn read(&self, b: &mut Builder) -> Result<ValueId> {
        let weights = b.stop_gradient(self.by_item)?;
        let read = b.matmul(weights, self.items)?;
        let shape = b.shape(self.query).to_vec();
        let read = restore(b, read, &shape)?;
        b.concat(&[self.query, read], 1)
    }

    /// Distance of every sample's queries to their nearest items, `[N]` (equation 9): mean of squares over queries and channels,
    /// or the paper's mean of norms over queries. The loss is its mean.
    ///
    /// # Errors
    /// None for what [`address`] returned.
    pub fn compactness(&self, b: &mut Builder, rules: Rules) -> Result<ValueId> {
        let nearest = b.gather(self.items, self.nearest)?;
        let square = squared_difference(b, self.rows, nearest)?;
        let samples = b.shape(self.query)[0];
        let each = match rules {
            Rules::Code => square,
            Rules::Paper => {
                let sum = b.sum(square, &[1])?;
                b.sqrt(sum)?
            }
        };
        let n = b.shape(each).iter().product::<usize>();
        let by_sample = b.reshape(each, [samples, n / samples])?;
        b.mean(by_sample, &[1])
    }

    /// Triplet loss with margin 1 of the nearest item against the next, a scalar (equation 10).
    ///
    /// # Errors
    /// None for what [`address`] returned.
    pub fn separateness(&self, b: &mut Builder) -> Result<ValueId> {
        let items = b.shape(self.items)[0];
        let nearest = b.one_hot(self.nearest, items)?;
        // Weights are at most 1, so that taking 1 off the nearest's leaves every other above it.
        let others = b.sub(self.by_item, nearest)?;
        let next = b.argmax(others, 1)?;
        let near = self.distance(b, self.nearest)?;
        let far = self.distance(b, next)?;
        let difference = b.sub(near, far)?;
        let above = b.affine(difference, 1.0, 1.0)?;
        let hinge = b.relu(above)?;
        mean_all(b, hinge)
    }

    fn distance(&self, b: &mut Builder, index: ValueId) -> Result<ValueId> {
        let item = b.gather(self.items, index)?;
        let difference = b.sub(self.rows, item)?;
        let shifted = b.affine(difference, 1.0, TRIPLET_EPS)?;
        let square = b.mul(shifted, shifted)?;
        let sum = b.sum(square, &[1])?;
        b.sqrt(sum)
    }

    /// The items after these queries, `[items, C]` of unit norm: each item moves by the queries of which it is the nearest,
    /// weighted by their softmax over the queries, relative to the largest (equations 5 to 7).
    ///
    /// # Errors
    /// None for what [`address`] returned.
    pub fn update(&self, b: &mut Builder, rules: Rules) -> Result<ValueId> {
        let items = b.shape(self.items)[0];
        let own = b.one_hot(self.nearest, items)?;
        let weights = b.mul(own, self.by_query)?;
        let over = if rules == Rules::Code { self.by_query } else { weights };
        let largest = b.max_keep(over, &[0])?;
        // An item without a query has only zeros above; a softmax of cosines over any number of queries is far larger than this.
        let least = b.scalar(1e-30)?;
        let largest = b.maximum(largest, least)?;
        let relative = b.div(weights, largest)?;
        let change = b.node(Op::MatMul { transpose_a: true, transpose_b: false }, &[relative, self.rows])?;
        let moved = b.add(self.items, change)?;
        unit(b, moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    fn close(found: &Array, expected: &[f64]) {
        let found = found.floats().unwrap();
        let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(same, "{found:?}, expects {expected:?}");
    }

    fn run(rules: Rules) -> Vec<Array> {
        // Queries (1, 0), (0.6, 0.8), (0, 1) as three positions of one sample; items (1, 0) and (0.8, 0.6), the latter not unit.
        let query = Array::float([1, 2, 3], vec![1.0, 0.6, 0.0, 0.0, 0.8, 1.0]);
        let items = Array::float([2, 2], vec![1.0, 0.0, 1.6, 1.2]);
        evaluate(&[query, items], |b, x| {
            let met = address(b, x[1], x[0])?;
            let [compactness, separateness] = [met.compactness(b, rules)?, met.separateness(b)?];
            Ok(vec![met.by_query, met.by_item, compactness, separateness, met.read(b)?, met.update(b, rules)?])
        })
    }

    #[test]
    fn two_items_and_three_queries_by_hand() {
        let results = run(Rules::Code);
        close(&results[0], &[0.490_629_1, 0.334_197_6, 0.328_878_5, 0.392_184_5, 0.180_492_4, 0.273_617_9]);
        let first = [0.549_834_0, 0.410_959_6, 0.354_343_7];
        close(&results[1], &first.map(|p| [p, 1.0 - p]).concat());
        close(&results[2], &[0.146_666_7]);
        close(&results[3], &[0.412_058_3]);
        let read: Vec<f64> = results[4].floats().unwrap().to_vec();
        assert!((read[6] - 0.909_966_8).abs() < 1e-7 && (read[9] - 0.270_099_6).abs() < 1e-7, "{read:?}");
        close(&results[5], &[1.0, 0.0, 0.555_125_4, 0.831_766_7]);
    }

    #[test]
    fn the_paper_measures_distances_and_compares_an_items_own_queries_alone() {
        let results = run(Rules::Paper);
        // Distances 0, sqrt(0.04 + 0.04), sqrt(0.64 + 0.16).
        close(&results[2], &[(0.08_f64.sqrt() + 0.8_f64.sqrt()) / 3.0]);
        // Here an item's nearest query is its own, and the rules agree.
        close(&results[5], &[1.0, 0.0, 0.555_125_4, 0.831_766_7]);
        // Here the second item is nearest to (0, 1), similarity 0.6, and has similarity 0.8 with (1, 0), which is the first's.
        let query = Array::float([1, 2, 2], vec![1.0, 0.0, 0.0, 1.0]);
        let items = Array::float([2, 2], vec![1.0, 0.0, 0.8, 0.6]);
        for (rules, weight) in [(Rules::Code, (-0.2_f64).exp()), (Rules::Paper, 1.0)] {
            let update = evaluate(&[query.clone(), items.clone()], |b, x| {
                let met = address(b, x[1], x[0])?;
                Ok(vec![met.update(b, rules)?])
            });
            let length = 0.8_f64.hypot(0.6 + weight);
            close(&update[0], &[1.0, 0.0, 0.8 / length, (0.6 + weight) / length]);
        }
    }

    #[test]
    fn an_item_that_no_query_is_nearest_to_stays() {
        let query = Array::float([1, 2, 1], vec![1.0, 0.0]);
        let items = Array::float([2, 2], vec![1.0, 0.0, 0.0, 1.0]);
        for rules in [Rules::Code, Rules::Paper] {
            let update = evaluate(&[query.clone(), items.clone()], |b, x| {
                let met = address(b, x[1], x[0])?;
                Ok(vec![met.update(b, rules)?])
            });
            close(&update[0], &[1.0, 0.0, 0.0, 1.0]);
        }
    }
}
