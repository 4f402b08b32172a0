//! What a plugin author implements: five traits, and the plain data that they exchange with the host.
//!
//! A component never touches a tensor library, a file that it was not given, or the command line. Everything that
//! crosses the boundary is data: graphs, options, samples, host tensors.

mod backend;
mod dataset;
mod fragment;
mod model;
pub mod names;
mod options;
mod reference;

use serde::{Deserialize, Serialize};

pub use backend::{Backend, BackendRequest, DeviceInfo, ExportRequest, FileOutput, LoadedFile, ProgramId, Session};
pub use dataset::{
    Dataset, Group, Index, OpenDataset, Pixels, Sample, SampleInfo, Split, groups_option, selected_groups,
};
pub use fragment::{AttentionModule, FeatureRequest, MimickingHead, attention, head};
pub use model::{
    Batch, Clip, Color, EMPTY_SCORE, Edge, Fill, InputSpec, Model, ModelRequest, ModelSpec, Preprocessing, Pretrained,
    STATISTICS, TapSpec,
};
pub use options::{OptionKind, OptionSpec, OptionValue, Options};
pub use reference::Reference;

/// The kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A detector: [`Model`].
    Model,
    /// An attention module: [`AttentionModule`].
    Attention,
    /// A mimicking head: [`MimickingHead`].
    Head,
    /// A data set: [`Dataset`].
    Dataset,
    /// A compute backend: [`Backend`].
    Backend,
}

impl Kind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 5] = [Self::Model, Self::Attention, Self::Head, Self::Dataset, Self::Backend];

    /// The kind's name in tables and TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Attention => "attention",
            Self::Head => "head",
            Self::Dataset => "dataset",
            Self::Backend => "backend",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentInfo {
    /// Which trait it implements.
    pub kind: Kind,
    /// Its name in the TOML: `memae`, `sca`, `mvtec`.
    pub name: String,
    /// One line on what it is.
    pub summary: String,
    /// The publication that it implements, if any.
    pub paper: Option<String>,
    /// Licence and origin of published weights, if there are any.
    pub weights: Option<String>,
    /// The keys that it understands.
    pub options: Vec<OptionSpec>,
}

impl ComponentInfo {
    /// A component without paper and options; see the `with_` methods.
    pub fn new(kind: Kind, name: &str, summary: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            summary: summary.to_owned(),
            paper: None,
            weights: None,
            options: Vec::new(),
        }
    }

    /// Names the publication.
    #[must_use]
    pub fn with_paper(mut self, paper: &str) -> Self {
        self.paper = Some(paper.to_owned());
        self
    }

    /// Says under which licence the authors publish trained weights, and where.
    #[must_use]
    pub fn with_weights(mut self, weights: &str) -> Self {
        self.weights = Some(weights.to_owned());
        self
    }

    /// Adds an option.
    #[must_use]
    pub fn with_option(mut self, option: OptionSpec) -> Self {
        self.options.push(option);
        self
    }
}
