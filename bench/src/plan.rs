//! What a run consists of: models, variants, groups and seeds, every name and option checked before anything is computed.

use std::collections::BTreeMap;

use mimus_core::abi::{Entry, Registry};
use mimus_core::boost::{self, BoostOptions, Calibrated, Programs};
use mimus_core::metrics::{Protocol, ScorePart};
use mimus_core::plugin::{
    AttentionModule, Backend, BackendRequest, Dataset, FeatureRequest, Kind, MimickingHead, Model, ModelRequest,
    ModelSpec, OpenDataset, Options, Session,
};
use mimus_core::{Context, Result};
use serde::Serialize;

use crate::config::{Boost, Config, Control, Normalize};
use crate::keys::{self, Table};
use crate::stages::{self, Stages};

/// A component, as the run uses it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part<T> {
    pub(crate) name: String,
    /// SHA-256 of the file that the component comes from.
    pub(crate) sha256: String,
    pub(crate) options: Options,
    #[serde(skip)]
    pub(crate) component: T,
}

/// A row of the comparison.
#[derive(Clone)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
}

/// What is trained for a variant.
#[derive(Clone)]
pub(crate) enum Recipe {
    /// The model alone; the teacher of all boosted variants.
    Baseline,
    /// The model alone with twice the epochs.
    BaselineTwice,
    /// The model boosted.
    Boosted(Box<Boosted>),
    /// Nothing: what motion alone reaches on the same frames. The last of a plan's variants, where there is one.
    MotionFloor,
}

#[derive(Clone)]
pub(crate) struct Boosted {
    pub(crate) attention: Part<&'static dyn AttentionModule>,
    pub(crate) head: Option<Part<&'static dyn MimickingHead>>,
    pub(crate) lambda: f64,
}

/// One `[[model]]`.
pub(crate) struct PlannedModel {
    pub(crate) label: String,
    pub(crate) part: Part<&'static dyn Model>,
    /// Options of the boost's student: the model's, but for those that `boost.student` gives.
    pub(crate) student: Options,
}

/// What a model says of itself as the teacher and as the student of its boosts.
pub(crate) struct Specs {
    pub(crate) teacher: ModelSpec,
    pub(crate) student: ModelSpec,
}

impl Specs {
    /// That of the network which a recipe trains.
    pub(crate) fn of(&self, recipe: &Recipe) -> &ModelSpec {
        if recipe.is_boosted() { &self.student } else { &self.teacher }
    }
}

/// The word that stands for no mimicking head.
const NO_HEAD: &str = "none";

/// Name of the comparison's first row.
pub(crate) const BASELINE: &str = "baseline";

/// Name of the comparison's last row, where the data are videos.
const MOTION_FLOOR: &str = "motion floor";

/// Everything of a run but its data.
pub(crate) struct Lineup {
    pub(crate) config: Config,
    /// SHA-256 of the program: another build may compute other numbers.
    pub(crate) program: String,
    /// Those that a stage of the run uses, by name.
    backends: BTreeMap<String, Part<&'static dyn Backend>>,
    pub(crate) dataset: Part<&'static dyn Dataset>,
    pub(crate) models: Vec<PlannedModel>,
    /// The baseline first.
    pub(crate) variants: Vec<Variant>,
}

/// A run.
pub(crate) struct Plan {
    lineup: Lineup,
    pub(crate) data: Box<dyn OpenDataset>,
}

impl std::ops::Deref for Plan {
    type Target = Lineup;

    fn deref(&self) -> &Lineup {
        &self.lineup
    }
}

impl Plan {
    /// Opens the data set; where it holds videos, the motion floor joins the variants.
    pub(crate) fn new(mut lineup: Lineup) -> Result<Self> {
        let table = &lineup.config.dataset;
        let source = &lineup.dataset;
        let data = source.component.open(table.root.as_deref(), &source.options)?;
        if data.index().groups.is_empty() {
            return Err(mimus_core::Error::data("the data set has no groups").with("dataset", &table.plugin));
        }
        let mut tests = data.index().groups.iter().flat_map(|group| &group.test);
        if lineup.config.eval.motion_floor && tests.any(|info| info.frame.is_some()) {
            lineup.variants.push(Variant { name: MOTION_FLOOR.to_owned(), recipe: Recipe::MotionFloor });
        }
        Ok(Self { lineup, data })
    }

    /// The position of the motion floor among the variants.
    pub(crate) fn motion_floor(&self) -> Option<usize> {
        self.variants.iter().position(|variant| !variant.recipe.is_trained())
    }
}

impl Lineup {
    /// Finds every component, checks every option.
    pub(crate) fn new(config: Config, registry: &Registry) -> Result<Self> {
        let program = crate::files::sha256(&crate::files::program()?)?;
        let finder = Finder { registry, program: &program };
        let empty = Table::new();
        let backend = |name: String| {
            let table = config.backend.get(&name).unwrap_or(&empty);
            let part = finder.part(Kind::Backend, &name, registry.backend(&name)?, table)?;
            Ok((name, part))
        };
        let backends = stages::used(&config).into_iter().map(backend).collect::<Result<_>>()?;
        let table = &config.dataset;
        let source = registry.dataset(&table.plugin).context("key", "dataset.plugin")?;
        let dataset = finder.part(Kind::Dataset, &table.plugin, source, &table.options).context("table", "dataset")?;
        let models = config.model.iter().map(|entry| {
            let model = registry.model(&entry.plugin).context("key", "model.plugin")?;
            let part = finder.part(Kind::Model, &entry.plugin, model, &entry.options).context("table", "model")?;
            let own = entry.options.iter().chain(&config.boost.student);
            let own: Table = own.map(|(key, value)| (key.clone(), value.clone())).collect();
            let student =
                finder.part(Kind::Model, &entry.plugin, model, &own).context("table", "boost.student")?.options;
            Ok(PlannedModel { label: entry.label().to_owned(), part, student })
        });
        let models = models.collect::<Result<_>>()?;
        let variants = finder.variants(&config)?;
        config.check_tables_used()?;
        Ok(Self { program, backends, dataset, models, variants, config })
    }

    /// What a model is asked for, as the teacher of its boosts.
    pub(crate) fn request(&self, model: usize) -> ModelRequest {
        let input = &self.config.input;
        ModelRequest {
            options: self.models[model].part.options.clone(),
            batch: self.config.train.batch,
            height: input.height,
            width: input.width,
        }
    }

    /// What a model is asked for as what a recipe trains.
    pub(crate) fn request_for(&self, model: usize, recipe: &Recipe) -> ModelRequest {
        let request = self.request(model);
        if recipe.is_boosted() {
            ModelRequest { options: self.models[model].student.clone(), ..request }
        } else {
            request
        }
    }

    /// Asks a model what it is as teacher and as student, for a number of samples.
    pub(crate) fn specs(&self, model: usize, batch: usize) -> Result<Specs> {
        let planned = &self.models[model];
        let request = ModelRequest { batch, ..self.request(model) };
        let teacher = planned.part.component.describe(&request).context("model", &planned.label)?;
        let student = if planned.student == request.options {
            teacher.clone()
        } else {
            let request = ModelRequest { options: planned.student.clone(), ..request };
            planned.part.component.describe(&request).context("model", &planned.label).context("part", "student")?
        };
        Ok(Specs { teacher, student })
    }

    /// The backends of a model's variant.
    pub(crate) fn stages(&self, model: usize, recipe: &Recipe) -> Stages {
        match recipe {
            Recipe::MotionFloor => Stages::none(),
            _ => Stages::of(&self.config, model, recipe.is_boosted()),
        }
    }

    /// A session of one of the run's backends.
    pub(crate) fn session(&self, backend: &str) -> Result<Box<dyn Session>> {
        let run = &self.config.run;
        let part = self.backend(backend)?;
        let request =
            BackendRequest { device: run.device.clone(), threads: run.threads(), options: part.options.clone() };
        part.component.open(&request).context("backend", backend)
    }

    /// What of a backend a result may depend on. Threads are not among it.
    pub(crate) fn backend_key(&self, backend: &str) -> Result<(&Part<&'static dyn Backend>, &str)> {
        Ok((self.backend(backend)?, &self.config.run.device))
    }

    fn backend(&self, name: &str) -> Result<&Part<&'static dyn Backend>> {
        self.backends.get(name).ok_or_else(|| mimus_core::Error::backend(format!("no stage of the run uses `{name}`")))
    }
}

/// The position of a group, variant or model among `known`; the first where none is `wanted`.
pub(crate) fn position<'a>(what: &str, wanted: Option<&str>, known: impl Iterator<Item = &'a str>) -> Result<usize> {
    let Some(wanted) = wanted else { return Ok(0) };
    let known: Vec<&str> = known.collect();
    known.iter().position(|name| *name == wanted).ok_or_else(|| {
        let error = mimus_core::Error::config(format!("the run has no {what} `{wanted}`"));
        error.hint(format!("there are: {}", known.join(", ")))
    })
}

impl Recipe {
    pub(crate) fn is_boosted(&self) -> bool {
        matches!(self, Self::Boosted(_))
    }

    /// Whether there is a network behind it; the seed matters only then.
    pub(crate) fn is_trained(&self) -> bool {
        !matches!(self, Self::MotionFloor)
    }

    /// What a protocol adds up to the score of a frame, as outputs of the recipe's evaluation program.
    pub(crate) fn parts(&self, protocol: &Protocol) -> Vec<ScorePart> {
        match self {
            Self::MotionFloor => Vec::new(),
            Self::Baseline | Self::BaselineTwice => protocol.parts.clone(),
            Self::Boosted(boosted) => {
                boosted_parts(&protocol.parts, boosted.head.as_ref().map_or(0.0, |_| boosted.lambda))
            }
        }
    }

    /// Training and evaluation program; the plugins are asked for the shapes that the taps have.
    pub(crate) fn programs(&self, specs: &Specs, how: &Boost) -> Result<Programs> {
        let Self::Boosted(boosted) = self else { return boost::baseline(&specs.teacher) };
        let attention = &boosted.attention;
        let attention = |asked: FeatureRequest| {
            let request = FeatureRequest { options: attention.options.clone(), ..asked };
            attention.component.describe(&request).context("attention", &attention.name)
        };
        let head = boosted.head.as_ref().map(|head| {
            move |asked: FeatureRequest| {
                let request = FeatureRequest { options: head.options.clone(), ..asked };
                head.component.describe(&request).context("head", &head.name)
            }
        });
        let options = BoostOptions {
            taps: how.taps.clone(),
            lambda: boosted.lambda,
            mimicking_weight: how.mimicking_weight,
            standardise: how.normalize == Normalize::TrainZ,
            train_attention: how.train_attention,
        };
        let head = head.as_ref().map(|head| head as &boost::Fragment<'_>);
        boost::boost(&specs.teacher, &specs.student, &attention, head, &options)
    }
}

/// Parts of a boosted system's score. A protocol's own are `S_o`, each measured on the student; the mimicking score is one part more, so that
/// `S_total = lambda * S_fea + (1 - lambda) * S_o` holds with all of them in the protocol's scale instead of the calibration's. `S_fea` reaches
/// as far as the others together.
fn boosted_parts(parts: &[ScorePart], lambda: f64) -> Vec<ScorePart> {
    let part = |from: &str, output: &str, weight| ScorePart { output: format!("{from}.{output}"), weight };
    let reach: f64 = parts.iter().map(|part| part.weight.abs()).sum();
    let task = parts.iter().map(|own| part(Calibrated::TASK, &own.output, (1.0 - lambda) * own.weight));
    task.chain([part(Calibrated::MIMICKING, "score", lambda * reach)]).filter(|part| part.weight != 0.0).collect()
}

struct Finder<'a> {
    registry: &'a Registry,
    program: &'a str,
}

impl Finder<'_> {
    fn part<T>(&self, kind: Kind, name: &str, component: T, table: &Table) -> Result<Part<T>> {
        let entry: &Entry = self.registry.find(kind, name)?;
        let options = keys::options(&entry.info.options, table).context(kind.name(), name)?;
        let sha256 = entry.library.as_ref().map_or(self.program, |library| &library.sha256).to_owned();
        Ok(Part { name: name.to_owned(), sha256, options, component })
    }

    fn variants(&self, config: &Config) -> Result<Vec<Variant>> {
        let boost = &config.boost;
        let mut variants = vec![Variant { name: BASELINE.to_owned(), recipe: Recipe::Baseline }];
        if boost.control == Some(Control::BaselineTwice) {
            variants.push(Variant { name: "baseline-twice".to_owned(), recipe: Recipe::BaselineTwice });
        }
        let empty = Table::new();
        for name in &boost.attention {
            let options = config.attention.get(name).unwrap_or(&empty);
            let module = self.registry.attention(name).context("key", "boost.attention")?;
            let attention = self.part(Kind::Attention, name, module, options)?;
            for mimicking in &boost.mimicking {
                let head = match mimicking.as_str() {
                    NO_HEAD => None,
                    name => {
                        let head = self.registry.head(name).context("key", "boost.mimicking")?;
                        Some(self.part(Kind::Head, name, head, config.head.get(name).unwrap_or(&empty))?)
                    }
                };
                for lambda in &boost.lambda {
                    let mut label = name.clone();
                    label += &if boost.mimicking.len() > 1 { format!("+{mimicking}") } else { String::new() };
                    label += &if boost.lambda.len() > 1 { format!("+lambda={lambda}") } else { String::new() };
                    let boosted = Boosted { attention: attention.clone(), head: head.clone(), lambda: *lambda };
                    variants.push(Variant { name: label, recipe: Recipe::Boosted(Box::new(boosted)) });
                }
            }
        }
        Ok(variants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mimicking_score_is_a_part_beside_those_of_the_student() {
        let parts = |name: &str, lambda| {
            let found = boosted_parts(&Protocol::named(name).unwrap().parts, lambda);
            found.into_iter().map(|part| format!("{:.2} {}", part.weight, part.output)).collect::<Vec<_>>()
        };
        assert_eq!(parts("mnad", 0.25), ["-0.45 task.psnr", "0.30 task.compactness", "0.25 mimicking.score"]);
        assert_eq!(parts("frame-prediction", 0.0), ["-1.00 task.psnr"]);
        assert_eq!(parts("mnad", 1.0), ["1.00 mimicking.score"]);
        assert!(parts("clean", 0.25).is_empty());
    }
}
