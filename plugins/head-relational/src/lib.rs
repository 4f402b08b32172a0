//! Mimicking of relations inside the feature instead of its values: between channels, between positions, or both.
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, OptionSpec, head};
use mimus_core::{Builder, Graph, Op, Result, ValueId, ValueType};

/// Differences of relation matrices; `L_fea` is the mean of their squares, the sum of both means for `relation = "both"`.
///
/// `positions`: cosine similarities of all pairs of positions (Liu et al., "Structured Knowledge Distillation for Semantic
/// Segmentation", CVPR 2019); a position's score is the mean over its pairs. Memory grows with the square of the number of positions.
///
/// `channels`: the Gram matrix of the channels, averaged over positions (Gatys et al., CVPR 2016). A position's score is the mean
/// square of what the position alone adds to the difference, `|t t' - s s'|^2 / C^2`.
#[derive(Debug)]
pub struct Relational;

impl MimickingHead for Relational {
    fn info(&self) -> ComponentInfo {
        let summary = "difference of the relations between positions or channels";
        ComponentInfo::new(Kind::Head, "relational", summary).with_option(OptionSpec::choice(
            "relation",
            "positions",
            &["positions", "channels", "both"],
            "what is related: cosines of all pairs of positions, Gram matrix of the channels",
        ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("relational");
        let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(head::STUDENT, ValueType::f32(request.student.clone()))?;
        let (teacher, student) = (flat(&mut b, teacher)?, flat(&mut b, student)?);
        let relation = request.options.text("relation")?;
        let mut parts = Vec::new();
        if relation != "channels" {
            parts.push(between_positions(&mut b, teacher, student)?);
        }
        if relation != "positions" {
            parts.push(between_channels(&mut b, teacher, student)?);
        }
        let sum = |b: &mut Builder, values: Vec<ValueId>| {
            values[1..].iter().try_fold(values[0], |sum, value| b.add(sum, *value))
        };
        let score = sum(&mut b, parts.iter().map(|part| part.score).collect())?;
        b.output(head::SCORE, score)?;
        let total = loss::mean_all(&mut b, score)?;
        b.output(head::LOSS, total)?;
        let map = sum(&mut b, parts.iter().map(|part| part.by_position).collect())?;
        let map = b.reshape(map, [&[request.student[0], 1], &request.student[2..]].concat())?;
        b.output(head::SCORE_MAP, map)?;
        Ok(b.finish())
    }
}

/// One relation's scores.
struct Part {
    /// `[N]`.
    score: ValueId,
    /// `[N, P]`.
    by_position: ValueId,
}

/// `[N, C, ..]` as `[N, C, P]`.
fn flat(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let shape = b.shape(x).to_vec();
    b.reshape(x, [shape[0], shape[1], shape[2..].iter().product()])
}

fn between_positions(b: &mut Builder, teacher: ValueId, student: ValueId) -> Result<Part> {
    let cosines = |b: &mut Builder, x: ValueId| {
        let length = loss::channel_length(b, x)?;
        let unit = b.div(x, length)?;
        b.node(Op::MatMul { transpose_a: true, transpose_b: false }, &[unit, unit])
    };
    let (teacher, student) = (cosines(b, teacher)?, cosines(b, student)?);
    let square = loss::squared_difference(b, teacher, student)?;
    Ok(Part { score: loss::mean_by_sample(b, square)?, by_position: b.mean(square, &[2])? })
}

fn between_channels(b: &mut Builder, teacher: ValueId, student: ValueId) -> Result<Part> {
    let [_, channels, positions] = b.shape(teacher)[..] else {
        return Err(mimus_core::Error::graph("relations are between channels and positions"));
    };
    let gram = |b: &mut Builder, x: ValueId| {
        let products = b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[x, x])?;
        b.affine(products, 1.0 / positions as f64, 0.0)
    };
    let grams = [gram(b, teacher)?, gram(b, student)?];
    let outer = outer_difference(b, teacher, student)?;
    let square = loss::squared_difference(b, grams[0], grams[1])?;
    let by_position = b.affine(outer, 1.0 / (channels * channels) as f64, 0.0)?;
    Ok(Part { score: loss::mean_by_sample(b, square)?, by_position })
}

/// `|t t' - s s'|^2 = |t|^4 + |s|^4 - 2 (t's)^2` at every position, `[N, P]`.
fn outer_difference(b: &mut Builder, teacher: ValueId, student: ValueId) -> Result<ValueId> {
    let product_squared = |b: &mut Builder, x, y| {
        let product = b.mul(x, y)?;
        let sum = b.sum(product, &[1])?;
        b.mul(sum, sum)
    };
    let own = [product_squared(b, teacher, teacher)?, product_squared(b, student, student)?];
    let both = product_squared(b, teacher, student)?;
    let sum = b.add(own[0], own[1])?;
    let twice = b.affine(both, -2.0, 0.0)?;
    b.add(sum, twice)
}

mimus_core::plugin! { Head(Relational) }
