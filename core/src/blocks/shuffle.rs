//! Space to channels and back, in pictures `[N, C, H, W]`.

use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};

fn extents(b: &Builder, x: ValueId) -> Result<[usize; 4]> {
    let shape = b.shape(x);
    shape.try_into().map_err(|_| Error::graph(format!("expects pictures [N, C, H, W], found shape {shape:?}")))
}

/// Blocks of `2 x 2` positions become channels, `[N, C, H, W]` to `[N, 4 C, H / 2, W / 2]`: channel `(2 row + column) C + c`, the
/// place in the block outermost. (PyTorch's `pixel_unshuffle` has it innermost.)
///
/// # Errors
/// If height or width is odd.
pub fn space_to_depth(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let [n, c, h, w] = extents(b, x)?;
    if h % 2 != 0 || w % 2 != 0 {
        return Err(Error::graph(format!("cannot halve height {h} and width {w}: both must be even")));
    }
    let blocks = b.reshape(x, [n, c, h / 2, 2, w / 2, 2])?;
    let moved = b.permute(blocks, &[0, 3, 5, 1, 2, 4])?;
    b.reshape(moved, [n, 4 * c, h / 2, w / 2])
}

/// The inverse of [`space_to_depth`]: `[N, 4 C, H, W]` to `[N, C, 2 H, 2 W]`.
///
/// # Errors
/// If the number of channels is no multiple of 4.
pub fn depth_to_space(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let [n, c, h, w] = extents(b, x)?;
    if c % 4 != 0 {
        return Err(Error::graph(format!("cannot spread {c} channels over blocks of 2 x 2: must be a multiple of 4")));
    }
    let blocks = b.reshape(x, [n, 2, 2, c / 4, h, w])?;
    let moved = b.permute(blocks, &[0, 3, 4, 1, 5, 2])?;
    b.reshape(moved, [n, c / 4, 2 * h, 2 * w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::evaluate;
    use crate::reference::Array;

    #[test]
    fn the_place_in_the_block_is_outermost() {
        let x = Array::float([1, 2, 2, 2], (0..8).map(f64::from).collect());
        let results = evaluate(std::slice::from_ref(&x), |b, x| {
            let deep = space_to_depth(b, x[0])?;
            Ok(vec![deep, depth_to_space(b, deep)?])
        });
        assert_eq!(results[0].floats().unwrap(), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        assert_eq!(results[1], x);
    }

    #[test]
    fn widths_are_not_mixed_up_with_heights() {
        let x = Array::float([1, 1, 2, 4], (0..8).map(f64::from).collect());
        let results = evaluate(std::slice::from_ref(&x), |b, x| {
            let deep = space_to_depth(b, x[0])?;
            Ok(vec![deep, depth_to_space(b, deep)?])
        });
        assert_eq!(results[0].floats().unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(results[1], x);
    }
}
