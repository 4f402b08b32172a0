//! All cells of a run, one after the other; a cell that fails costs itself alone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mimus_core::{Context, Error, ErrorKind, Result};

use crate::cell::{Scores, Workshop};
use crate::cost::{self, Cost};
use crate::evaluation::Evaluation;
use crate::floor;
use crate::folder::Folder;
use crate::maps;
use crate::material::Material;
use crate::plan::{Plan, Variant};
use crate::progress::{Progress, duration};
use crate::weights::Imported;

/// What a command wants of every cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Train what is not trained.
    Train,
    /// Score and judge what is trained.
    Judge,
    /// Both.
    Both,
}

/// A cell and what became of it; positions are those in the plan.
pub(crate) struct Cell {
    pub(crate) model: usize,
    pub(crate) group: usize,
    pub(crate) variant: usize,
    pub(crate) seed: u64,
    pub(crate) outcome: Result<Outcome>,
}

/// What a finished cell leaves.
pub(crate) enum Outcome {
    /// It is trained; nothing else was asked for.
    Trained,
    /// It is judged.
    Judged(Box<Judged>),
}

pub(crate) struct Judged {
    pub(crate) scores: Vec<f32>,
    /// Positions of the judged samples among the test samples of their group.
    pub(crate) positions: Vec<usize>,
    pub(crate) evaluation: Evaluation,
    pub(crate) cost: Cost,
}

pub(crate) struct Sweep<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) folder: &'a Folder,
    pub(crate) work: Work,
    progress: Progress,
    cells: Vec<Cell>,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(plan: &'a Plan, folder: &'a Folder, work: Work) -> Self {
        let groups = 0..plan.data.index().groups.len();
        let of_group = |group| plan.variants.iter().map(|variant| Workshop::work(plan, group, variant)).sum::<u64>();
        let total = groups.map(of_group).sum::<u64>() * (plan.models.len() * plan.config.run.seeds.len()) as u64;
        Self { plan, folder, work, progress: Progress::new(total), cells: Vec::new() }
    }

    /// Computes every cell, or takes it from an earlier process.
    pub(crate) fn run(mut self) -> Vec<Cell> {
        for group in 0..self.plan.data.index().groups.len() {
            for model in 0..self.plan.models.len() {
                if let Err(error) = self.problem(model, group) {
                    self.fail_all(model, group, &error);
                }
            }
        }
        self.progress.finish();
        self.cells
    }

    /// One model on one group: the pictures are decoded once.
    fn problem(&mut self, model: usize, group: usize) -> Result<()> {
        let shop = contained(|| Workshop::new(self.plan, self.folder, model, group))
            .context("model", &self.plan.models[model].label)?;
        if let Some(Imported { origin, summary, .. }) = &shop.imported {
            self.progress.line(&format!("baseline from {}: {summary}", origin.file.display()));
        }
        let progress = &mut self.progress;
        let material = contained(|| Material::load(self.plan, group, shop.spec(), &mut |line| progress.line(line)))?;
        for seed in self.plan.config.run.seeds.clone() {
            for (variant, planned) in self.cells_of(seed) {
                let outcome = self.cell(&shop, &material, planned, seed);
                self.tell(&shop, planned, seed, &outcome);
                self.cells.push(Cell { model, group, variant, seed, outcome });
            }
        }
        Ok(())
    }

    /// What is computed with a seed, by position in the plan: without a training all seeds are alike, so the first has it.
    fn cells_of(&self, seed: u64) -> impl Iterator<Item = (usize, &'a Variant)> + use<'a> {
        let first = self.plan.config.run.seeds.first() == Some(&seed);
        let plan: &'a Plan = self.plan;
        plan.variants.iter().enumerate().filter(move |(_, variant)| first || variant.recipe.is_trained())
    }

    fn cell(&mut self, shop: &Workshop<'_>, material: &Material<'_>, variant: &Variant, seed: u64) -> Result<Outcome> {
        cost::reset_peak();
        let work = self.work;
        let units = Workshop::work(self.plan, shop.group, variant);
        // Frames, of which there are as many as the plan knows of; not what is seen of them.
        let each = material.fit.judged() + material.held.judged();
        let (label, plan, progress) = (label(shop, variant, seed), self.plan, &mut self.progress);
        let mut advanced = 0;
        let outcome = contained(|| {
            if work != Work::Train
                && let Some(scores) = shop.finished(variant, seed)?
            {
                return judge(plan, shop, material, variant, seed, scores);
            }
            if !variant.recipe.is_trained() {
                if work == Work::Train {
                    return Ok(Outcome::Trained);
                }
                let scores = floor::scores(shop, &material.test, shop.maps(variant, seed)?)?;
                shop.keep(variant, seed, &scores)?;
                return judge(plan, shop, material, variant, seed, scores);
            }
            if work == Work::Judge && !shop.is_trained(variant, seed)? {
                return Err(Error::config("is not trained").hint("run `mimus train` or `mimus bench` first"));
            }
            let checkpoint = shop.train(variant, seed, material, &mut |epoch, loss| {
                advanced += each as u64;
                progress.advance(each as u64, || format!("{label}: epoch {epoch}, loss {loss:.4}"));
            })?;
            if work == Work::Train {
                return Ok(Outcome::Trained);
            }
            let scores = shop.score(variant, seed, &checkpoint, material)?;
            judge(plan, shop, material, variant, seed, scores)
        });
        self.progress.skip(units.saturating_sub(advanced));
        outcome
    }

    fn tell(&mut self, shop: &Workshop<'_>, variant: &Variant, seed: u64, outcome: &Result<Outcome>) {
        let label = label(shop, variant, seed);
        let line = match outcome {
            Ok(Outcome::Trained) => format!("{label}: trained"),
            Ok(Outcome::Judged(judged)) => {
                let first = judged.evaluation.metrics().next();
                let first = first.map(|(column, metric)| format!("{} {metric:.3}, ", column.name)).unwrap_or_default();
                format!("{label}: {first}trained in {}", duration(judged.cost.train_seconds))
            }
            Err(error) => format!("{label}: FAILED: {error}"),
        };
        self.progress.line(&line);
    }

    fn fail_all(&mut self, model: usize, group: usize, error: &Error) {
        let (plan, name) = (self.plan, &self.plan.data.index().groups[group].name);
        self.progress.line(&format!("{} on {name}: FAILED: {error}", plan.models[model].label));
        for seed in &plan.config.run.seeds {
            for (variant, planned) in self.cells_of(*seed) {
                self.progress.skip(Workshop::work(plan, group, planned));
                self.cells.push(Cell { model, group, variant, seed: *seed, outcome: Err(error.clone()) });
            }
        }
    }
}

fn label(shop: &Workshop<'_>, variant: &Variant, seed: u64) -> String {
    format!("{} on {}, {}, seed {seed}", shop.plan.models[shop.model].label, shop.data().name, variant.name)
}

fn judge(
    plan: &Plan,
    shop: &Workshop<'_>,
    material: &Material<'_>,
    variant: &Variant,
    seed: u64,
    scores: Scores,
) -> Result<Outcome> {
    let eval = &plan.config.eval;
    let evaluation = Evaluation::new(&scores, &material.test, shop.data(), eval, &shop.parts(variant)?)?;
    maps::write(shop, &variant.name, seed, &scores, &material.test)?;
    let positions = (0..material.test.judged()).map(|i| material.test.position(i)).collect();
    Ok(Outcome::Judged(Box::new(Judged { cost: scores.cost, evaluation, scores: scores.scores, positions })))
}

/// A panic as an error: it costs a cell, not the run.
pub(crate) fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        Err(Error::new(ErrorKind::Panicked, format!("a part of the program panicked: {}", text(payload.as_ref())))
            .hint("please report this with the configuration of the run"))
    })
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
