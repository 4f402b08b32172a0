//! The 8-connected regions of a mask: what AUPRO weighs equally, however large they are.

use super::PixelBox;
use crate::error::{Error, Result};

/// The connected regions of one mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Region of each pixel, row-major, numbered from 1 by first pixel in reading order; 0 outside all regions.
    pub labels: Vec<usize>,
    /// Pixels of each region; entry `i` belongs to label `i + 1`.
    pub sizes: Vec<u64>,
}

impl Regions {
    /// Labels a `mask` of `[H, W]` pixels (row-major, nonzero = inside): pixels that touch at an edge *or a corner* share a
    /// region, as in the evaluation code of MVTec AD.
    ///
    /// # Errors
    /// If the mask does not have `H * W` pixels.
    pub fn label(shape: [usize; 2], mask: &[u8]) -> Result<Self> {
        check_size("mask", mask.len(), shape)?;
        let [_, width] = shape;
        let mut forest = Forest::default();
        let mut labels = vec![0; mask.len()];
        for at in (0..mask.len()).filter(|&at| mask[at] != 0) {
            let mut label = 0;
            for neighbour in neighbours_before(at, width) {
                label = forest.join(label, labels[neighbour]);
            }
            labels[at] = if label == 0 { forest.plant() } else { label };
        }
        let numbers = forest.number_roots();
        let mut sizes = vec![0; numbers.iter().max().copied().unwrap_or(0)];
        for label in labels.iter_mut().filter(|label| **label != 0) {
            *label = numbers[*label];
            sizes[*label - 1] += 1;
        }
        Ok(Self { labels, sizes })
    }

    /// The box around each region, in the order of their labels, of a mask that is `width` pixels wide.
    pub fn boxes(&self, width: usize) -> Vec<PixelBox> {
        let mut boxes: Vec<Option<PixelBox>> = vec![None; self.sizes.len()];
        for (at, label) in self.labels.iter().enumerate().filter(|(_, label)| **label != 0) {
            let (x, y) = ((at % width) as f64, (at / width) as f64);
            let known = &mut boxes[label - 1];
            let PixelBox { x1, y1, x2, y2 } = known.unwrap_or(PixelBox { x1: x, y1: y, x2: x, y2: y });
            *known = Some(PixelBox { x1: x1.min(x), y1: y1.min(y), x2: x2.max(x), y2: y2.max(y) });
        }
        boxes.into_iter().flatten().collect()
    }
}

/// Whether `what` has as many pixels as the image.
pub(super) fn check_size(what: &str, pixels: usize, [height, width]: [usize; 2]) -> Result<()> {
    if height.checked_mul(width) == Some(pixels) {
        return Ok(());
    }
    Err(Error::data(format!("the {what} has {pixels} pixels, the image {height} x {width}")))
}

/// The neighbours of a pixel that come before it in reading order: left, and the three above.
fn neighbours_before(at: usize, width: usize) -> impl Iterator<Item = usize> {
    let column = at % width;
    let (has_left, has_right, has_above) = (column > 0, column + 1 < width, at >= width);
    [
        has_left.then(|| at - 1),
        (has_above && has_left).then(|| at - width - 1),
        has_above.then(|| at - width),
        (has_above && has_right).then(|| at + 1 - width),
    ]
    .into_iter()
    .flatten()
}

/// Disjoint sets of provisional labels (union-find); label 0 is none, a root is the smallest label of its set.
#[derive(Debug)]
pub(super) struct Forest {
    parents: Vec<usize>,
}

impl Default for Forest {
    fn default() -> Self {
        Self { parents: vec![0] }
    }
}

impl Forest {
    /// A new label, alone in its set.
    pub(super) fn plant(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.parents.len() - 1
    }

    pub(super) fn root(&mut self, mut label: usize) -> usize {
        while self.parents[label] != label {
            self.parents[label] = self.parents[self.parents[label]];
            label = self.parents[label];
        }
        label
    }

    /// Makes two labels one set, and returns its root; none joined with a label is that label.
    pub(super) fn join(&mut self, a: usize, b: usize) -> usize {
        if a == 0 || b == 0 {
            return a.max(b);
        }
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b)] = a.min(b);
        a.min(b)
    }

    /// For each label the number of its set, from 1 in the order of the roots.
    fn number_roots(mut self) -> Vec<usize> {
        let mut numbers = vec![0; self.parents.len()];
        let mut count = 0;
        for label in 1..numbers.len() {
            let root = self.root(label);
            if root == label {
                count += 1;
                numbers[label] = count;
            } else {
                numbers[label] = numbers[root];
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A picture as rows of `#` and `.`.
    fn label(rows: &[&str]) -> Regions {
        let mask: Vec<u8> = rows.concat().bytes().map(|b| u8::from(b == b'#')).collect();
        Regions::label([rows.len(), rows[0].len()], &mask).unwrap()
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_one_region() {
        assert_eq!(label(&["#.#.", ".#..", "...#"]).sizes, [3, 1]);
    }

    #[test]
    fn rows_do_not_touch_around_the_border() {
        assert_eq!(label(&["...#", "#...", "....", "...#"]).sizes, [1, 1, 1]);
    }

    #[test]
    fn an_island_in_a_ring_is_a_region_of_its_own() {
        let ring = label(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        assert_eq!(ring.sizes, [16, 1]);
        assert_eq!(ring.labels[12], 2);
    }

    #[test]
    fn arms_that_meet_late_are_joined() {
        assert_eq!(label(&["#.#.#", "#.#.#", "#.#.#", ".#.#."]).sizes, [11]);
    }

    #[test]
    fn boxes_hold_their_regions() {
        let found = label(&["##..", "..#.", "....", "...#"]).boxes(4);
        let expected = [(0.0, 0.0, 2.0, 1.0), (3.0, 3.0, 3.0, 3.0)].map(|(x1, y1, x2, y2)| PixelBox { x1, y1, x2, y2 });
        assert_eq!(found, expected);
    }

    #[test]
    fn an_empty_mask_has_no_region() {
        assert_eq!(Regions::label([2, 3], &[0; 6]).unwrap(), Regions { labels: vec![0; 6], sizes: vec![] });
        assert_eq!(Regions::label([0, 7], &[]).unwrap().sizes, [0u64; 0]);
    }

    #[test]
    fn a_mask_of_another_size_is_refused() {
        for shape in [[2, 4], [3, 0], [usize::MAX, 2]] {
            assert!(Regions::label(shape, &[1; 6]).is_err(), "{shape:?}");
        }
    }

    /// Regions by flood fill.
    fn flood(mask: &[u8], width: usize) -> Regions {
        let mut regions = Regions { labels: vec![0; mask.len()], sizes: Vec::new() };
        for start in 0..mask.len() {
            if mask[start] == 0 || regions.labels[start] != 0 {
                continue;
            }
            regions.sizes.push(0);
            let mut open = vec![start];
            while let Some(at) = open.pop() {
                if regions.labels[at] != 0 {
                    continue;
                }
                regions.labels[at] = regions.sizes.len();
                *regions.sizes.last_mut().unwrap() += 1;
                let touches = |&other: &usize| {
                    (other / width).abs_diff(at / width) <= 1
                        && (other % width).abs_diff(at % width) <= 1
                        && mask[other] != 0
                };
                open.extend((0..mask.len()).filter(touches));
            }
        }
        regions
    }

    proptest! {
        #[test]
        fn agrees_with_flood_fill(width in 1usize..12, bits in proptest::collection::vec(0u8..2, 0..110)) {
            let height = bits.len() / width;
            let mask = &bits[..height * width];
            prop_assert_eq!(Regions::label([height, width], mask).unwrap(), flood(mask, width));
        }
    }
}
