//! One cell: a variant of a model on a group with a seed, trained, calibrated and scored, each at most once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mimus_core::boost::{Programs, STUDENT, TEACHER};
use mimus_core::metrics::ScorePart;
use mimus_core::plugin::{Group, ModelSpec};
use mimus_core::train::STATE_PREFIX;
use mimus_core::{Context, Error, ErrorKind, Graph, HostTensor, Result};
use serde::{Deserialize, Serialize};

use crate::config::StudentInit;
use crate::cost::{self, Cost};
use crate::folder::{Folder, plain};
use crate::material::{self, Material};
use crate::plan::{Plan, Recipe, Specs, Variant};
use crate::score_maps::{self, ScoreMaps};
use crate::scorer::Scorer;
use crate::stages::Stages;
use crate::store::{self, Checkpoint, Tensors};
use crate::trainer::Training;
use crate::weights::{Backbone, Imported};
use crate::{files, images};

/// Everything that the cells of one model on one group share.
pub(crate) struct Workshop<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) folder: &'a Folder,
    pub(crate) model: usize,
    pub(crate) group: usize,
    specs: Specs,
    /// The baseline's weights, where they are not trained here.
    pub(crate) imported: Option<Imported>,
    /// With what the model's pretrained part begins.
    backbone: Backbone,
}

/// What scoring leaves behind.
pub(crate) struct Scores {
    /// One for each test image that the model judges.
    pub(crate) scores: Vec<f32>,
    /// Other outputs of the evaluation program of which the protocol makes their scores, by name; empty if it lacks one of them.
    pub(crate) parts: BTreeMap<String, Vec<f32>>,
    /// Their maps, if the model has them.
    pub(crate) maps: Option<ScoreMaps>,
    /// Scores of the held-out normal images.
    pub(crate) normal: Vec<f32>,
    /// Values of the calibration's buffers.
    pub(crate) calibration: Tensors,
    pub(crate) cost: Cost,
}

/// Seconds of training so far.
#[derive(Default, Serialize, Deserialize)]
struct Effort {
    seconds: f64,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
/// Beside a checkpoint that was not trained here: where it comes from.
const ORIGIN: &str = "origin.json";
const SCORE: &str = "score";
/// Prefix of what is kept beside the score.
const PART: &str = "part.";
/// Height and width of every map, `[N, 2]`; the maps themselves are in a file of their own.
const EXTENTS: &str = "score_map.extents";
const MAPS: &str = "score_maps";
const NORMAL: &str = "normal_score";

impl<'a> Workshop<'a> {
    /// Asks the model what it is.
    pub(crate) fn new(plan: &'a Plan, folder: &'a Folder, model: usize, group: usize) -> Result<Self> {
        let specs = plan.specs(model, plan.config.train.batch)?;
        let spec = &specs.teacher;
        let name = &plan.data.index().groups[group].name;
        let imported = match plan.config.model.get(model).and_then(|entry| entry.weights.as_deref()) {
            Some(path) => Some(Imported::load(path, name, spec).context("key", "model.weights")?),
            None => None,
        };
        let named = plan.config.model.get(model).and_then(|entry| entry.backbone.as_deref());
        let backbone = match (&imported, named) {
            (Some(imported), None) => Backbone::of(&imported.variables, spec),
            _ => Backbone::load(named, spec).context("key", "model.backbone")?,
        };
        Ok(Self { plan, folder, model, group, specs, imported, backbone })
    }

    pub(crate) fn data(&self) -> &Group {
        &self.plan.data.index().groups[self.group]
    }

    /// Training and evaluation program of a variant.
    fn programs(&self, variant: &Variant) -> Result<Programs> {
        variant.recipe.programs(&self.specs, &self.plan.config.boost)
    }

    /// The model and the program that score. State that evaluation itself changes makes the order of samples count: one at a time.
    fn judge(&self, variant: &Variant) -> Result<(ModelSpec, Graph)> {
        let one_by_one = !self.specs.of(&variant.recipe).eval.assignments.is_empty();
        let again = one_by_one.then(|| self.plan.specs(self.model, 1)).transpose()?;
        let specs = again.as_ref().unwrap_or(&self.specs);
        let eval = variant.recipe.programs(specs, &self.plan.config.boost)?.eval;
        Ok((specs.of(&variant.recipe).clone(), eval))
    }

    /// What the protocol adds up to the scores of a variant: see [`Recipe::parts`].
    pub(crate) fn parts(&self, variant: &Variant) -> Result<Vec<ScorePart>> {
        Ok(variant.recipe.parts(&self.plan.config.eval.protocol.resolve()?))
    }

    /// The parts that are kept of a variant: all, or none if its program lacks one or judges regions.
    fn kept(&self, variant: &Variant, eval: &Graph) -> Result<Vec<String>> {
        let names: Vec<String> = self.parts(variant)?.into_iter().map(|part| part.output).collect();
        if self.spec().takes_regions() || names.iter().any(|name| eval.output(name).is_none()) {
            return Ok(Vec::new());
        }
        let score = eval.ty(eval.expect_output(SCORE)?);
        for name in &names {
            let ty = eval.ty(eval.expect_output(name)?);
            if ty != score {
                return Err(Error::config(format!("the output `{name}` is {ty}, and a part of the score is {score}"))
                    .with("key", "eval.protocol")
                    .hint("name outputs that have one value for each sample"));
            }
        }
        Ok(names)
    }

    fn stages(&self, variant: &Variant) -> Stages {
        self.plan.stages(self.model, &variant.recipe)
    }

    fn epochs(&self, variant: &Variant) -> usize {
        let epochs = self.plan.config.train.epochs;
        match (&variant.recipe, &self.imported) {
            (Recipe::Baseline, Some(_)) => 0,
            (Recipe::BaselineTwice, _) => 2 * epochs,
            _ => epochs,
        }
    }

    /// The weights of a variant that is not trained here.
    fn imported(&self, variant: &Variant) -> Option<&Imported> {
        self.imported.as_ref().filter(|_| matches!(variant.recipe, Recipe::Baseline))
    }

    /// Units of work for the progress: images that training sees.
    pub(crate) fn work(plan: &Plan, group: usize, variant: &Variant) -> u64 {
        let factor = match variant.recipe {
            Recipe::BaselineTwice => 2,
            Recipe::MotionFloor => 0,
            _ => 1,
        };
        (plan.data.index().groups[group].train.len() * plan.config.train.epochs * factor) as u64
    }

    /// What tells the data of a group, as the model sees them, from others.
    fn data_key(&self) -> Result<impl Serialize + '_> {
        let plan = self.plan;
        let seen = material::key(&plan.config.input, self.spec())?;
        Ok((&plan.dataset, &plan.data.index().fingerprint, &self.data().name, seen))
    }

    /// Hash of all that the trained variables depend on.
    fn training_key(&self, variant: &Variant, seed: u64) -> Result<String> {
        let (plan, config) = (self.plan, &self.plan.config);
        let data = self.data_key()?;
        let training = (&config.train, self.epochs(variant), seed);
        let boosted = match &variant.recipe {
            Recipe::Baseline | Recipe::BaselineTwice | Recipe::MotionFloor => None,
            Recipe::Boosted(boosted) => {
                let how = &config.boost;
                let student = &plan.models[self.model].student;
                let options = (&how.taps, student, how.mimicking_weight, how.student_init, how.train_attention);
                let teacher = plan.backend_key(&plan.stages(self.model, &Recipe::Baseline).train)?;
                Some((&boosted.attention, &boosted.head, options, teacher))
            }
        };
        let model = &plan.models[self.model].part;
        let backend = plan.backend_key(&self.stages(variant).train)?;
        let weights = self.imported.as_ref().map(|imported| &imported.origin.sha256);
        key(&(&plan.program, backend, model, data, training, boosted, weights, &self.backbone.sha256))
    }

    fn name(&self, variant: &str, seed: u64, key: &str) -> String {
        let label = &self.plan.models[self.model].label;
        let short = key.get(..16).unwrap_or(key);
        plain(&format!("{label}-{}-{variant}-s{seed}-{short}", self.data().name))
    }

    fn trained(&self, variant: &Variant, seed: u64) -> Result<PathBuf> {
        let key = self.training_key(variant, seed)?;
        // Variants that differ in their score alone share a training.
        let family = match &variant.recipe {
            Recipe::Boosted(boosted) => {
                let head = boosted.head.as_ref().map_or("none", |head| head.name.as_str());
                format!("{}+{head}", boosted.attention.name)
            }
            _ => variant.name.clone(),
        };
        Ok(self.folder.path("trained").join(self.name(&family, seed, &key)))
    }

    fn scored(&self, variant: &Variant, seed: u64) -> Result<PathBuf> {
        let lambda = match &variant.recipe {
            Recipe::Boosted(boosted) => Some((boosted.lambda, self.plan.config.boost.normalize)),
            _ => None,
        };
        let key = if variant.recipe.is_trained() {
            let backend = self.plan.backend_key(&self.stages(variant).eval)?;
            let parts: Vec<String> = self.parts(variant)?.into_iter().map(|part| part.output).collect();
            key(&(self.training_key(variant, seed)?, backend, lambda, parts))?
        } else {
            key(&(&self.plan.program, self.data_key()?, &self.spec().clip))?
        };
        Ok(self.folder.path("cells").join(self.name(&variant.name, seed, &key)))
    }

    /// Whether training has reached its end.
    pub(crate) fn is_trained(&self, variant: &Variant, seed: u64) -> Result<bool> {
        if self.imported(variant).is_some() {
            return Ok(true);
        }
        let checkpoint = Checkpoint::load(&self.trained(variant, seed)?.join(CHECKPOINT))?;
        Ok(checkpoint.is_some_and(|checkpoint| checkpoint.epochs >= self.epochs(variant)))
    }

    /// Trains a variant, or takes what an earlier process reached. `progress` is told of each epoch: its number and its mean loss.
    pub(crate) fn train(
        &self,
        variant: &Variant,
        seed: u64,
        material: &Material<'_>,
        progress: &mut dyn FnMut(usize, f64),
    ) -> Result<Checkpoint> {
        let folder = self.trained(variant, seed)?;
        let path = folder.join(CHECKPOINT);
        let epochs = self.epochs(variant);
        if let Some(checkpoint) = Checkpoint::load(&path)?.filter(|checkpoint| checkpoint.epochs >= epochs) {
            return Ok(checkpoint);
        }
        if let Some(imported) = self.imported(variant) {
            let checkpoint = Checkpoint { variables: imported.variables.clone(), ..Checkpoint::default() };
            write_json(&folder.join(ORIGIN), &imported.origin)?;
            checkpoint.save(&path)?;
            return Ok(checkpoint);
        }
        let programs = self.programs(variant)?;
        let training = Training {
            model: self.plan.models[self.model].part.component,
            request: &self.plan.request_for(self.model, &variant.recipe),
            spec: self.specs.of(&variant.recipe),
            stages: &programs.stages,
            options: &self.plan.config.train,
            epochs,
            seed,
            samples: &material.fit,
            textures: &material.textures,
            first: &self.first(variant, seed)?,
        };
        let effort = folder.join("effort.json");
        let before: Effort = read_json(&effort)?;
        let start = Instant::now();
        let mut trouble = Ok(());
        let mut session = self.plan.session(&self.stages(variant).train)?;
        let checkpoint = training.run(session.as_mut(), &path, &mut |epoch, loss| {
            let seconds = before.seconds + start.elapsed().as_secs_f64();
            if trouble.is_ok() {
                trouble = write_json(&effort, &Effort { seconds });
            }
            progress(epoch, loss);
        })?;
        trouble.map(|()| checkpoint)
    }

    /// The values with which a variant begins, where they are not drawn: the pretrained part's, the teacher's, and the student's on request.
    fn first(&self, variant: &Variant, seed: u64) -> Result<Tensors> {
        if !matches!(variant.recipe, Recipe::Boosted(_)) {
            return Ok(self.backbone.variables.clone());
        }
        let student = |(name, value): (&String, &HostTensor)| (format!("{STUDENT}.{name}"), value.clone());
        let mut first: Tensors = self.backbone.variables.iter().map(student).collect();
        let path = self.trained(&self.plan.variants[0], seed)?.join(CHECKPOINT);
        let epochs = self.epochs(&self.plan.variants[0]);
        let teacher = Checkpoint::load(&path)?.filter(|teacher| teacher.epochs >= epochs);
        let teacher = teacher
            .ok_or_else(|| Error::new(ErrorKind::Io, "its teacher, the baseline with the same seed, is not trained"))?;
        for (name, value) in teacher.variables.iter().filter(|(name, _)| !name.starts_with(STATE_PREFIX)) {
            first.insert(format!("{TEACHER}.{name}"), value.clone());
            if self.plan.config.boost.student_init == StudentInit::Teacher {
                first.insert(format!("{STUDENT}.{name}"), value.clone());
            }
        }
        Ok(first)
    }

    /// What an earlier process scored, if it did.
    pub(crate) fn finished(&self, variant: &Variant, seed: u64) -> Result<Option<Scores>> {
        let folder = self.scored(variant, seed)?;
        let Some((tensors, ())) = store::load(&folder.join("scores.safetensors"))? else { return Ok(None) };
        let cost = read_json(&folder.join("cost.json"))?;
        let list = |name: &str| {
            let tensor = tensors.get(name).ok_or_else(|| Error::new(ErrorKind::Io, format!("has no `{name}`")));
            Ok::<_, Error>(tensor?.as_f32()?.to_vec())
        };
        let (scores, normal) = (list(SCORE)?, list(NORMAL)?);
        let maps = match tensors.get(EXTENTS) {
            Some(extents) => {
                let extents = extents.as_i64()?.chunks_exact(2).map(|e| [e[0] as usize, e[1] as usize]);
                Some(ScoreMaps::open(&folder.join(MAPS), extents.collect())?)
            }
            None => None,
        };
        let part = |name: &String| Some((name.strip_prefix(PART)?.to_owned(), list(name)));
        let parts = tensors.keys().filter_map(part).map(|(name, values)| Ok((name, values?)));
        let parts = parts.collect::<Result<_>>()?;
        let is_other = |name: &str| [SCORE, EXTENTS, NORMAL].contains(&name) || name.starts_with(PART);
        let calibration = tensors.iter().filter(|(name, _)| !is_other(name));
        let calibration = calibration.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Some(Scores { scores, parts, maps, normal, calibration, cost }))
    }

    /// Calibrates on held-out images, scores the test images, and keeps both.
    pub(crate) fn score(
        &self,
        variant: &Variant,
        seed: u64,
        checkpoint: &Checkpoint,
        material: &Material<'_>,
    ) -> Result<Scores> {
        let (spec, eval) = self.judge(variant)?;
        let mut session = self.plan.session(&self.stages(variant).eval)?;
        let kept = self.kept(variant, &eval)?;
        let mut parts: BTreeMap<String, Vec<f32>> = kept.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut scorer = Scorer::new(session.as_mut(), &spec, &eval, &checkpoint.variables, kept.clone())?;
        let mut calibration = scorer.measure(&material.fit)?;
        calibration.extend(scorer.calibrate(&material.held)?);
        let mut normal = Vec::new();
        scorer.scores(&material.held, |_, scored| {
            normal.push(scored.score);
            Ok(())
        })?;
        let mut scores = Vec::new();
        let mut maps = self.maps(variant, seed)?;
        let (start, before) = (Instant::now(), scorer.input);
        scorer.scores(&material.test, |_, scored| {
            scores.push(scored.score);
            for (name, value) in kept.iter().zip(&scored.parts) {
                parts.entry(name.clone()).or_default().push(*value);
            }
            scored.map.map_or(Ok(()), |map| maps.add(map.extents, &map.values))
        })?;
        let each = |time: Duration| 1e3 * time.as_secs_f64() / scores.len().max(1) as f64;
        let (score_ms, input_ms) = (each(start.elapsed()), each(scorer.input - before));
        let maps = maps.finish()?;
        let effort: Effort = read_json(&self.trained(variant, seed)?.join("effort.json"))?;
        let cost = Cost { train_seconds: effort.seconds, score_ms, input_ms, peak_mib: cost::peak_mib() };
        let scores = Scores { scores, parts, maps, normal, calibration, cost };
        self.keep(variant, seed, &scores)?;
        Ok(scores)
    }

    /// Begins the file of a cell's maps.
    pub(crate) fn maps(&self, variant: &Variant, seed: u64) -> Result<score_maps::Writing> {
        score_maps::Writing::new(&self.scored(variant, seed)?.join(MAPS))
    }

    /// The scores come last: where they are, the cell is finished.
    pub(crate) fn keep(&self, variant: &Variant, seed: u64, scores: &Scores) -> Result<()> {
        let folder = self.scored(variant, seed)?;
        let mut tensors = scores.calibration.clone();
        let parts = scores.parts.iter().map(|(name, list)| (format!("{PART}{name}"), list));
        let lists = [(SCORE.to_owned(), &scores.scores), (NORMAL.to_owned(), &scores.normal)];
        for (name, list) in lists.into_iter().chain(parts) {
            tensors.insert(name, HostTensor::f32([list.len()], list.clone())?);
        }
        if let Some(maps) = &scores.maps {
            let extents = (0..maps.len()).flat_map(|map| maps.extents(map)).map(|extent| extent as i64).collect();
            tensors.insert(EXTENTS.to_owned(), HostTensor::i64([maps.len(), 2], extents)?);
        }
        write_json(&folder.join("cost.json"), &scores.cost)?;
        store::save(&folder.join("scores.safetensors"), &tensors, &())
    }

    /// The trained variables of a finished cell, those of its calibration among them, and its scores.
    pub(crate) fn weights(&self, variant: &Variant, seed: u64) -> Result<(Tensors, Scores)> {
        let untrained = || {
            Error::config(format!("the variant `{}` with seed {seed} is not trained yet", variant.name))
                .hint("run `mimus bench` with this configuration first")
        };
        let scores = self.finished(variant, seed)?.ok_or_else(untrained)?;
        let path = self.trained(variant, seed)?.join(CHECKPOINT);
        let mut variables = Checkpoint::load(&path)?.ok_or_else(untrained)?.variables;
        variables.extend(scores.calibration.clone());
        Ok((variables, scores))
    }

    /// A scorer of a finished cell, for other pictures than the data set's.
    pub(crate) fn scorer<'s>(
        &'s self,
        session: &'s mut dyn mimus_core::plugin::Session,
        variant: &Variant,
        seed: u64,
    ) -> Result<(Scorer<'s>, Scores)> {
        let (variables, scores) = self.weights(variant, seed)?;
        let (spec, eval) = self.judge(variant)?;
        Ok((Scorer::new(session, &spec, &eval, &variables, Vec::new())?, scores))
    }

    /// What the model says of itself as the teacher; its student sees the same samples.
    pub(crate) fn spec(&self) -> &ModelSpec {
        &self.specs.teacher
    }

    /// Height and width of the model's input.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.plan.config.input.height, self.plan.config.input.width]
    }

    /// A picture as the model sees it.
    pub(crate) fn prepare(&self, pixels: &mimus_core::plugin::Pixels) -> Result<images::Picture> {
        images::picture(pixels, None, &self.spec().preprocessing, self.size())
    }
}

fn key(content: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(content).map_err(|error| Error::config(error.to_string()))?;
    Ok(files::digest(text.as_bytes()))
}

fn write_json(path: &std::path::Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    files::write(path, text.as_bytes())
}

/// The default if there is no file.
fn read_json<T: Default + for<'de> Deserialize<'de>>(path: &std::path::Path) -> Result<T> {
    let Some(bytes) = files::read(path)? else { return Ok(T::default()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(ErrorKind::Io, error.to_string()).with("file", path.display()).hint("remove the file")
    })
}
