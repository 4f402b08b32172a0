//! The TOML of a run: what may stand in it, its defaults, and errors that name the key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimus_core::error::did_you_mean;
use mimus_core::metrics::Protocol;
use mimus_core::train::{OptimizerSpec, Schedule};
use mimus_core::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::input::Input;
use crate::keys::{self, Table};
use crate::stages;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) run: Run,
    pub(crate) dataset: DatasetTable,
    #[serde(default)]
    pub(crate) input: Input,
    /// One `[model]`, or several as `[[model]]`, each with a baseline and variants of its own.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) model: Vec<Component>,
    #[serde(default)]
    pub(crate) boost: Boost,
    #[serde(default)]
    pub(crate) train: Train,
    #[serde(default)]
    pub(crate) eval: Eval,
    /// Options of backends by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) backend: BTreeMap<String, Table>,
    /// Options of attention modules by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attention: BTreeMap<String, Table>,
    /// Options of mimicking heads by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) head: BTreeMap<String, Table>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// Name of the folder below `out`.
    pub(crate) name: String,
    #[serde(default = "Run::seeds")]
    pub(crate) seeds: Vec<u64>,
    #[serde(default = "Run::backend")]
    pub(crate) backend: String,
    /// The backend that trains; `backend` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<String>,
    /// The backend that scores; `backend` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) eval: Option<String>,
    /// Whether rows may be compared although different backends computed them.
    #[serde(default)]
    pub(crate) compare_backends: bool,
    #[serde(default = "Run::device")]
    pub(crate) device: String,
    /// 0 for as many as the machine has.
    #[serde(default)]
    pub(crate) threads: usize,
    #[serde(default = "Run::out")]
    pub(crate) out: PathBuf,
}

impl Run {
    fn seeds() -> Vec<u64> {
        vec![0]
    }

    fn backend() -> String {
        "candle".to_owned()
    }

    fn device() -> String {
        "auto".to_owned()
    }

    fn out() -> PathBuf {
        PathBuf::from("runs")
    }

    pub(crate) fn threads(&self) -> usize {
        let machine = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.threads == 0 { machine() } else { self.threads }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DatasetTable {
    pub(crate) plugin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<PathBuf>,
    #[serde(flatten)]
    pub(crate) options: Table,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Component {
    pub(crate) plugin: String,
    /// Its name in the tables: needed where two entries use the same plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// The backend of both stages instead of the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// A file with the baseline's weights, which then is not trained; `{group}` in it stands for the group's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weights: Option<PathBuf>,
    /// A file with the weights of the model's pretrained part, or `random`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backbone: Option<String>,
    #[serde(flatten)]
    pub(crate) options: Table,
}

impl Component {
    pub(crate) fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.plugin)
    }
}

/// A value or a list of values: each entry of a list makes one variant.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let list = match toml::Value::deserialize(deserializer)? {
        toml::Value::Array(list) => list,
        value => vec![value],
    };
    let entry = |value: toml::Value| {
        value.try_into().map_err(|error: toml::de::Error| serde::de::Error::custom(error.message()))
    };
    list.into_iter().map(entry).collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Boost {
    /// One variant each.
    pub(crate) attention: Vec<String>,
    /// Heads, or `none`.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) mimicking: Vec<String>,
    /// Weights of the mimicking score in the fused one.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) lambda: Vec<f64>,
    pub(crate) mimicking_weight: f64,
    pub(crate) taps: Vec<String>,
    /// Options of the model that the student has instead of its teacher's, such as widths.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub(crate) student: Table,
    /// The backend that trains students, instead of the one that trained their teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<String>,
    pub(crate) normalize: Normalize,
    pub(crate) student_init: StudentInit,
    pub(crate) train_attention: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) control: Option<Control>,
}

impl Default for Boost {
    fn default() -> Self {
        Self {
            attention: Vec::new(),
            mimicking: vec!["mse".to_owned()],
            lambda: vec![0.5],
            mimicking_weight: 1.0,
            taps: Vec::new(),
            student: Table::new(),
            train: None,
            normalize: Normalize::TrainZ,
            student_init: StudentInit::Random,
            train_attention: true,
            control: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Normalize {
    /// Each score by its mean and deviation over held-out normal images.
    TrainZ,
    /// Raw sum.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StudentInit {
    /// Fresh from the seed.
    Random,
    /// A copy of the teacher.
    Teacher,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Control {
    /// The baseline with twice the epochs: the boost, too, has had two trainings.
    BaselineTwice,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Train {
    pub(crate) epochs: usize,
    pub(crate) batch: usize,
    /// The model's published one where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) learning_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) optimizer: Option<OptimizerSpec>,
    /// The model's published one where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<Schedule>,
    pub(crate) warm_up_steps: usize,
    /// A folder of pictures from which models that synthesise defects take textures; they make their own where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) textures: Option<PathBuf>,
    /// Share of the normal training images that is held out for calibration, at least one image.
    pub(crate) holdout: f64,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            epochs: 60,
            batch: 8,
            learning_rate: None,
            optimizer: None,
            schedule: None,
            warm_up_steps: 0,
            textures: None,
            holdout: 0.1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Eval {
    /// Largest false-positive rate of AUPRO.
    pub(crate) aupro_limit: f64,
    /// What becomes of the scores of a video's frames before they are ranked.
    #[serde(deserialize_with = "protocol")]
    pub(crate) protocol: ProtocolKey,
    /// Whether videos have a row of what motion alone reaches.
    pub(crate) motion_floor: bool,
    /// Resamples of the paired bootstrap.
    pub(crate) resamples: usize,
    pub(crate) confidence: f64,
    /// Whether anomaly maps are written as 32-bit TIFF.
    pub(crate) maps: bool,
    /// Whether anomaly maps are drawn over the pictures.
    pub(crate) overlays: bool,
}

/// A protocol by name, or one of the user's own as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum ProtocolKey {
    Named(String),
    Own(Protocol),
}

impl ProtocolKey {
    /// # Errors
    /// If no protocol has the name, or one of the user's own cannot be followed.
    pub(crate) fn resolve(&self) -> Result<Protocol> {
        let protocol = match self {
            Self::Named(name) => Protocol::named(name),
            Self::Own(protocol) => protocol.verify().map(|()| protocol.clone()),
        };
        protocol.context("key", "eval.protocol")
    }
}

/// By hand, since an untagged enumeration would not say which key is wrong.
fn protocol<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ProtocolKey, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(name) => Ok(ProtocolKey::Named(name)),
        table => table
            .try_into()
            .map(ProtocolKey::Own)
            .map_err(|error: toml::de::Error| serde::de::Error::custom(error.message())),
    }
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            aupro_limit: 0.3,
            protocol: ProtocolKey::Named("clean".to_owned()),
            motion_floor: true,
            resamples: 1000,
            confidence: 0.95,
            maps: false,
            overlays: false,
        }
    }
}

impl Config {
    /// Reads `path` and applies `--set` arguments.
    pub(crate) fn load(path: &Path, sets: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::io("the configuration cannot be read", path, &error).into_kind(mimus_core::ErrorKind::Config)
        })?;
        Self::parse(&text, sets).context("file", path.display())
    }

    pub(crate) fn parse(text: &str, sets: &[String]) -> Result<Self> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| toml_error(&error))?;
        for set in sets {
            keys::apply(&mut table, set).context("--set", set)?;
        }
        let config: Self = toml::Value::Table(table).try_into().map_err(|error| toml_error(&error))?;
        config.check()?;
        Ok(config)
    }

    /// Options of a component that the run does not use are a misspelling.
    pub(crate) fn check_tables_used(&self) -> Result<()> {
        let backends = stages::used(self);
        let tables = [
            ("backend", &self.backend, backends.as_slice()),
            ("attention", &self.attention, self.boost.attention.as_slice()),
            ("head", &self.head, self.boost.mimicking.as_slice()),
        ];
        for (kind, tables, used) in tables {
            if let Some(name) = tables.keys().find(|name| !used.contains(name)) {
                let error =
                    Error::config(format!("the run uses no {kind} `{name}`")).with("table", format!("{kind}.{name}"));
                return Err(match did_you_mean(name, used.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{kind}.{near}`?")),
                    None => error.hint(format!("it uses: {}", used.join(", "))),
                });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let labels: Vec<&str> = self.model.iter().map(Component::label).collect();
        let rules = [
            (is_name(&self.run.name), "run.name", "must be a folder's name"),
            (!self.run.seeds.is_empty(), "run.seeds", "must list one seed at least"),
            (self.train.epochs > 0, "train.epochs", "must be 1 at least"),
            (self.train.batch > 0, "train.batch", "must be 1 at least"),
            (
                self.boost.student.is_empty() || self.boost.student_init == StudentInit::Random,
                "boost.student_init",
                "must be random where boost.student gives the student options of its own",
            ),
            (self.input.height > 0 && self.input.width > 0, "input", "height and width must be 1 at least"),
            ((0.0..=1.0).contains(&self.input.confidence), "input.confidence", "must be from 0 to 1"),
            ((0.0..1.0).contains(&self.train.holdout), "train.holdout", "must be at least 0 and less than 1"),
            (!self.model.is_empty(), "model", "must name one model at least"),
            (!self.boost.lambda.is_empty(), "boost.lambda", "must not be an empty list"),
            (!self.boost.mimicking.is_empty(), "boost.mimicking", "must not be an empty list"),
            (self.boost.lambda.iter().all(|l| (0.0..=1.0).contains(l)), "boost.lambda", "must be from 0 to 1"),
            (distinct(&self.run.seeds), "run.seeds", "must not list a seed twice"),
            (distinct(&self.boost.attention), "boost.attention", "must not list a module twice"),
            (distinct(&self.boost.mimicking), "boost.mimicking", "must not list a head twice"),
            (distinct(&labels), "model.label", "must differ between models that use the same plugin"),
            (
                self.boost.control.is_none() || self.model.iter().all(|model| model.weights.is_none()),
                "boost.control",
                "must not ask for a baseline that is trained twice where model.weights gives one that is not trained here",
            ),
            (labels.iter().all(|label| is_name(label)), "model.label", "must not be empty or hold a slash"),
            (
                self.train.holdout > 0.0 || self.boost.normalize == Normalize::None,
                "train.holdout",
                "must be above 0, since boost.normalize = \"train-z\" is measured on held-out images",
            ),
            (self.boost.mimicking_weight >= 0.0, "boost.mimicking_weight", "must not be negative"),
            (
                self.eval.aupro_limit > 0.0 && self.eval.aupro_limit <= 1.0,
                "eval.aupro_limit",
                "must be above 0, at most 1",
            ),
            (self.eval.confidence > 0.0 && self.eval.confidence < 1.0, "eval.confidence", "must be between 0 and 1"),
            (
                self.train.learning_rate.is_none_or(|lr| lr.is_finite() && lr > 0.0),
                "train.learning_rate",
                "must be positive",
            ),
        ];
        match rules.iter().find(|(holds, ..)| !holds) {
            None => {
                self.eval.protocol.resolve()?;
                stages::check(self)
            }
            Some((_, key, rule)) => Err(Error::config(*rule).with("key", key)),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}

fn distinct<T: PartialEq>(list: &[T]) -> bool {
    list.iter().enumerate().all(|(i, item)| !list[..i].contains(item))
}

/// The message of the parser, with the place, and a suggestion where a name is unknown.
fn toml_error(error: &toml::de::Error) -> Error {
    let message = error.message();
    let result = Error::config(error.to_string().trim().to_owned());
    let mut names = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown"), names.next()) {
        (true, Some(unknown)) => match did_you_mean(unknown, names) {
            Some(near) => result.hint(format!("did you mean `{near}`?")),
            None => result,
        },
        _ => result,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SMALL: &str =
        "[run]\nname = \"a\"\n[dataset]\nplugin = \"synthetic\"\n[model]\nplugin = \"memae\"\n";

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        let error = Config::parse(&format!("{SMALL}[train]\nepohcs = 3\n"), &[]).unwrap_err();
        assert_eq!(error.next_step(), Some("did you mean `epochs`?"));
    }

    #[test]
    fn set_overrides_values_and_makes_tables() {
        let sets = ["train.epochs=3", "model.slots=7", "run.name=b", "boost.attention=[\"ca\"]"].map(str::to_owned);
        let config = Config::parse(SMALL, &sets).unwrap();
        assert_eq!((config.train.epochs, config.run.name.as_str()), (3, "b"));
        assert_eq!(config.model[0].options["slots"].as_integer(), Some(7));
        assert_eq!(config.boost.attention, ["ca"]);
        assert_eq!(config.boost.lambda, [0.5]);
        assert!(Config::parse(SMALL, &["train.epochs".to_owned()]).is_err());
    }

    #[test]
    fn impossible_values_are_refused_with_their_key() {
        let error = Config::parse(SMALL, &["train.epochs=0".to_owned()]).unwrap_err();
        assert_eq!(error.context_value("key"), Some("train.epochs"));
        let own = |weight: &str| format!("eval.protocol={{name=\"own\",parts=[{{output=\"psnr\",weight={weight}}}]}}");
        let error = Config::parse(SMALL, &[own("-1.0")]).unwrap_err();
        assert_eq!(error.context_value("key"), Some("eval.protocol"));
        assert_eq!(error.next_step(), Some("set normalise = \"min-max\""));
        let sets = ["boost.student={width=3}", "boost.student_init=\"teacher\""].map(str::to_owned);
        let error = Config::parse(SMALL, &sets).unwrap_err();
        assert_eq!(error.context_value("key"), Some("boost.student_init"));
        assert_eq!(Config::parse(SMALL, &sets[..1]).unwrap().boost.student["width"].as_integer(), Some(3));
    }
}
