//! Mimicking by the mean absolute difference of the features: less drawn to single large differences than the paper's squares.
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, head};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `L_fea = mean(|Fea_T - Fea_S|)`, `S_fea` by position = mean over channels.
#[derive(Debug)]
pub struct L1;

impl MimickingHead for L1 {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Head, "l1", "mean absolute difference of the features")
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("l1");
        let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(head::STUDENT, ValueType::f32(request.student.clone()))?;
        let difference = loss::absolute_difference(&mut b, teacher, student)?;
        let total = loss::mean_all(&mut b, difference)?;
        b.output(head::LOSS, total)?;
        let map = b.mean_keep(difference, &[1])?;
        b.output(head::SCORE_MAP, map)?;
        let score = loss::mean_by_sample(&mut b, difference)?;
        b.output(head::SCORE, score)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Head(L1) }
