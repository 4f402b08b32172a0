//! A data set: an index of samples, known without decoding anything, and samples read one at a time from any thread.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ComponentInfo, OptionSpec, Options};
use crate::error::{Error, Result, did_you_mean};

/// A kind of data set.
pub trait Dataset: Send + Sync {
    /// Name, summary, paper, options.
    fn info(&self) -> ComponentInfo;

    /// Opens the data set below `root` (`None` where the TOML gives none: generated data).
    ///
    /// # Errors
    /// If something that the layout promises is not there, ambiguous or contradictory; names the folder or file.
    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>>;
}

/// A data set that was found and listed.
pub trait OpenDataset: Send + Sync {
    /// What there is. Cheap after opening.
    fn index(&self) -> &Index;

    /// Decodes one sample: `group` and `sample` are positions in the index.
    ///
    /// # Errors
    /// If the file cannot be read or contradicts the index; names the file.
    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample>;
}

/// The option by which a user takes some of a data set's groups: the same key for every data set that has several.
pub fn groups_option() -> OptionSpec {
    OptionSpec::texts("groups", &[], "groups to use, by name; empty for all")
}

/// Those of the `known` groups that the option [`groups_option`] asks for, in the order of `known`.
///
/// # Errors
/// If a group is asked for that is not there; suggests the nearest.
pub fn selected_groups(options: &Options, known: Vec<String>) -> Result<Vec<String>> {
    let wanted = options.texts("groups")?;
    for name in wanted {
        if !known.contains(name) {
            let hint = match did_you_mean(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", known.join(", ")),
            };
            return Err(Error::config(format!("there is no group \"{name}\"")).with("key", "groups").hint(hint));
        }
    }
    Ok(known.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)).collect())
}

/// What a data set holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Independent problems, each with a model of its own: categories, scenes.
    pub groups: Vec<Group>,
    /// Changes whenever the content changes: part of every result's key.
    pub fingerprint: String,
}

/// One category or scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name in the TOML and the tables: `bottle`.
    pub name: String,
    /// Normal samples to learn from, in a fixed order.
    pub train: Vec<SampleInfo>,
    /// Samples to judge, in a fixed order.
    pub test: Vec<SampleInfo>,
    /// Whether pixel metrics are defined: every anomalous test sample has a mask.
    pub has_masks: bool,
}

impl Group {
    /// The samples of a split.
    pub fn samples(&self, split: Split) -> &[SampleInfo] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }
}

/// Which part of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Normal samples to learn from.
    Train,
    /// Samples to judge.
    Test,
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

/// What is known of a sample without decoding it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleInfo {
    /// Unique within the group and stable: the path below the group's folder, without extension (`test/crack/003`).
    pub id: String,
    /// The file, or what stands for it in messages.
    pub path: PathBuf,
    /// The kind of defect (`crack`), `good` for normal samples.
    pub defect: String,
    /// Whether the sample is anomalous.
    pub anomalous: bool,
    /// The mask's file, if there is one.
    pub mask: Option<PathBuf>,
    /// Clip and frame number, for video.
    pub frame: Option<(String, u64)>,
}

/// A decoded sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The picture.
    pub pixels: Pixels,
    /// Anomalous pixels, row-major, nonzero where anomalous, same height and width as the picture; `None` where the sample has no mask.
    pub mask: Option<serde_bytes::ByteBuf>,
}

/// 8-bit picture, row-major, channels last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pixels {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// 1 (gray) or 3 (red, green, blue).
    pub channels: usize,
    /// `height * width * channels` bytes.
    pub bytes: serde_bytes::ByteBuf,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plugin::OptionValue;

    fn selection(wanted: &[&str]) -> Result<Vec<String>> {
        let wanted = OptionValue::Texts(wanted.iter().map(|name| (*name).to_owned()).collect());
        let options = Options::resolve(&[groups_option()], BTreeMap::from([("groups".to_owned(), wanted)]))?;
        selected_groups(&options, ["bottle", "cable", "screw"].map(str::to_owned).to_vec())
    }

    #[test]
    fn no_selection_takes_all_groups_and_a_selection_keeps_the_data_sets_order() {
        assert_eq!(selection(&[]).unwrap(), ["bottle", "cable", "screw"]);
        assert_eq!(selection(&["screw", "bottle"]).unwrap(), ["bottle", "screw"]);
    }

    #[test]
    fn an_unknown_group_is_refused_with_a_suggestion() {
        let error = selection(&["botle"]).unwrap_err();
        assert_eq!(error.to_string(), "key `groups`: there is no group \"botle\"\n  hint: did you mean \"bottle\"?");
        assert_eq!(selection(&["x"]).unwrap_err().next_step(), Some("there are: bottle, cable, screw"));
    }
}
