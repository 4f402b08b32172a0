//! What crosses as bytes: requests by name, and replies. CBOR, so that fields may be added.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::plugin::{BackendRequest, Batch, ExportRequest, FeatureRequest, ModelRequest, Options, ProgramId, Split};
use crate::tensor::HostTensor;

/// One call of a component's method, or of an object that a component opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// How many components the library has; the component's number is not looked at.
    Count,
    /// `info` of any component.
    Info,
    /// `Model::describe`.
    DescribeModel(Cow<'a, ModelRequest>),
    /// `Model::prepare`.
    Prepare { request: Cow<'a, ModelRequest>, batch: Batch, seed: u64 },
    /// `AttentionModule::describe` or `MimickingHead::describe`.
    DescribeFragment(Cow<'a, FeatureRequest>),
    /// `Dataset::open`: a handle and the index.
    OpenDataset { root: Option<PathBuf>, options: Cow<'a, Options> },
    /// `OpenDataset::read`.
    ReadSample { group: usize, split: Split, sample: usize },
    /// `Backend::devices`.
    Devices,
    /// `Backend::open`: a handle.
    OpenSession(Cow<'a, BackendRequest>),
    /// `Backend::export`: bytes.
    Export(Cow<'a, ExportRequest>),
    /// `Session::load`.
    Load(Cow<'a, Graph>),
    /// `Session::write`.
    Write { variable: Cow<'a, str>, value: Cow<'a, HostTensor> },
    /// `Session::read`.
    Read { variable: Cow<'a, str> },
    /// `Session::run`.
    Run { program: ProgramId, inputs: Cow<'a, Batch> },
    /// `Session::load_file`.
    LoadFile { bytes: Cow<'a, serde_bytes::Bytes> },
    /// Ends the life of a handle.
    Close,
}

impl Request<'_> {
    /// The method's name in errors.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Count => "components",
            Self::Info => "info",
            Self::DescribeModel(_) | Self::DescribeFragment(_) => "describe",
            Self::Prepare { .. } => "prepare",
            Self::OpenDataset { .. } | Self::OpenSession(_) => "open",
            Self::ReadSample { .. } | Self::Read { .. } => "read",
            Self::Devices => "devices",
            Self::Export(_) => "export",
            Self::Load(_) => "load",
            Self::Write { .. } => "write",
            Self::Run { .. } => "run",
            Self::LoadFile { .. } => "load_file",
            Self::Close => "close",
        }
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| Error::plugin(format!("a message cannot be encoded: {error}")))?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    ciborium::from_reader(bytes).map_err(|error| {
        // Whoever reads the message needs the sentence of an operator or a tensor that does not fit, not the decoder's state.
        let reason = match error {
            ciborium::de::Error::Semantic(_, sentence) => sentence,
            other => other.to_string(),
        };
        Error::plugin(format!("a message of the other side cannot be decoded: {reason}"))
            .hint("plugin and host were built with different versions of mimus-core: rebuild the older one")
    })
}
