//! The gradient of batch norm with the channels of a place side by side. The engine's own adds up one number after another there and
//! loses digits, coherently in all places, so that sums of its results are off by far more.

use std::panic::resume_unwind;

use tch::{TchError, Tensor};

use crate::ffi::{elements, elements_mut};

/// Places that are added up in single precision.
const BLOCK: usize = 64;

/// Pieces that threads take: always as many, so that the number of threads changes no bit.
const PIECES: usize = 16;

/// Gradients with respect to the input, the weight and the bias; `None` if a tensor is not in the CPU's memory as f32.
///
/// # Errors
/// If the engine fails.
pub(super) fn gradient(
    x: &Tensor,
    weight: &Tensor,
    mean: &Tensor,
    inverse_deviation: &Tensor,
    dy: &Tensor,
    threads: usize,
) -> Result<Option<Vec<Tensor>>, TchError> {
    let (x, dy) = (places(x)?, places(dy)?);
    let vectors = [weight.f_contiguous()?, mean.f_contiguous()?, inverse_deviation.f_contiguous()?];
    let mut dx = x.f_empty_like()?;
    let [Some(weight), Some(mean), Some(scale)] = vectors.each_ref().map(elements) else { return Ok(None) };
    let (Some(x), Some(dy), Some(out)) = (elements(&x), elements(&dy), elements_mut(&mut dx)) else { return Ok(None) };
    let (channels, count) = (mean.len(), x.len() / mean.len());
    let piece = count.div_ceil(PIECES) * channels;

    let mut totals = vec![[0.0_f64; 2]; channels];
    let pieces: Vec<_> = x.chunks(piece).zip(dy.chunks(piece)).collect();
    for part in shared(pieces, threads, |(x, dy)| sums(x, dy, mean)) {
        totals.iter_mut().zip(part).for_each(|(total, part)| *total = [total[0] + part[0], total[1] + part[1]]);
    }
    let per_place = 1.0 / count as f64;
    let constants = totals.iter().zip(weight.iter().zip(mean.iter().zip(scale)));
    let constants = constants.map(|([product, sum], (weight, (mean, scale)))| Channel {
        factor: weight * scale,
        shift: (sum * per_place) as f32,
        mean: *mean,
        slope: (product * f64::from(*scale) * f64::from(*scale) * per_place) as f32,
    });
    let constants: Vec<Channel> = constants.collect();
    let pieces: Vec<_> = x.chunks(piece).zip(dy.chunks(piece)).zip(out.chunks_mut(piece)).collect();
    shared(pieces, threads, |((x, dy), out)| combine(x, dy, &constants, out));

    let vector =
        |f: &dyn Fn(usize) -> f64| Tensor::f_from_slice(&(0..channels).map(|i| f(i) as f32).collect::<Vec<_>>());
    let dweight = vector(&|i| totals[i][0] * f64::from(scale[i]))?;
    let dbias = vector(&|i| totals[i][1])?;
    let last = dx.dim() as i64 - 1;
    let order: Vec<i64> = [0, last].into_iter().chain(1..last).collect();
    Ok(Some(vec![dx.f_permute(&order)?, dweight, dbias]))
}

/// `[N, C, ..]` as `[N, .., C]`, row-major; no copy if channels lie side by side.
fn places(x: &Tensor) -> Result<Tensor, TchError> {
    let order: Vec<i64> = std::iter::once(0).chain(2..x.dim() as i64).chain([1]).collect();
    x.f_permute(&order)?.f_contiguous()
}

/// What is done with all pieces, in their order, on threads.
fn shared<P: Send, R: Send>(pieces: Vec<P>, threads: usize, work: impl Fn(P) -> R + Sync) -> Vec<R> {
    let share = pieces.len().div_ceil(threads).max(1);
    let mut rest = pieces.into_iter();
    let mut next = || rest.by_ref().take(share).collect::<Vec<P>>();
    let own = next();
    let others: Vec<Vec<P>> = std::iter::from_fn(|| Some(next()).filter(|pieces| !pieces.is_empty())).collect();
    let work = &work;
    std::thread::scope(|scope| {
        let start = |pieces: Vec<P>| scope.spawn(move || pieces.into_iter().map(work).collect::<Vec<R>>());
        let others: Vec<_> = others.into_iter().map(start).collect();
        let own: Vec<R> = own.into_iter().map(work).collect();
        let others = others.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        own.into_iter().chain(others).collect()
    })
}

/// For each channel the sums over some places of `dy * (x - mean)` and of `dy`.
fn sums(x: &[f32], dy: &[f32], mean: &[f32]) -> Vec<[f64; 2]> {
    let channels = mean.len();
    let mut totals = vec![[0.0_f64; 2]; channels];
    let (mut products, mut sums) = (vec![0.0_f32; channels], vec![0.0_f32; channels]);
    for (x, dy) in x.chunks(BLOCK * channels).zip(dy.chunks(BLOCK * channels)) {
        products.fill(0.0);
        sums.fill(0.0);
        for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
            let accumulators = products.iter_mut().zip(&mut sums);
            for (((product, sum), (x, dy)), mean) in accumulators.zip(x.iter().zip(dy)).zip(mean) {
                *product += dy * (x - mean);
                *sum += dy;
            }
        }
        for (total, (product, sum)) in totals.iter_mut().zip(products.iter().zip(&sums)) {
            *total = [total[0] + f64::from(*product), total[1] + f64::from(*sum)];
        }
    }
    totals
}

/// A channel's part of `dx = factor * (dy - shift - (x - mean) * slope)`.
struct Channel {
    factor: f32,
    shift: f32,
    mean: f32,
    slope: f32,
}

fn combine(x: &[f32], dy: &[f32], constants: &[Channel], out: &mut [f32]) {
    let n = constants.len();
    for ((x, dy), out) in x.chunks_exact(n).zip(dy.chunks_exact(n)).zip(out.chunks_exact_mut(n)) {
        for (((x, dy), out), channel) in x.iter().zip(dy).zip(out).zip(constants) {
            *out = channel.factor * (dy - channel.shift - (x - channel.mean) * channel.slope);
        }
    }
}
