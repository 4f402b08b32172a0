//! Convolutions that see where they are.

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::double::Style;
use mimus_core::{Builder, HostTensor, Init, Result, ValueId};

/// Cells along each side that the coarse coordinates number.
const CELLS: usize = 32;

/// Cell of the line `i` of `extent`, from -1 to 1.
fn coarse(i: usize, extent: usize) -> f64 {
    2.0 * ((i * CELLS / extent) as f64 / (CELLS - 1) as f64) - 1.0
}

/// What the cell leaves of the place from 0 to 1, doubled, less 1.
fn fine(i: usize, extent: usize) -> f64 {
    let place = i as f64 / extent.saturating_sub(1).max(1) as f64;
    2.0 * place - coarse(i, extent) - 2.0
}

/// `x [N, C, H, W]` and four channels behind it: fine and coarse row, fine and coarse column. The official code has them for squares
/// whose side is a multiple of 32.
fn with_coordinates(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let [n, _, height, width] = b.shape(x)[..] else {
        return Err(mimus_core::Error::graph("coordinates are for images [N, C, H, W]"));
    };
    let mut parts = vec![x];
    for (extent, shape) in [(height, [1, 1, height, 1]), (width, [1, 1, 1, width])] {
        for kind in [fine, coarse] {
            let line = (0..extent).map(|i| kind(i, extent) as f32).collect();
            let line = b.constant(HostTensor::f32(shape, line)?)?;
            parts.push(b.broadcast(line, [n, 1, height, width])?);
        }
    }
    b.concat(&parts, 1)
}

/// As [`Style::layer`]; the convolution sees the coordinates. The official layer is derived from a convolution whose weight and bias
/// nothing reads: they are part of every checkpoint.
fn layer(b: &mut Builder, style: &Style, number: usize, x: ValueId, channels: usize) -> Result<ValueId> {
    let x = b.scope(&number.to_string(), |b| {
        let seen = b.shape(x)[1];
        b.parameter("weight", [channels, seen, 3, 3], Init::fan_in(9 * seen))?;
        b.parameter("bias", [channels], Init::fan_in(9 * seen))?;
        let x = with_coordinates(b, x)?;
        Conv::new(channels, &[3, 3]).padding(&[1, 1]).without_bias().forward(b, "conv", x)
    })?;
    style.activate(b, number + 1, x)
}

/// As [`Style::double`], with coordinates.
pub(super) fn double(b: &mut Builder, style: &Style, label: &str, x: ValueId, channels: usize) -> Result<ValueId> {
    b.scope(label, |b| {
        let x = layer(b, style, 0, x, channels)?;
        layer(b, style, 3, x, channels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_those_of_the_formula() {
        // Of 64 lines two are in a cell: line 5 is in cell 2 of 31, its place is 5/63.
        assert!((coarse(5, 64) - (4.0 / 31.0 - 1.0)).abs() < 1e-12);
        assert!((fine(5, 64) - (2.0 * (5.0 / 63.0 - 2.0 / 31.0) - 1.0)).abs() < 1e-12);
        // Where every cell has one line, nothing is left.
        assert!((0..32).all(|i| (fine(i, 32) + 1.0).abs() < 1e-12));
        assert_eq!([coarse(0, 256), coarse(255, 256)], [-1.0, 1.0]);
    }
}
