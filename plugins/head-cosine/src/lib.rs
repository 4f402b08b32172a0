//! Mimicking by the cosine distance of the features at every position: blind to their length, as in reverse distillation.
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, head};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `S_fea` by position = `1 - cos(Fea_T, Fea_S)` over channels; `L_fea` is its mean. A feature of zeros has distance 1 from everything.
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
        let map = loss::cosine_distance(&mut b, teacher, student)?;
        b.output(head::SCORE_MAP, map)?;
        let total = loss::mean_all(&mut b, map)?;
        b.output(head::LOSS, total)?;
        let score = loss::mean_by_sample(&mut b, map)?;
        b.output(head::SCORE, score)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Head(Cosine) }
