//! Mimicking by the cosine distance of the features at every position: blind to their length, as in reverse distillation.
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, head};
use mimus_core::{Builder, Graph, Result, ValueId, ValueType};

/// Shortest squared length that is told from zero; a feature of zeros has distance 1 from everything.
const LEAST: f64 = 1e-16;

/// `S_fea` by position = `1 - cos(Fea_T, Fea_S)` over channels; `L_fea` is its mean.
#[derive(Debug)]
pub struct Cosine;

impl MimickingHead for Cosine {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Head, "cosine", "cosine distance of the features at every position")
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("cosine");
        let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(head::STUDENT, ValueType::f32(request.student.clone()))?;
        let product = inner(&mut b, teacher, student)?;
        let (teacher, student) = (length(&mut b, teacher)?, length(&mut b, student)?);
        let lengths = b.mul(teacher, student)?;
        let cosine = b.div(product, lengths)?;
        let map = b.affine(cosine, -1.0, 1.0)?;
        b.output(head::SCORE_MAP, map)?;
        let total = loss::mean_all(&mut b, map)?;
        b.output(head::LOSS, total)?;
        let score = loss::mean_by_sample(&mut b, map)?;
        b.output(head::SCORE, score)?;
        Ok(b.finish())
    }
}

/// Sum over channels of the product, `[N, 1, ..]`.
fn inner(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let product = b.mul(x, y)?;
    b.sum_keep(product, &[1])
}

/// Length over channels; the bound is taken of the square, so that a feature of zeros has a gradient.
fn length(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let square = inner(b, x, x)?;
    let least = b.scalar(LEAST)?;
    let square = b.maximum(square, least)?;
    b.sqrt(square)
}

mimus_core::plugin! { Head(Cosine) }
