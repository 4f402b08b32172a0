//! The pieces that a boost inlines at a tap: attention modules and mimicking heads.

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, Options};
use crate::error::{Error, Result};
use crate::graph::{Graph, Phase};
use crate::tensor::Shape;

/// Names of an attention module's inputs and outputs.
pub mod attention {
    /// Input: `|Fea_T - Fea_S|`, shape of the teacher's feature. Declared by modules that use it.
    pub const INCONSISTENCY: &str = "inconsistency";
    /// Input: the student's feature. Declared by modules that use it.
    pub const STUDENT: &str = "student";
    /// Output: weights that multiply the student's feature; broadcasts to the feature's shape.
    pub const MAP: &str = "map";
    /// Output: the refined feature itself, shape of the student's feature. A [`MAP`] beside it multiplies nothing: it is shown.
    pub const REFINED: &str = "refined";
    /// Optional output: a scalar loss of the module's own, already weighted.
    pub const LOSS: &str = "loss";
}

/// Names of a mimicking head's inputs and outputs.
pub mod head {
    /// Input: the teacher's feature.
    pub const TEACHER: &str = "teacher";
    /// Input: the student's feature before refinement.
    pub const STUDENT: &str = "student";
    /// Output: the scalar mimicking loss.
    pub const LOSS: &str = "loss";
    /// Output: the mimicking score by position, `[N, 1, ..]` with the feature's spatial extents.
    pub const SCORE_MAP: &str = "score_map";
    /// Output: the mimicking score, `[N]`.
    pub const SCORE: &str = "score";
}

/// The features at a tap, for which a fragment is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureRequest {
    /// Resolved options.
    pub options: Options,
    /// Extents of the student's feature, `[N, C, H, W]` or `[N, C, T, H, W]`.
    pub student: Shape,
    /// Extents of the teacher's feature; equal to the student's unless their widths differ.
    pub teacher: Shape,
    /// Training or evaluation.
    pub phase: Phase,
}

impl FeatureRequest {
    /// The number of channels, for a module that weighs each channel by its own inconsistency.
    ///
    /// # Errors
    /// If teacher and student have different numbers of them.
    pub fn common_channels(&self) -> Result<usize> {
        let [teacher, student] = [&self.teacher, &self.student].map(|shape| shape.get(1).copied().unwrap_or(1));
        if teacher == student {
            return Ok(student);
        }
        Err(Error::config(format!(
            "weighs each channel by its own inconsistency, but the teacher's feature has {teacher} channels and the student's {student}"
        ))
        .hint("give both the same width, or choose another attention, such as sca"))
    }
}

/// Maps the inconsistency to weights: `M = Att(|Fea_T - Fea_S|)`.
pub trait AttentionModule: Send + Sync {
    /// Name, summary, paper, options.
    fn info(&self) -> ComponentInfo;

    /// The module as a graph with the names of [`attention`].
    ///
    /// # Errors
    /// If options or feature do not fit.
    fn describe(&self, request: &FeatureRequest) -> Result<Graph>;
}

/// Compares the features: mimicking loss and mimicking score.
pub trait MimickingHead: Send + Sync {
    /// Name, summary, paper, options.
    fn info(&self) -> ComponentInfo;

    /// The head as a graph with the names of [`head`].
    ///
    /// # Errors
    /// If options or features do not fit.
    fn describe(&self, request: &FeatureRequest) -> Result<Graph>;
}
