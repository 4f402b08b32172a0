//! From displacements of patches to one for each pixel: equation 3 of the paper.

use rayon::prelude::*;

use super::pyramid::Pair;
use super::search::{PATCH, Patches};
use crate::plane::{Plane, rows};

/// The mean of the patches over each pixel, weighted by one over the difference that the pixel itself has with each.
pub(super) fn dense(pair: &Pair, patches: &Patches) -> [Plane; 2] {
    let (height, width) = (pair.first.height, pair.first.width);
    let rows: Vec<[Vec<f32>; 2]> =
        (0..height).into_par_iter().with_min_len(rows(width)).map(|y| row(pair, patches, y)).collect();
    [0, 1].map(|axis| Plane { height, width, values: rows.iter().flat_map(|row| row[axis].iter().copied()).collect() })
}

fn row(pair: &Pair, patches: &Patches, y: usize) -> [Vec<f32>; 2] {
    let width = pair.first.width;
    let levels = pair.first.row(y);
    let mut sums = [0, 1].map(|_| vec![0.0; width]);
    let mut weights = vec![0.0; width];
    for (row, _) in patches.tops.iter().enumerate().filter(|(_, top)| (**top..**top + PATCH).contains(&y)) {
        for (column, left) in patches.lefts.iter().enumerate() {
            let by = patches.moves[row * patches.lefts.len() + column];
            for x in *left..left + PATCH {
                let there = pair.second.between(x as f32 + by[0], y as f32 + by[1]);
                let weight = 1.0 / (there - levels[x]).abs().max(4.0).powi(4);
                sums[0][x] += weight * by[0];
                sums[1][x] += weight * by[1];
                weights[x] += weight;
            }
        }
    }
    for sum in &mut sums {
        sum.iter_mut().zip(&weights).for_each(|(sum, weight)| *sum /= weight);
    }
    sums
}
