//! The blocked matrix product below `matmul` and every convolution.
//!
//! Both factors are packed into panels: `MR` rows of the left, two vectors of columns of the right, each with the summed index
//! outside, so that the innermost loop reads both one after another (Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008). Convolutions pack image patches directly, without an intermediate matrix. Blocks depend on sizes only.

use std::ops::Range;
use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// Rows of a panel of the left factor: with two vectors of columns, twelve sums are under way, enough to hide the latency of
/// multiply-add with 16 registers and with 32.
pub(crate) const MR: usize = 6;

/// Summed indices of a block: a panel of the right factor stays in the first cache.
pub(crate) const KC: usize = 256;

/// The vector instructions of this machine.
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// Columns of a panel of the right factor: two vectors.
pub(crate) fn panel_columns() -> usize {
    struct Columns;
    impl WithSimd for Columns {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            2 * S::F32_LANES
        }
    }
    arch().dispatch(Columns)
}

/// Rows of a product in memory: whole panels.
pub(crate) fn padded_rows(m: usize) -> usize {
    m.next_multiple_of(MR)
}

/// Columns of a product in memory: whole panels.
pub(crate) fn padded_columns(n: usize) -> usize {
    n.next_multiple_of(panel_columns())
}

/// Packs the summed indices `k` of the left factor, of `m` rows, behind one another by blocks of [`KC`]: `to` holds
/// `padded_rows(m)` times as many elements as `k`. `at(row, summed index)` gives positions in `from`.
#[inline(always)]
pub(crate) fn pack_rows(m: usize, k: Range<usize>, from: &[f32], at: impl Fn(usize, usize) -> usize, to: &mut [f32]) {
    let mut to = to.as_chunks_mut::<MR>().0.iter_mut();
    for start in k.clone().step_by(KC) {
        let block = start..(start + KC).min(k.end);
        for panel in (0..m).step_by(MR) {
            let rows = MR.min(m - panel);
            for (p, to) in block.clone().zip(&mut to) {
                *to = std::array::from_fn(|i| if i < rows { from[at(panel + i, p)] } else { 0.0 });
            }
        }
    }
}

/// A right factor that can write its panels.
pub(crate) trait Columns {
    /// Writes panel after panel of all columns: for each summed index in `k` one row of `width` columns; columns beyond the last
    /// are 0.
    fn pack(&mut self, k: Range<usize>, width: usize, to: &mut [f32]);
}

/// One product, or a part of one: `c = a * b`.
pub(crate) struct Product<'a, B> {
    /// Packed left factor, see [`pack_rows`].
    pub(crate) a: &'a [f32],
    /// Rows.
    pub(crate) m: usize,
    /// Summed indices.
    pub(crate) k: Range<usize>,
    /// Columns.
    pub(crate) n: usize,
    /// Right factor.
    pub(crate) b: &'a mut B,
    /// Whether the product is added to what `c` holds.
    pub(crate) add: bool,
    /// Result, `[padded_rows(m), padded_columns(n)]`.
    pub(crate) c: &'a mut [f32],
    /// Working memory: [`KC`] times the padded columns.
    pub(crate) panels: &'a mut [f32],
}

impl<B: Columns> Product<'_, B> {
    /// Computes it on this thread.
    pub(crate) fn run(self) {
        arch().dispatch(self);
    }
}

impl<B: Columns> WithSimd for Product<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = 2 * S::F32_LANES;
        let columns = self.n.next_multiple_of(width);
        let rows = padded_rows(self.m);
        let mut add = self.add;
        for start in self.k.clone().step_by(KC) {
            let block = start..(start + KC).min(self.k.end);
            let len = block.len();
            let panels = &mut self.panels[..len * columns];
            self.b.pack(block, width, panels);
            let a = &self.a[(start - self.k.start) * rows..][..len * rows];
            for (j, b) in panels.chunks_exact(len * width).enumerate() {
                for (i, a) in a.chunks_exact(len * MR).enumerate() {
                    let c = &mut self.c[i * MR * columns + j * width..];
                    tile(simd, a, b, c, columns, add);
                }
            }
            add = true;
        }
    }
}

/// `MR` rows by two vectors of columns.
#[inline(always)]
fn tile<S: Simd>(simd: S, a: &[f32], b: &[f32], c: &mut [f32], step: usize, add: bool) {
    let mut sums = [[simd.splat_f32s(0.0); 2]; MR];
    let (b, _) = S::as_simd_f32s(b);
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<2>().0) {
        for i in 0..MR {
            let a = simd.splat_f32s(a[i]);
            sums[i][0] = simd.mul_add_f32s(a, b[0], sums[i][0]);
            sums[i][1] = simd.mul_add_f32s(a, b[1], sums[i][1]);
        }
    }
    for (sums, row) in sums.iter().zip(c.chunks_mut(step)) {
        let (row, _) = S::as_mut_simd_f32s(&mut row[..2 * S::F32_LANES]);
        for (sum, to) in sums.iter().zip(row) {
            *to = if add { simd.add_f32s(*to, *sum) } else { *sum };
        }
    }
}
