//! The boost as graph rewriting: feature mimicking with inconsistency-guided attention around any model with a tap.
//!
//! Equations and names follow "A boosting strategy based on feature mimicking with attention for visual anomaly detection"
//! (Scientific Reports, 2026, s41598-026-37667-9). No plugin code runs here: fragments arrive as graphs.

mod score;
mod tap;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use score::{CALIBRATION, Calibrated};

use crate::error::{Context, Error, Result};
use crate::graph::{Builder, Graph, Inlined, Inlining, Phase, Role, ValueId, Variable, inline};
use crate::plugin::{FeatureRequest, ModelSpec};
use crate::train::{LOSS, Rate, Stage, Turn};
use tap::Taps;

/// Prefix of the frozen teacher's variables.
pub const TEACHER: &str = "teacher";
/// Prefix of the student's variables.
pub const STUDENT: &str = "student";
/// Prefix of the attention module's variables.
pub const ATTENTION: &str = "attention";
/// Prefix of the mimicking head's variables.
pub const HEAD: &str = "head";
/// Prefix of the layers that bring a student's feature to its teacher's width.
pub const ADAPTOR: &str = "adaptor";
/// Prefix of the tap at `|Fea_T - Fea_S|`.
pub const INCONSISTENCY: &str = "inconsistency";
/// Prefix of the tap at the attention's map.
pub const MAP: &str = "map";
/// Prefix of the tap at the refined feature.
pub const REFINED: &str = "refined";

/// The two programs of a detector, baseline or boosted, in the form that trainer and evaluator run.
#[derive(Clone, Debug, PartialEq)]
pub struct Programs {
    /// The stages of training; in every turn output `loss` and its terms `loss.<term>`.
    pub stages: Vec<Stage>,
    /// Output `score` `[N]`, and `score_map` `[N, 1, H, W]` if the model has a map.
    pub eval: Graph,
}

impl Programs {
    /// The detector's own turn of the last stage.
    ///
    /// # Errors
    /// If there is none.
    pub fn main(&self) -> Result<&Turn> {
        self.stages.last().ok_or_else(|| Error::plugin("has no stage of training"))?.main()
    }
}

/// How a boost is put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoostOptions {
    /// Taps at which to attach; none for the model's natural one.
    pub taps: Vec<String>,
    /// Weight of the mimicking score in `S_total = lambda * S_fea + (1 - lambda) * S_o`.
    pub lambda: f64,
    /// Weight of the mimicking loss in `L_total = weight * L_fea + L_o`.
    pub mimicking_weight: f64,
    /// Whether each score is standardised by its mean and deviation over held-out normal images before the sum.
    pub standardise: bool,
    /// Whether the attention module learns with the student.
    pub train_attention: bool,
}

/// Describes an attention module or a mimicking head for the features at a tap. The request has no options: they are the caller's.
pub type Fragment<'a> = dyn Fn(FeatureRequest) -> Result<Graph> + 'a;

/// The baseline: the model alone, its score map reduced to the image score.
///
/// # Errors
/// If the spec contradicts itself; names the missing output.
pub fn baseline(spec: &ModelSpec) -> Result<Programs> {
    spec.verify()?;
    let mut b = Builder::extend(spec.eval.clone());
    if spec.image_score.is_some() {
        let map = spec.eval.expect_output("score_map")?;
        let score = score::image_score(&mut b, spec, map)?;
        b.output("score", score)?;
    }
    Ok(Programs { stages: spec.stages.clone(), eval: b.finish() })
}

/// The boosted system: frozen teacher in evaluation mode, student, attention at the taps, mimicking loss, fused score.
///
/// Without a head there is no teacher: the attention reads the student's own feature, and the score is the task's (the control
/// `mimicking = "none"`).
///
/// Teacher and student are the same detector, often with the same options. Where their features differ in width, a convolution of kernel 1
/// (`adaptor`), trained with the student, brings the student's to the teacher's width for head and inconsistency; the attention's
/// weights are for the student's own feature.
///
/// For inspection the programs have the taps `student.<tap>` for every tap of the model, and for those of the boost
/// `teacher.<tap>`, `inconsistency.<tap>`, `map.<tap>` (if the attention has a map) and `refined.<tap>`.
///
/// # Errors
/// If the model has no such tap, teacher and student differ in more than widths, or a fragment's inputs, outputs or shapes break its
/// contract.
pub fn boost(
    teacher: &ModelSpec,
    spec: &ModelSpec,
    attention: &Fragment<'_>,
    head: Option<&Fragment<'_>>,
    options: &BoostOptions,
) -> Result<Programs> {
    teacher.verify()?;
    spec.verify()?;
    check_alike(teacher, spec)?;
    let natural = || spec.taps.first().map(|tap| vec![tap.name.clone()]).unwrap_or_default();
    let names = if options.taps.is_empty() { natural() } else { options.taps.clone() };
    if names.is_empty() {
        return Err(Error::plugin("the model declares no tap, so that nothing can be boosted"));
    }
    let system =
        System { teacher, spec, student: &spec.eval, attention, head, options, names: &names, part: Part::Eval };
    // First, since evaluation must have every tap, and says so best.
    let eval = system.build()?;
    let turn = |turn: &Turn, last| {
        let part = if last { Part::Main } else { Part::Other };
        let graph = System { student: &turn.graph, part, ..system }.build().context("turn", &turn.name)?;
        let mut trains: Vec<String> = turn.trains.iter().map(|scope| format!("{STUDENT}.{scope}")).collect();
        match (last, trains.is_empty()) {
            (true, false) => trains.extend([ATTENTION, HEAD, ADAPTOR].map(str::to_owned)),
            (false, true) => trains.push(STUDENT.to_owned()),
            _ => {}
        }
        let scope = |rate: &Rate| Rate { scope: format!("{STUDENT}.{}", rate.scope), factor: rate.factor };
        let rates = turn.rates.iter().map(scope).collect();
        Ok(Turn { graph, trains, rates, ..turn.clone() })
    };
    let stage = |stage: &Stage| {
        let turns = stage.turns.iter().enumerate().map(|(i, each)| turn(each, i + 1 == stage.turns.len()));
        let turns = turns.collect::<Result<_>>().context("stage", &stage.name)?;
        Ok(Stage { turns, ..stage.clone() })
    };
    let stages = spec.stages.iter().map(stage).collect::<Result<_>>()?;
    Ok(Programs { stages, eval })
}

/// That both see the same pictures.
fn check_alike(teacher: &ModelSpec, student: &ModelSpec) -> Result<()> {
    let alike = [
        ("inputs", teacher.inputs == student.inputs),
        ("preprocessing", teacher.preprocessing == student.preprocessing),
        ("clips", teacher.clip == student.clip),
    ];
    match alike.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((what, _)) => Err(Error::config(format!("teacher and student have different {what}"))
            .hint("let the student differ from its teacher in widths and depths alone")),
    }
}

/// Which graph of the student a boosted system is built around.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// The turn that trains the detector itself, and with it what the boost adds.
    Main,
    /// A turn before it, such as a discriminator's: it sees the boosted student and trains only what is its own.
    Other,
    Eval,
}

impl Part {
    fn phase(self) -> Phase {
        if self == Self::Eval { Phase::Eval } else { Phase::Train }
    }
}

/// One graph of a boosted system under construction.
#[derive(Clone, Copy)]
struct System<'a> {
    teacher: &'a ModelSpec,
    /// The student's.
    spec: &'a ModelSpec,
    student: &'a Graph,
    attention: &'a Fragment<'a>,
    head: Option<&'a Fragment<'a>>,
    options: &'a BoostOptions,
    names: &'a [String],
    part: Part,
}

impl System<'_> {
    fn build(&self) -> Result<Graph> {
        let student = self.student;
        // A stage need not have every tap: one that trains another part of the detector is the student's alone.
        if self.part == Part::Eval {
            self.names.iter().try_for_each(|name| student.expect_tap(name).map(|_| ()))?;
        }
        let mut b = Builder::new(&format!("{}-boosted", student.name));
        let teacher = self.teacher(&mut b)?;
        let mut taps = Taps::new(self, teacher);
        let inlined = inline(
            &mut b,
            student,
            Inlining {
                prefix: STUDENT,
                variable: &|variable| variable,
                bindings: &BTreeMap::new(),
                redirect: &mut |b, name, value| taps.attach(b, name, value),
            },
        )
        .context("part", STUDENT)?;
        match self.part {
            Part::Main => self.losses(&mut b, &inlined, &taps)?,
            Part::Other => b.output(LOSS, inlined.output(LOSS)?)?,
            Part::Eval => score::fuse(&mut b, self.spec, &inlined, &taps.mimicking, self.options)?,
        }
        inlined.assign(&mut b)?;
        // The running statistics of what the boost adds move once in a step, as the detector's own do.
        if self.part == Part::Main {
            taps.assignments(&mut b)?;
        }
        crate::passes::remove_dead(&b.finish())
    }

    /// The teacher's taps: the evaluation graph with every variable frozen. What only its scores need is dead and goes later.
    fn teacher(&self, b: &mut Builder) -> Result<BTreeMap<String, ValueId>> {
        if self.head.is_none() {
            return Ok(BTreeMap::new());
        }
        let inlined = inline(
            b,
            &self.teacher.eval,
            Inlining {
                prefix: TEACHER,
                variable: &|variable| Variable { role: Role::Buffer, ..variable },
                bindings: &BTreeMap::new(),
                redirect: &mut |_, _, value| Ok(value),
            },
        )
        .context("part", TEACHER)?;
        let stop = |name: &String| {
            let value = inlined
                .taps
                .get(name)
                .ok_or_else(|| Error::graph(format!("the evaluation graph has no tap `{name}`")))?;
            Ok((name.clone(), b.stop_gradient(*value)?))
        };
        self.names.iter().map(stop).collect()
    }

    /// `L_total = weight * L_fea + L_o` and the terms.
    fn losses(&self, b: &mut Builder, student: &Inlined, taps: &Taps<'_>) -> Result<()> {
        let task = student.output(LOSS)?;
        b.output("loss.task", task)?;
        let mut total = task;
        let mut terms: BTreeMap<&str, ValueId> = BTreeMap::new();
        let mimicking = taps.mimicking.iter().map(|m| ("loss.mimicking", m.loss));
        for (name, loss) in mimicking.chain(taps.attention_losses.iter().map(|loss| ("loss.attention", *loss))) {
            let sum = match terms.get(name) {
                Some(earlier) => b.add(*earlier, loss)?,
                None => loss,
            };
            terms.insert(name, sum);
        }
        for (name, term) in terms {
            b.output(name, term)?;
            let weighted =
                if name == "loss.mimicking" { b.affine(term, self.options.mimicking_weight, 0.0)? } else { term };
            total = b.add(total, weighted)?;
        }
        for (name, value) in student.outputs.iter().filter(|(name, _)| name.starts_with("loss.")) {
            b.output(&format!("loss.task.{}", &name["loss.".len()..]), *value)?;
        }
        b.output(LOSS, total)
    }
}
