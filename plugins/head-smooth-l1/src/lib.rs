//! Mimicking by the smooth absolute difference of the features: squares near the teacher, absolute values far from it.
#![forbid(unsafe_code)]

use mimus_core::blocks::loss;
use mimus_core::plugin::{ComponentInfo, FeatureRequest, Kind, MimickingHead, OptionSpec, head};
use mimus_core::{Builder, Graph, Result, ValueType};

/// With `d = |Fea_T - Fea_S|`: `d^2 / (2 beta)` below `beta`, `d - beta / 2` above; `L_fea` is the mean, `S_fea` by position the mean over
/// channels.
#[derive(Debug)]
pub struct SmoothL1;

impl MimickingHead for SmoothL1 {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Head, "smooth-l1", "smooth absolute difference of the features").with_option(
            OptionSpec::float("beta", 1.0, [1e-6, 1e6], "difference at which squares become absolute values"),
        )
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("smooth-l1");
        let teacher = b.input(head::TEACHER, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(head::STUDENT, ValueType::f32(request.student.clone()))?;
        let smooth = loss::smooth_l1(&mut b, teacher, student, request.options.float("beta")?)?;
        let total = loss::mean_all(&mut b, smooth)?;
        b.output(head::LOSS, total)?;
        let map = b.mean_keep(smooth, &[1])?;
        b.output(head::SCORE_MAP, map)?;
        let score = loss::mean_by_sample(&mut b, smooth)?;
        b.output(head::SCORE, score)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Head(SmoothL1) }
