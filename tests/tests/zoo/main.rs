//! Every detector with every attention module and every mimicking head that is a plugin: what the registry has is found, boosted, trained
//! for two steps of every stage on candle, twice, and on the reference interpreter.

mod feed;
mod run;
mod tiny;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::abi::Registry;
use mimus_core::boost::{ATTENTION, BoostOptions, Programs, STUDENT, TEACHER, baseline, boost};
use mimus_core::plugin::{Backend, FeatureRequest, Kind, ModelSpec, Options, Reference};
use mimus_core::{Context, Error, HostData, HostTensor, Result};

use feed::Feed;
use run::{State, Trained, first_values, score, train};
use tiny::Detector;

/// Largest difference of a loss on candle from that on the interpreter, as a part of it: of the first loss, and of those behind an update. There
/// Adam has made steps of full size of gradients that are rounding noise: the golden data's README measures up to 9e-3 for DRAEM.
const TOLERANCES: [f64; 2] = [1e-5, 1e-2];

/// Largest difference of the scores of two programs that compute the same.
const SAME: f64 = 1e-6;

/// All plugins, and how small they can be.
struct Zoo {
    plugins: Registry,
    models: BTreeMap<String, Detector>,
    attentions: BTreeMap<String, Options>,
    heads: BTreeMap<String, Options>,
}

impl Zoo {
    fn open() -> Result<Self> {
        let plugins = mimus_tests::plugins()?;
        Ok(Self {
            models: tiny::models(&plugins)?,
            attentions: tiny::fragments(&plugins, Kind::Attention)?,
            heads: tiny::fragments(&plugins, Kind::Head)?,
            plugins,
        })
    }

    /// A detector with all attention modules and heads.
    fn a_detector_works_with_every_attention_and_head(&self, name: &str) -> Result<()> {
        let Detector { request, student, tolerances } =
            self.models.get(name).ok_or_else(|| Error::plugin("there is no such model"))?;
        let model = self.plugins.model(name)?;
        let spec = model.describe(request)?;
        let feed = Feed { model, request, spec: &spec };
        let candle = self.plugins.backend("candle")?;
        let tolerances = tolerances.unwrap_or(TOLERANCES);
        let pair =
            |attention, head| Pair { zoo: self, attention, head, teacher: &spec, feed, taps: &[], candle, tolerances };
        for attention in self.attentions.keys() {
            for head in self.heads.keys() {
                pair(attention, head).check()?;
            }
        }
        let all: Vec<String> = spec.taps.iter().map(|tap| tap.name.clone()).collect();
        Pair { taps: &all, ..pair("sca", "mse") }.check().context("taps", all.join(", "))?;
        let Some(request) = student else { return Ok(()) };
        let own = model.describe(request)?;
        let feed = Feed { model, request, spec: &own };
        Pair { taps: &all, feed, ..pair("sca", "relational") }.check().context("student", "of other widths")
    }
}

/// A detector with one attention module and one head.
struct Pair<'a> {
    zoo: &'a Zoo,
    attention: &'a str,
    head: &'a str,
    teacher: &'a ModelSpec,
    /// Of the student.
    feed: Feed<'a>,
    /// None for the detector's natural one.
    taps: &'a [String],
    candle: &'static dyn Backend,
    tolerances: [f64; 2],
}

impl Pair<'_> {
    fn programs(&self, lambda: f64) -> Result<Programs> {
        let plugins = &self.zoo.plugins;
        let (module, head) = (plugins.attention(self.attention)?, plugins.head(self.head)?);
        let options = |known: &BTreeMap<String, Options>, name: &str| known.get(name).cloned().unwrap_or_default();
        let attention = |asked: FeatureRequest| {
            module.describe(&FeatureRequest { options: options(&self.zoo.attentions, self.attention), ..asked })
        };
        let mimicking = |asked: FeatureRequest| {
            head.describe(&FeatureRequest { options: options(&self.zoo.heads, self.head), ..asked })
        };
        let how = BoostOptions {
            taps: self.taps.to_vec(),
            lambda,
            mimicking_weight: 1.0,
            standardise: false,
            train_attention: true,
        };
        boost(self.teacher, self.feed.spec, &attention, Some(&mimicking), &how)
    }

    fn check(&self) -> Result<()> {
        self.agrees().context("head", self.head).context("attention", self.attention)
    }

    fn agrees(&self) -> Result<()> {
        let programs = self.programs(0.5)?;
        let trained = train(self.candle, self.feed, &programs)?;
        finite(&trained)?;
        if train(self.candle, self.feed, &programs)? != trained {
            return Err(Error::backend("a second training has other bits"));
        }
        let oracle = train(&Reference, self.feed, &programs)?;
        let first = |losses: &[f32]| losses.iter().copied().take(1).collect::<Vec<f32>>();
        near("the first loss", &first(&trained.losses), &first(&oracle.losses), self.tolerances[0])?;
        near("a later loss", &trained.losses, &oracle.losses, self.tolerances[1])?;
        changes(&programs, &trained.state)?;
        let scores = |lambda| score(self.candle, self.feed, &self.programs(lambda)?.eval, &trained.state);
        let (task, fused) = (scores(0.0)?, scores(0.75)?);
        if task == fused || fused == trained.scores {
            return Err(Error::backend(format!("lambda does not change the scores {fused:?}")));
        }
        if self.attention == "none" { self.is_the_student(&task, &trained.state) } else { Ok(()) }
    }

    /// Without attention and mimicking score the boosted system scores as the plain student with the same variables.
    fn is_the_student(&self, scores: &[f32], state: &State) -> Result<()> {
        let prefix = format!("{STUDENT}.");
        let own = |(name, value): (&String, &HostTensor)| Some((name.strip_prefix(&prefix)?.to_owned(), value.clone()));
        let state = state.iter().filter_map(own).collect();
        let plain = score(self.candle, self.feed, &baseline(self.feed.spec)?.eval, &state)?;
        near("a score of the plain student", scores, &plain, SAME)
    }
}

fn finite(trained: &Trained) -> Result<()> {
    let numbers = |value: &HostTensor| match value.data() {
        HostData::F32(values) => values.iter().all(|x| x.is_finite()),
        HostData::I64(_) => true,
    };
    if let Some((name, _)) = trained.state.iter().find(|(_, value)| !numbers(value)) {
        return Err(Error::backend(format!("`{name}` is no number after the training")));
    }
    if trained.losses.is_empty() || !trained.losses.iter().chain(&trained.scores).all(|x| x.is_finite()) {
        return Err(Error::backend(format!("losses {:?}, scores {:?}", trained.losses, trained.scores)));
    }
    Ok(())
}

fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f64) -> Result<()> {
    let close =
        |(found, expected): (&f32, &f32)| f64::from((found - expected).abs()) <= tolerance * f64::from(expected.abs());
    if found.len() == expected.len() && found.iter().zip(expected).all(close) {
        return Ok(());
    }
    Err(Error::backend(format!("{what} is not what it should be: {found:?}, expects {expected:?}")))
}

/// The teacher keeps its bits, as does whatever no turn trains or assigns; every turn trains something of the student's, and what the
/// attention learns moves with it.
fn changes(programs: &Programs, state: &State) -> Result<()> {
    let graphs: Vec<_> = programs.stages.iter().flat_map(|stage| &stage.turns).map(|turn| &turn.graph).collect();
    let first = first_values(graphs.iter().copied())?;
    let changed = |name: &str| state.get(name).is_some_and(|value| first.get(name) != Some(value));
    let mut allowed: Vec<String> =
        graphs.iter().flat_map(|graph| graph.assignments.iter().map(|named| named.name.clone())).collect();
    for turn in programs.stages.iter().flat_map(|stage| &stage.turns) {
        let trained = turn.step()?.trained;
        if !trained.iter().any(|name| name.starts_with(STUDENT) && changed(name)) {
            return Err(Error::backend("a turn changes nothing of the student's").with("turn", &turn.name));
        }
        let attention: Vec<&String> = trained.iter().filter(|name| name.starts_with(ATTENTION)).collect();
        if !attention.is_empty() && !attention.iter().any(|name| changed(name)) {
            return Err(Error::backend("the attention does not learn").with("turn", &turn.name));
        }
        allowed.extend(trained);
    }
    let moved = first.keys().find(|name| changed(name) && !allowed.contains(name));
    let teacher = allowed.iter().find(|name| name.starts_with(TEACHER));
    match moved.or(teacher) {
        Some(name) => Err(Error::backend(format!("`{name}` changes, which nothing trains"))),
        None => Ok(()),
    }
}

fn trials() -> Result<Vec<Trial>> {
    let zoo = Arc::new(Zoo::open()?);
    let names: Vec<String> = zoo.models.keys().cloned().collect();
    let trial = |name: String| {
        let zoo = Arc::clone(&zoo);
        Trial::test(name.clone(), move || {
            zoo.a_detector_works_with_every_attention_and_head(&name).map_err(Failed::from)
        })
    };
    Ok(names.into_iter().map(trial).collect())
}

fn main() -> ExitCode {
    let trials = trials().unwrap_or_else(|error| vec![Trial::test("plugins", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
