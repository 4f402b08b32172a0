//! The fused score: `S_total = lambda * S_fea + (1 - lambda) * S_o`, on maps where the model has one.

use std::collections::BTreeMap;

use super::BoostOptions;
use super::tap::Mimicking;
use crate::error::{Context, Error, Result};
use crate::graph::{Builder, Init, Inlined, Inlining, ValueId, inline};
use crate::ops::Mode;
use crate::plugin::{EMPTY_SCORE, ModelSpec, STATISTICS};

/// Prefix of the scalar buffers `calibration.<score>.mean` and `.std`, measured on held-out normal images.
pub const CALIBRATION: &str = "calibration";

/// The scores that are standardised before the sum: names in [`CALIBRATION`] and the raw outputs to measure.
#[derive(Clone, Copy, Debug)]
pub struct Calibrated;

impl Calibrated {
    /// `S_o`.
    pub const TASK: &'static str = "task";
    /// `S_fea`.
    pub const MIMICKING: &'static str = "mimicking";
    /// Both.
    pub const ALL: [&'static str; 2] = [Self::TASK, Self::MIMICKING];
}

/// The image score of a map `[N, 1, H, W]`, by the model's own rule.
pub(super) fn image_score(b: &mut Builder, spec: &ModelSpec, map: ValueId) -> Result<ValueId> {
    let Some(rule) = &spec.image_score else {
        return Err(Error::plugin("the model has a score map and no image score"));
    };
    let bindings = BTreeMap::from([("score_map".to_owned(), map)]);
    let how = Inlining { prefix: "", variable: &|v| v, bindings: &bindings, redirect: &mut |_, _, value| Ok(value) };
    inline(b, rule, how).context("part", "image score")?.output("score")
}

/// Adds the outputs `score`, `score_map` (if the model has one), the raw parts `task.*` and `mimicking.*`, and what else the model says of
/// each sample: see [`keep`].
pub(super) fn fuse(
    b: &mut Builder,
    spec: &ModelSpec,
    student: &Inlined,
    mimicking: &[Mimicking],
    options: &BoostOptions,
) -> Result<()> {
    let name = if spec.image_score.is_some() { "score_map" } else { "score" };
    let task = student.output(name)?;
    b.output(&format!("{}.{name}", Calibrated::TASK), task)?;
    let mut fused = task;
    if !mimicking.is_empty() {
        let parts =
            mimicking.iter().map(|m| if name == "score_map" { enlarge(b, m.score_map, task) } else { Ok(m.score) });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let feature = average(b, &parts)?;
        b.output(&format!("{}.{name}", Calibrated::MIMICKING), feature)?;
        let scores: Vec<ValueId> = mimicking.iter().map(|m| m.score).collect();
        if name == "score_map" {
            let score = average(b, &scores)?;
            b.output(&format!("{}.score", Calibrated::MIMICKING), score)?;
        }
        fused = weigh(b, task, feature, options)?;
        if spec.takes_regions() {
            // Where there is nothing, nothing is mimicked wrongly.
            let (task, feature) = (student.output(EMPTY_SCORE)?, b.scalar(0.0)?);
            let empty = weigh(b, task, feature, options)?;
            b.output(EMPTY_SCORE, empty)?;
        }
    } else if spec.takes_regions() {
        b.output(EMPTY_SCORE, student.output(EMPTY_SCORE)?)?;
    }
    b.output(name, fused)?;
    if spec.image_score.is_some() {
        let score = image_score(b, spec, fused)?;
        b.output("score", score)?;
    }
    keep(b, student)
}

/// The model's other outputs `[N]`: cues that a protocol may add up behind `task.`, like the score that they make; what is measured over the
/// training samples under its own name.
fn keep(b: &mut Builder, student: &Inlined) -> Result<()> {
    for (name, value) in &student.outputs {
        if name == "score" || b.shape(*value).len() != 1 {
            continue;
        }
        let is_measured = name.strip_prefix(STATISTICS).is_some_and(|rest| rest.starts_with('.'));
        let kept = if is_measured { name.clone() } else { format!("{}.{name}", Calibrated::TASK) };
        b.output(&kept, *value)?;
    }
    Ok(())
}

/// The weighted sum of both scores, standardised if that is wanted.
fn weigh(b: &mut Builder, task: ValueId, feature: ValueId, options: &BoostOptions) -> Result<ValueId> {
    let task = standardise(b, Calibrated::TASK, task, options)?;
    let feature = standardise(b, Calibrated::MIMICKING, feature, options)?;
    let task = b.affine(task, 1.0 - options.lambda, 0.0)?;
    let feature = b.affine(feature, options.lambda, 0.0)?;
    b.add(task, feature)
}

/// The feature's map resized linearly to the task map's extents.
fn enlarge(b: &mut Builder, map: ValueId, task: ValueId) -> Result<ValueId> {
    let size = b.shape(task)[2..].to_vec();
    if b.shape(map)[2..] == size { Ok(map) } else { b.resize(map, &size, Mode::Linear, false) }
}

fn average(b: &mut Builder, parts: &[ValueId]) -> Result<ValueId> {
    let mut sum = parts[0];
    for part in &parts[1..] {
        sum = b.add(sum, *part)?;
    }
    b.affine(sum, 1.0 / parts.len() as f64, 0.0)
}

/// `(score - mean) / std` with the calibration's buffers, which begin as 0 and 1.
fn standardise(b: &mut Builder, name: &str, score: ValueId, options: &BoostOptions) -> Result<ValueId> {
    if !options.standardise {
        return Ok(score);
    }
    b.scope(CALIBRATION, |b| {
        let mean = b.buffer(&format!("{name}.mean"), [], Init::ZEROS)?;
        let std = b.buffer(&format!("{name}.std"), [], Init::ONES)?;
        let centred = b.sub(score, mean)?;
        b.div(centred, std)
    })
}
