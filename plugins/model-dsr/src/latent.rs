//! The discrete latent model: two levels of codes, trained elsewhere on many kinds of pictures and never changed here (section 3.1).

use mimus_core::blocks::codebook::{Codebook, Quantized};
use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::memory;
use mimus_core::{Builder, Init, Result, ValueId};

use super::Widths;

/// Scope of the frozen parameters.
pub(super) const SCOPE: &str = "vq";

/// Residual blocks of a stack.
const BLOCKS: usize = 2;

/// One of the two levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    /// Fine: a quarter of the picture's extents.
    Hi,
    /// Coarse: an eighth.
    Lo,
}

impl Level {
    /// How many pixels of the picture a feature stands for, along each side.
    pub(super) fn stride(self) -> usize {
        match self {
            Self::Hi => 4,
            Self::Lo => 8,
        }
    }

    /// At the end of names.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Hi => "hi",
            Self::Lo => "lo",
        }
    }

    fn quantizer(self) -> &'static str {
        match self {
            Self::Hi => "_vq_vae_bot",
            Self::Lo => "_vq_vae_top",
        }
    }
}

/// 4x4 with stride 2: half the extents, or transposed twice.
pub(super) fn strided(channels: usize) -> Conv {
    Conv::new(channels, &[4, 4]).stride(&[2, 2]).padding(&[1, 1])
}

/// 3x3, the same extents.
pub(super) fn same(channels: usize) -> Conv {
    Conv::new(channels, &[3, 3]).padding(&[1, 1])
}

/// Blocks of ReLU, 3x3 and 1x1 convolution as layer `_residual_stack`, and a last ReLU. The first ReLU of a block works in place in
/// the published code, so that the skip carries what it made. Convolutions begin at `init`.
pub(super) fn residual_stack(b: &mut Builder, x: ValueId, widths: &Widths, init: Option<Init>) -> Result<ValueId> {
    let begun = |conv: Conv| Conv { init: init.clone(), ..conv.without_bias() };
    b.scope("_residual_stack", |b| {
        let x = (0..BLOCKS).try_fold(x, |x, i| {
            b.scope(&format!("_layers.{i}._block"), |b| {
                let x = b.relu(x)?;
                let inner = begun(same(widths.residual)).forward(b, "1", x)?;
                let inner = b.relu(inner)?;
                let inner = begun(Conv::new(widths.hidden, &[1, 1])).forward(b, "3", inner)?;
                b.add(x, inner)
            })
        })?;
        b.relu(x)
    })
}

/// A layer and a ReLU.
fn activated(b: &mut Builder, conv: &Conv, label: &str, x: ValueId) -> Result<ValueId> {
    let x = conv.forward(b, label, x)?;
    b.relu(x)
}

/// The fine level's features before they meet the coarse level's codes: `x [N, 3, H, W]` to `[N, hidden, H/4, W/4]`.
pub(super) fn fine_features(b: &mut Builder, x: ValueId, widths: &Widths) -> Result<ValueId> {
    b.scope(SCOPE, |b| {
        b.scope("_encoder_b", |b| {
            let x = activated(b, &strided(widths.hidden / 2), "_conv_1", x)?;
            let x = activated(b, &strided(widths.hidden), "_conv_2", x)?;
            let x = same(widths.hidden).forward(b, "_conv_3", x)?;
            residual_stack(b, x, widths, None)
        })
    })
}

/// The coarse level's features before quantisation, `[N, hidden, H/8, W/8]`.
pub(super) fn coarse(b: &mut Builder, fine: ValueId, widths: &Widths) -> Result<ValueId> {
    b.scope(SCOPE, |b| {
        let x = b.scope("_encoder_t", |b| {
            let x = activated(b, &strided(widths.hidden), "_conv_1", fine)?;
            let x = activated(b, &same(widths.hidden), "_conv_2", x)?;
            residual_stack(b, x, widths, None)
        })?;
        Conv::new(widths.hidden, &[1, 1]).forward(b, "_pre_vq_conv_top", x)
    })
}

/// The coarse level's codes at the fine level's extents.
pub(super) fn enlarge(b: &mut Builder, codes: ValueId, widths: &Widths) -> Result<ValueId> {
    b.scope(SCOPE, |b| strided(widths.hidden).transposed(b, "upsample_t", codes))
}

/// The fine level's features before quantisation, given the coarse level's codes; `[N, hidden, H/4, W/4]`.
pub(super) fn fine(b: &mut Builder, features: ValueId, coarse: ValueId, widths: &Widths) -> Result<ValueId> {
    let enlarged = enlarge(b, coarse, widths)?;
    let both = b.concat(&[features, enlarged], 1)?;
    b.scope(SCOPE, |b| Conv::new(widths.hidden, &[1, 1]).forward(b, "_pre_vq_conv_bot", both))
}

/// The picture that the latent model makes of the codes of both levels, `[N, 3, H, W]`: the general reconstruction.
pub(super) fn decode(b: &mut Builder, coarse: ValueId, fine: ValueId, widths: &Widths) -> Result<ValueId> {
    let enlarged = enlarge(b, coarse, widths)?;
    let both = b.concat(&[enlarged, fine], 1)?;
    b.scope(SCOPE, |b| {
        b.scope("_decoder_b", |b| {
            let x = same(widths.hidden).forward(b, "_conv_1", both)?;
            let x = residual_stack(b, x, widths, None)?;
            let x = strided(widths.hidden / 2).transposed(b, "_conv_trans_1", x)?;
            let x = b.relu(x)?;
            strided(3).transposed(b, "_conv_trans_2", x)
        })
    })
}

/// The codebook of a level. The published file also holds sums of an earlier training (`_ema_w`, `_ema_cluster_size`), which nothing
/// reads.
pub(super) fn codebook(b: &mut Builder, level: Level, widths: &Widths) -> Result<Codebook> {
    Codebook::new(b, &format!("{SCOPE}.{}._embedding", level.quantizer()), [widths.codes, widths.hidden])
}

/// Share of the codes that are too near to a feature to be a defect.
const NEAREST: f64 = 0.05;

/// A random code for every feature that `at` quantised, neither among the nearest 5 % of all codes nor beyond the `limit`-th
/// nearest of its sample (`limit [N, 1]`); `[N, C, h, w]` (section 3.2).
///
/// The published code sorts all codes by distance and draws among those that are left. Here every feature is given
/// `candidates [J, Q]` (i64), drawn uniformly among all codes, and takes the first whose rank is within the bounds, which has the
/// same distribution; a rank is the number of codes that are nearer. Where no candidate is within, the last is taken.
pub(super) fn corrupt(
    b: &mut Builder,
    book: &Codebook,
    at: &Quantized,
    candidates: ValueId,
    limit: ValueId,
) -> Result<ValueId> {
    let shape = b.shape(at.codes).to_vec();
    let queries = b.shape(at.rows)[0];
    let limit = b.broadcast(limit, [shape[0], queries / shape[0]])?;
    let limit = b.reshape(limit, [queries, 1])?;
    let nearest = b.scalar((NEAREST * b.shape(book.codes)[0] as f64).floor())?;
    let mut chosen: Option<ValueId> = None;
    for i in (0..b.shape(candidates)[0]).rev() {
        let index = b.slice(candidates, &[i, 0], &[i + 1, queries])?;
        let index = b.reshape(index, [queries])?;
        let code = b.gather(book.codes, index)?;
        let product = b.mul(at.rows, code)?;
        let product = b.sum_keep(product, &[1])?;
        let twice = b.affine(product, 2.0, 0.0)?;
        let square = b.gather(book.squares, index)?;
        let nearness = b.sub(twice, square)?;
        let nearer = b.less(nearness, at.nearness)?;
        let rank = b.sum_keep(nearer, &[1])?;
        let (above, below) = (b.less_equal(nearest, rank)?, b.less(rank, limit)?);
        let within = b.mul(above, below)?;
        chosen = Some(match chosen {
            None => code,
            Some(later) => b.select(within, code, later)?,
        });
    }
    let chosen = chosen.ok_or_else(|| mimus_core::Error::graph("there is no candidate for a random code"))?;
    memory::restore(b, chosen, &shape)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use mimus_core::ValueType;
    use mimus_core::random::Stream;
    use mimus_core::reference::{Array, Interpreter, Precision};

    /// Ranks of the chosen codes, from the codes on a line and a feature at its end: the code `i` has the rank `i`.
    #[test]
    fn a_random_code_is_neither_too_near_nor_beyond_the_limit() {
        const CODES: usize = 40;
        const QUERIES: usize = 300;
        const CANDIDATES: usize = 64;
        let widths = Widths { hidden: 1, residual: 1, codes: CODES, subspace: 1, detection: 1 };
        let mut b = Builder::new("codes");
        let z = b.input("z", ValueType::f32([1, 1, 1, QUERIES])).unwrap();
        let candidates = b.input("candidates", ValueType::i64([CANDIDATES, QUERIES])).unwrap();
        let limit = b.input("limit", ValueType::f32([1, 1])).unwrap();
        let book = codebook(&mut b, Level::Hi, &widths).unwrap();
        let at = book.quantize(&mut b, z).unwrap();
        let corrupted = corrupt(&mut b, &book, &at, candidates, limit).unwrap();
        b.output("nearest", at.codes).unwrap();
        b.output("corrupted", corrupted).unwrap();
        let mut interpreter = Interpreter::new(Precision::F64);
        let codes = Array::float([CODES, 1], (0..CODES).map(|i| i as f64).collect());
        interpreter.variables.insert("vq._vq_vae_bot._embedding.weight".to_owned(), codes);
        let mut stream = Stream::keyed("candidates");
        let draw = (0..CANDIDATES * QUERIES).map(|_| stream.below(CODES as u64) as i64).collect();
        let inputs = BTreeMap::from([
            ("z".to_owned(), Array::float([1, 1, 1, QUERIES], vec![-0.25; QUERIES])),
            ("candidates".to_owned(), Array::int([CANDIDATES, QUERIES], draw)),
            ("limit".to_owned(), Array::float([1, 1], vec![12.0])),
        ]);
        let results = interpreter.run(&b.finish(), &inputs).unwrap();
        assert!(results[0].floats().unwrap().iter().all(|code| *code == 0.0));
        // Five of 100 codes are two of 40.
        let mut counts = [0; CODES];
        results[1].floats().unwrap().iter().for_each(|code| counts[*code as usize] += 1);
        for (rank, count) in counts.iter().enumerate() {
            let expected = if (2..12).contains(&rank) { 10..60 } else { 0..1 };
            assert!(expected.contains(count), "rank {rank} was chosen {count} times");
        }
    }
}
