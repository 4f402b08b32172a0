//! The keys of a run that say what a model sees: size, and where regions and flow come from.

use std::path::{Path, PathBuf};

use mimus_motion::proposals::Proposals;
use serde::{Deserialize, Serialize};

/// What every picture becomes before the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Input {
    /// Height in pixels.
    pub(crate) height: usize,
    /// Width in pixels.
    pub(crate) width: usize,
    /// How much of the decoded frames is kept in memory, in MiB; no result depends on it.
    pub(crate) memory_mib: usize,
    /// Where the regions are that models of objects see.
    pub(crate) regions: Origin,
    /// How the built-in method finds them: the name of published numbers, or a table.
    #[serde(deserialize_with = "named_proposals")]
    pub(crate) proposals: Proposals,
    /// Boxes of a detector with a score up to this are dropped.
    pub(crate) confidence: f64,
    /// Where optical flow comes from.
    pub(crate) flow: Origin,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            height: 256,
            width: 256,
            memory_mib: 256,
            regions: Origin::BuiltIn,
            proposals: Proposals::default(),
            confidence: 0.5,
            flow: Origin::BuiltIn,
        }
    }
}

/// What is found by a built-in method or a network that the user names, or read from the user's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Origin {
    #[default]
    BuiltIn,
    /// An ONNX file.
    Network(PathBuf),
    /// A file of another kind, or a folder.
    Files(PathBuf),
}

const BUILT_IN: &str = "built-in";

impl From<String> for Origin {
    fn from(text: String) -> Self {
        let path = PathBuf::from(&text);
        match path.extension() {
            _ if text == BUILT_IN => Self::BuiltIn,
            Some(ending) if ending.eq_ignore_ascii_case("onnx") => Self::Network(path),
            _ => Self::Files(path),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::BuiltIn => BUILT_IN.to_owned(),
            Origin::Network(path) | Origin::Files(path) => path.display().to_string(),
        }
    }
}

impl Origin {
    /// What the user names.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn => None,
            Self::Network(path) | Self::Files(path) => Some(path),
        }
    }
}

fn named_proposals<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Proposals, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(name) => {
            Proposals::named(&name).map_err(|error| serde::de::Error::custom(error.one_line()))
        }
        table => table.try_into().map_err(|error: toml::de::Error| serde::de::Error::custom(error.message())),
    }
}
