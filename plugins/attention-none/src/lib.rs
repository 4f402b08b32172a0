//! The control without attention: whatever a boost gains with it comes from mimicking alone.
#![forbid(unsafe_code)]

use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, attention};
use mimus_core::{Builder, Graph, Result, ValueType};

/// The student's feature as it is: `M = 1`.
#[derive(Debug)]
pub struct NoAttention;

impl AttentionModule for NoAttention {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "none", "control: mimicking without attention")
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("none");
        let student = b.input(attention::STUDENT, ValueType::f32(request.student.clone()))?;
        b.output(attention::REFINED, student)?;
        Ok(b.finish())
    }
}

mimus_core::plugin! { Attention(NoAttention) }
