//! The batched matrix product.

use super::{Kernel, Site, one};
use crate::device::Precision;

pub(super) fn product(transpose_a: bool, transpose_b: bool, site: Site<'_>) -> Kernel {
    let precision: Precision = site.settings.precision;
    one(move |x| {
        let side = |i: usize, transposed: bool| {
            let matrix = precision.reduce(&x[i])?;
            if transposed { matrix.f_transpose(-2, -1) } else { Ok(matrix) }
        };
        precision.restore(&side(0, transpose_a)?.f_matmul(&side(1, transpose_b)?)?)
    })
}
