//! The programs: defects among codes and their removal, detection and its refinement, evaluation.

use mimus_core::blocks::codebook::{Codebook, Quantized};
use mimus_core::blocks::loss;
use mimus_core::plugin::ModelRequest;
use mimus_core::{Builder, Graph, Result, ValueId, ValueType};

use super::latent::{self, Level};
use super::{Widths, modules, prepare};

/// Scopes of the trained modules.
pub(super) const OBJECT: [&str; 4] = ["subspace_hi", "subspace_lo", "image_reconstruction", "anomaly_detection"];

/// Scope of the module that refines the detection's map.
pub(super) const UPSAMPLING: &str = "upsampling";

/// Weight of the image reconstruction's error.
const IMAGE_WEIGHT: f64 = 10.0;

/// What the networks make of a picture.
struct Forward {
    /// Codes of the picture itself by level, and what the subspace modules make of those with defects.
    hi: [ValueId; 2],
    lo: [ValueId; 2],
    /// The picture as the modules of the object draw it, and as the latent model does.
    specific: ValueId,
    general: ValueId,
    /// Probabilities of "normal" and "anomalous" before refinement, `[N, 2, H, W]`.
    detection: ValueId,
}

/// Puts random codes where the prepared masks say so.
struct Defects {
    candidates: usize,
}

/// Everything but the refinement; with defects in training.
fn forward(b: &mut Builder, x: ValueId, widths: &Widths, defects: Option<&Defects>) -> Result<Forward> {
    let features = latent::fine_features(b, x, widths)?;
    let books = [latent::codebook(b, Level::Hi, widths)?, latent::codebook(b, Level::Lo, widths)?];
    let coarse = latent::coarse(b, features, widths)?;
    let lo = books[1].quantize(b, coarse)?;
    let fine = latent::fine(b, features, lo.codes, widths)?;
    let hi = books[0].quantize(b, fine)?;
    let (mut hi_seen, mut lo_seen) = (hi.codes, lo.codes);
    if let Some(defects) = defects {
        lo_seen = defects.put(b, &books[1], &lo, Level::Lo)?;
        // Where both levels have defects, the fine one is made anew from the coarse one.
        let again = latent::fine(b, features, lo_seen, widths)?;
        let both = b.input(prepare::BOTH, ValueType::f32([b.shape(x)[0], 1, 1, 1]))?;
        let source = b.select(both, again, fine)?;
        let source = books[0].quantize(b, source)?;
        hi_seen = defects.put(b, &books[0], &source, Level::Hi)?;
    }
    let restored =
        [modules::restrict(b, OBJECT[0], hi_seen, widths)?, modules::restrict(b, OBJECT[1], lo_seen, widths)?];
    let quantized = [books[0].quantize(b, restored[0])?, books[1].quantize(b, restored[1])?];
    let quantized = [quantized[0].straight_through(b)?, quantized[1].straight_through(b)?];
    let enlarged = latent::enlarge(b, quantized[1], widths)?;
    let both = b.concat(&[enlarged, quantized[0]], 1)?;
    let specific = modules::reconstruct(b, OBJECT[2], both, widths)?;
    let general = latent::decode(b, lo_seen, hi_seen, widths)?;
    let pictures = [b.stop_gradient(specific)?, b.stop_gradient(general)?];
    let pictures = b.concat(&pictures, 1)?;
    let logits = modules::detect_begun(b, OBJECT[3], pictures, widths)?;
    let detection = b.softmax(logits, 1)?;
    Ok(Forward { hi: [hi.codes, restored[0]], lo: [lo.codes, restored[1]], specific, general, detection })
}

impl Defects {
    /// The codes of `at`, with random ones where the level's mask is 1.
    fn put(&self, b: &mut Builder, book: &Codebook, at: &Quantized, level: Level) -> Result<ValueId> {
        let [samples, _, height, width] = b.shape(at.codes)[..] else {
            return Err(mimus_core::Error::graph("codes are no map"));
        };
        let mask = b.input(&prepare::named(prepare::MASK, level), ValueType::f32([samples, 1, height, width]))?;
        let limit = b.input(&prepare::named(prepare::LIMIT, level), ValueType::f32([samples, 1]))?;
        let candidates = ValueType::i64([self.candidates, samples * height * width]);
        let candidates = b.input(&prepare::named(prepare::CANDIDATES, level), candidates)?;
        let corrupted = latent::corrupt(b, book, at, candidates, limit)?;
        b.select(mask, corrupted, at.codes)
    }
}

/// Probabilities of "normal" and "anomalous", refined with the pictures that they come from; `[N, 2, H, W]`.
fn refine(b: &mut Builder, forward: &Forward, widths: &Widths) -> Result<ValueId> {
    let all = b.concat(&[forward.specific, forward.general, forward.detection], 1)?;
    let logits = modules::detect(b, UPSAMPLING, all, widths, None)?;
    b.softmax(logits, 1)
}

/// Probability of "anomalous", `[N, 1, H, W]`.
fn anomalous(b: &mut Builder, probabilities: ValueId) -> Result<ValueId> {
    let mut ends = b.shape(probabilities).to_vec();
    ends[1] = 2;
    b.slice(probabilities, &[0, 1, 0, 0], &ends)
}

fn picture(b: &mut Builder, name: &str, request: &ModelRequest) -> Result<ValueId> {
    b.input(name, ValueType::f32([request.batch, 3, request.height, request.width]))
}

fn mask(b: &mut Builder, name: &str, request: &ModelRequest) -> Result<ValueId> {
    b.input(name, ValueType::f32([request.batch, 1, request.height, request.width]))
}

/// The modules of the object learn to undo defects among the codes of the picture `x`, and to find them (equations 3 to 6).
pub(super) fn object(request: &ModelRequest, x: &str) -> Result<Graph> {
    let (widths, mut b) = (Widths::of(request)?, Builder::new("dsr"));
    let defects = Defects { candidates: request.options.usize("candidates")? };
    let x = picture(&mut b, x, request)?;
    let forward = forward(&mut b, x, &widths, Some(&defects))?;
    let target = mask(&mut b, prepare::TARGET, request)?;
    let [hi, lo] = [forward.hi, forward.lo];
    let (hi, lo) = (loss::mse(&mut b, hi[1], hi[0])?, loss::mse(&mut b, lo[1], lo[0])?);
    let image = loss::mse(&mut b, forward.specific, x)?;
    let weighted = b.affine(image, IMAGE_WEIGHT, 0.0)?;
    let focal = loss::focal(&mut b, forward.detection, target, 2.0, None)?;
    let total = [lo, weighted, focal].into_iter().try_fold(hi, |sum, term| b.add(sum, term))?;
    b.output("loss", total)?;
    [("hi", hi), ("lo", lo), ("image", image), ("focal", focal)]
        .into_iter()
        .try_for_each(|(name, term)| b.output(&format!("loss.{name}"), term))?;
    Ok(b.finish())
}

/// The refinement learns to find patches of one colour in the picture `x` (section 3.4).
pub(super) fn upsampling(request: &ModelRequest, x: &str) -> Result<Graph> {
    let (widths, mut b) = (Widths::of(request)?, Builder::new("dsr"));
    let x = picture(&mut b, x, request)?;
    let forward = forward(&mut b, x, &widths, None)?;
    let refined = refine(&mut b, &forward, &widths)?;
    let target = mask(&mut b, prepare::PATCHES, request)?;
    let focal = loss::focal(&mut b, refined, target, 2.0, None)?;
    b.output("loss", focal)?;
    Ok(b.finish())
}

/// The refined map, or the detection's.
pub(super) fn eval(request: &ModelRequest, refined: bool) -> Result<Graph> {
    let (widths, mut b) = (Widths::of(request)?, Builder::new("dsr"));
    let x = picture(&mut b, prepare::X, request)?;
    let forward = forward(&mut b, x, &widths, None)?;
    let map = refine(&mut b, &forward, &widths)?;
    let (map, detection) = (anomalous(&mut b, map)?, anomalous(&mut b, forward.detection)?);
    b.output("score_map", if refined { map } else { detection })?;
    b.output("refined", map)?;
    b.output("detection", detection)?;
    b.output("specific", forward.specific)?;
    b.output("general", forward.general)?;
    Ok(b.finish())
}
