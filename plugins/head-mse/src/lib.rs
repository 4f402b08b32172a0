//! Mimicking by the mean squared difference of the features, the head of the paper (method, equations of section 1).
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, head};
use mimus_core::{Builder, Graph, Result, ValueType};

/// `L_fea = mean((Fea_T - Fea_S)^2)`, `S_fea` by position = mean over channels of the squared difference.
#[derive(Debug)]
pub struct Mse;

impl MimickingHead for Mse {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Head, "mse", "mean squared difference of the features")
            .with_paper("s41598-026-37667-9")
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("mse");
        let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(head::STUDENT, ValueType::f32(request.student.clone()))?;
        let square = loss::squared_difference(&mut b, teacher, student)?;
        let total = loss::mean_all(&mut b, square)?;
        b.output(head::LOSS, total)?;
        let map = b.mean_keep(square, &[1])?;
        b.output(head::SCORE_MAP, map)?;
        let score = loss::mean_by_sample(&mut b, square)?;
        b.output(head::SCORE, score)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Head(Mse) }
