//! Borders other than constants.

use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};

/// Mirrors `width` elements outwards at both ends of the last two axes of `x [N, C, H, W]`, without repeating the outermost one
/// (PyTorch's `reflect`).
///
/// # Errors
/// If an extent is not larger than `width`.
pub fn reflect(b: &mut Builder, x: ValueId, width: usize) -> Result<ValueId> {
    [2, 3].into_iter().try_fold(x, |x, axis| {
        let shape = b.shape(x).to_vec();
        let extent = shape.get(axis).copied().unwrap_or_default();
        if extent <= width {
            return Err(Error::graph(format!("{width} elements cannot be mirrored at the ends of {shape:?}")));
        }
        let mut line = |i: usize| {
            let (mut starts, mut ends) = (vec![0; shape.len()], shape.clone());
            (starts[axis], ends[axis]) = (i, i + 1);
            b.slice(x, &starts, &ends)
        };
        let before = (1..=width).rev().map(&mut line).collect::<Result<Vec<_>>>()?;
        let after = (1..=width).map(|i| line(extent - 1 - i)).collect::<Result<Vec<_>>>()?;
        let parts: Vec<ValueId> = before.into_iter().chain([x]).chain(after).collect();
        b.concat(&parts, axis)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    #[test]
    fn two_elements_are_mirrored_at_every_end() {
        let x = Array::float([1, 1, 3, 4], (0..12).map(f64::from).collect::<Vec<_>>());
        let results = evaluate(&[x], |b, x| Ok(vec![reflect(b, x[0], 2)?]));
        let columns = [2.0, 1.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0];
        let rows = [8.0, 4.0, 0.0, 4.0, 8.0, 4.0, 0.0];
        let expected: Vec<f64> = rows.iter().flat_map(|row| columns.map(|column| row + column)).collect();
        assert_eq!(results[0].floats().unwrap(), expected);
    }

    #[test]
    fn more_than_there_is_cannot_be_mirrored() {
        let mut b = Builder::new("test");
        let x = b.fill([1, 1, 2, 5], 0.0).unwrap();
        let error = reflect(&mut b, x, 2).unwrap_err();
        assert_eq!(error.message(), "2 elements cannot be mirrored at the ends of [1, 1, 2, 5]");
    }
}
