//! A training batch: where defects shall be among the codes and of which strength, and pictures with patches of one colour.

use mimus_core::plugin::{Batch, ModelRequest};
use mimus_core::random::Stream;
use mimus_core::{Error, HostTensor, Result, synthesis};

use super::latent::Level;

/// The picture that the last turn of training sees, and evaluation.
pub(super) const X: &str = "x";

/// Whichever of the two pictures that is not: with patches, or without.
pub(super) const OTHER: &str = "other";

/// Where the patches are.
pub(super) const PATCHES: &str = "patches";

/// What the detection shall find: the masks of the levels at the picture's extents.
pub(super) const TARGET: &str = "target";

/// Whether a sample has defects on both levels, `[N, 1, 1, 1]`.
pub(super) const BOTH: &str = "both";

/// By level: where random codes are put, `[N, 1, h, w]`.
pub(super) const MASK: &str = "mask";

/// By level: how near to the feature a random code must be, as a rank, `[N, 1]`.
pub(super) const LIMIT: &str = "limit";

/// By level: codes to choose from, `[J, N h w]`.
pub(super) const CANDIDATES: &str = "candidates";

/// A picture is rotated, by at most so many degrees either way.
const ROTATED: f64 = 0.4;
const ROTATION: f64 = 90.0;

/// A sample has no defect; a picture has no patch.
const CLEAN: f64 = 0.5;

/// How far from a feature random codes may be, as a part of all codes.
const STRENGTH: [f64; 2] = [0.2, 1.0];

/// At most this share of the picture shows through a patch.
const TRANSPARENCY: f64 = 0.8;

/// The name of an input that both levels have.
pub(super) fn named(input: &str, level: Level) -> String {
    format!("{input}_{}", level.suffix())
}

/// All inputs that are made here, but [`X`].
pub(super) fn inputs() -> Vec<String> {
    let levels = [MASK, LIMIT, CANDIDATES].into_iter().flat_map(|name| [Level::Hi, Level::Lo].map(|l| named(name, l)));
    [OTHER, PATCHES, TARGET, BOTH].map(str::to_owned).into_iter().chain(levels).collect()
}

/// Completes `x [N, 3, H, W]`; `patched` if `x` shall be the picture with patches.
///
/// # Errors
/// If the input is missing or no batch of pictures of the request's size.
pub(super) fn prepare(request: &ModelRequest, mut batch: Batch, patched: bool, seed: u64) -> Result<Batch> {
    let pictures = batch.remove(X).ok_or_else(|| Error::data(format!("the batch has no input `{X}`")))?;
    let shape = pictures.shape().to_vec();
    let size = [request.height, request.width];
    if shape.get(1..) != Some(&[3, size[0], size[1]]) {
        return Err(Error::data(format!("input `{X}` has shape {shape:?}, expects [N, 3, {}, {}]", size[0], size[1])));
    }
    let codes = request.options.usize("codes")?;
    let mut made = Made::default();
    for (i, picture) in pictures.as_f32()?.chunks_exact(3 * size[0] * size[1]).enumerate() {
        let mut stream = Stream::new(seed, &format!("sample/{i}"));
        let picture = rotated(picture, size, &mut stream);
        made.add_defects(size, codes, &mut stream);
        made.add_patches(picture, size, &mut stream);
    }
    let samples = shape[0];
    let [x, other] = if patched { [made.patched, made.pictures] } else { [made.pictures, made.patched] };
    let mut insert = |name: String, shape: &[usize], values: Vec<f32>| -> Result<()> {
        batch.insert(name, HostTensor::f32(shape, values)?);
        Ok(())
    };
    insert(X.to_owned(), &shape, x)?;
    insert(OTHER.to_owned(), &shape, other)?;
    insert(PATCHES.to_owned(), &[samples, 1, size[0], size[1]], made.patches)?;
    insert(TARGET.to_owned(), &[samples, 1, size[0], size[1]], made.target)?;
    insert(BOTH.to_owned(), &[samples, 1, 1, 1], made.both)?;
    let candidates = request.options.usize("candidates")?;
    let mut drawn_by_level = Vec::new();
    for (level, masks, limits) in [(Level::Hi, made.masks.0, made.limits.0), (Level::Lo, made.masks.1, made.limits.1)] {
        let [height, width] = size.map(|extent| extent / level.stride());
        insert(named(MASK, level), &[samples, 1, height, width], masks)?;
        insert(named(LIMIT, level), &[samples, 1], limits)?;
        let mut stream = Stream::new(seed, &named(CANDIDATES, level));
        let queries = samples * height * width;
        let drawn = (0..candidates * queries).map(|_| stream.below(codes as u64) as i64).collect();
        drawn_by_level.push((named(CANDIDATES, level), HostTensor::i64([candidates, queries], drawn)?));
    }
    batch.extend(drawn_by_level);
    Ok(batch)
}

fn rotated(picture: &[f32], size: [usize; 2], stream: &mut Stream) -> Vec<f32> {
    if stream.uniform() >= ROTATED {
        return picture.to_vec();
    }
    let degrees = stream.range(-ROTATION, ROTATION);
    picture.chunks_exact(size[0] * size[1]).flat_map(|plane| synthesis::rotate(plane, size, degrees)).collect()
}

/// The samples so far, one after another; pairs are of the fine and the coarse level.
#[derive(Default)]
struct Made {
    pictures: Vec<f32>,
    patched: Vec<f32>,
    patches: Vec<f32>,
    target: Vec<f32>,
    both: Vec<f32>,
    masks: (Vec<f32>, Vec<f32>),
    limits: (Vec<f32>, Vec<f32>),
}

impl Made {
    /// Half of the samples have none; of the others half have them on both levels, and a quarter each on one.
    fn add_defects(&mut self, size: [usize; 2], codes: usize, stream: &mut Stream) {
        let mut mask = synthesis::defect_mask(stream, size[0], size[1]);
        if stream.uniform() < CLEAN {
            mask.fill(0.0);
        }
        let both = stream.uniform() < 0.5;
        let hi = both || stream.uniform() < 0.5;
        let lo = both || !hi;
        self.both.push(f32::from(u8::from(both)));
        let pooled = [(Level::Hi, hi), (Level::Lo, lo)].map(|(level, has)| {
            let pooled = pool(&mask, size, level.stride());
            if has { pooled } else { vec![0.0; pooled.len()] }
        });
        // The target has the coarser of the levels with defects.
        let (stride, coarsest) = if lo { (Level::Lo.stride(), &pooled[1]) } else { (Level::Hi.stride(), &pooled[0]) };
        let width = size[1] / stride;
        let enlarged = (0..size[0] * size[1]).map(|i| coarsest[i / size[1] / stride * width + i % size[1] / stride]);
        self.target.extend(enlarged);
        let [hi, lo] = pooled;
        self.masks.0.extend(hi);
        self.masks.1.extend(lo);
        self.limits.0.push(limit(codes, stream));
        self.limits.1.push(limit(codes, stream));
    }

    /// Half of the pictures have none.
    fn add_patches(&mut self, picture: Vec<f32>, size: [usize; 2], stream: &mut Stream) {
        let plane = size[0] * size[1];
        let mut mask = synthesis::defect_mask(stream, size[0], size[1]);
        if stream.uniform() < CLEAN {
            mask.fill(0.0);
        }
        let color = [(); 3].map(|()| stream.uniform() as f32);
        let through = stream.range(0.0, TRANSPARENCY) as f32;
        let blended = picture
            .iter()
            .enumerate()
            .map(|(i, x)| if mask[i % plane] == 0.0 { *x } else { (1.0 - through) * color[i / plane] + through * x });
        self.patched.extend(blended);
        self.patches.extend(mask);
        self.pictures.extend(picture);
    }
}

/// A random strength as a rank among the codes.
fn limit(codes: usize, stream: &mut Stream) -> f32 {
    let rank = (codes as f64 * stream.range(STRENGTH[0], STRENGTH[1])).floor() + 1.0;
    rank.clamp(1.0, codes.saturating_sub(1).max(1) as f64) as f32
}

/// The largest of every `stride * stride` pixels.
fn pool(mask: &[f32], [height, width]: [usize; 2], stride: usize) -> Vec<f32> {
    let (rows, columns) = (height / stride, width / stride);
    let mut pooled = vec![0.0_f32; rows * columns];
    for y in 0..rows * stride {
        for x in 0..columns * stride {
            let largest = &mut pooled[y / stride * columns + x / stride];
            *largest = largest.max(mask[y * width + x]);
        }
    }
    pooled
}
