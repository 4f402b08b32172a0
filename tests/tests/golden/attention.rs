//! The attention modules on their own: outputs and gradients of `sum(output * G)`, running statistics, and the losses that some bring.

use std::collections::BTreeMap;

use mimus_core::autodiff::{differentiate, differentiate_variables};
use mimus_core::blocks::loss;
use mimus_core::graph::{Inlined, Inlining, inline};
use mimus_core::plugin::{FeatureRequest, OptionValue, Options, attention};
use mimus_core::{Builder, Error, Graph, Phase, Result, ValueId, ValueType, passes};

use crate::Subject;
use crate::engine::{Engine, load};
use crate::ledger::{Before, Ledger};
use crate::training::{GRADIENT, compare_gradients, value};

/// Where a stored array comes from.
#[derive(Clone, Copy)]
enum Source {
    /// An output of the module's graph.
    Output(&'static str),
    /// A tap of the module's graph.
    Tap(&'static str),
    /// The input times the map.
    Gated,
}

/// A module of the data.
struct Module {
    class: &'static str,
    plugin: &'static str,
    /// Arguments of the constructor that are options of the plugin.
    arguments: &'static [(&'static str, &'static str)],
    /// Stored arrays; the first is weighted by `G`.
    arrays: &'static [(&'static str, Source)],
}

const MAP: &[(&str, Source)] = &[("map", Source::Output(attention::MAP))];
const GATED: &[(&str, Source)] = &[("output", Source::Gated)];
const REFINED: &[(&str, Source)] = &[("output", Source::Output(attention::REFINED))];

const MODULES: &[Module] = &[
    Module { class: "ChannelAttention", plugin: "ca", arguments: &[("reduction_ratio", "reduction")], arrays: MAP },
    Module { class: "SpatialAttention", plugin: "sa", arguments: &[("kernel_size", "kernel")], arrays: MAP },
    Module {
        class: "SpatioChannelAttention",
        plugin: "sca",
        arguments: &[("reduction_ratio", "reduction")],
        arrays: MAP,
    },
    Module { class: "SELayer", plugin: "se", arguments: &[("reduction", "reduction")], arrays: GATED },
    Module { class: "CBAM", plugin: "cbam", arguments: &[("reduction_ratio", "reduction")], arrays: GATED },
    Module { class: "eca_layer", plugin: "eca", arguments: &[("k_size", "kernel")], arrays: GATED },
    Module {
        class: "SKConv",
        plugin: "sk",
        arguments: &[("M", "branches"), ("G", "groups"), ("r", "reduction"), ("L", "least")],
        arrays: &[("output", Source::Tap("selected"))],
    },
    Module {
        class: "SSPCAB",
        plugin: "sspcab",
        arguments: &[("kernel_dim", "kernel"), ("dilation", "dilation"), ("reduction_ratio", "reduction")],
        arrays: REFINED,
    },
    Module {
        class: "SSMCTB",
        plugin: "ssmctb",
        arguments: &[("kernel_dim", "kernel"), ("dilation", "dilation")],
        arrays: REFINED,
    },
    Module {
        class: "FeatureInconsistencyAttention",
        plugin: "fia",
        arguments: &[("attention_dim", "width")],
        arrays: &[
            ("refined", Source::Output(attention::REFINED)),
            ("gate", Source::Output(attention::MAP)),
            ("encoded", Source::Tap("encoded")),
        ],
    },
];

/// What is minimised, and which part of a case's arrays belongs to it.
#[derive(Clone, Copy, PartialEq)]
enum Objective {
    /// `sum(output * G)` in evaluation: `eval.*`.
    Eval,
    /// The same in training: `train.*`, and `after_train.*` for the running statistics.
    Train,
    /// The module's own loss: `ssl.*`.
    Own,
    /// The loss and the score of the authors' released detector: `total.*`.
    Total,
}

impl Objective {
    const ALL: [Self; 4] = [Self::Eval, Self::Train, Self::Own, Self::Total];

    fn name(self) -> &'static str {
        match self {
            Self::Eval => "eval",
            Self::Train => "train",
            Self::Own => "ssl",
            Self::Total => "total",
        }
    }
}

fn module(class: &str) -> Option<&'static Module> {
    MODULES.iter().find(|module| module.class == class)
}

/// Whether the class is one of these modules.
pub(crate) fn knows(class: &str) -> bool {
    module(class).is_some()
}

/// Compares everything that the case stores for any of the objectives.
///
/// # Errors
/// If the plugin, a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    let module = module(subject.case.class()).ok_or_else(|| Error::data("is of an unknown class"))?;
    for objective in Objective::ALL {
        let prefix = format!("{}.", objective.name());
        let arrays = ledger.names(&prefix);
        if arrays.is_empty() {
            continue;
        }
        let program = Program { subject, module, objective }.build()?;
        let read = |name: &String| program.inputs().any(|(known, _)| known == name);
        let inputs = subject.inputs.iter().filter(|(name, _)| read(name));
        let inputs = inputs.map(|(name, value)| (name.clone(), value.clone())).collect();
        // The released detector was computed last, with the running statistics that the training pass had left.
        let number = match objective {
            Objective::Total => engine.load(passes::optimise(&program)?)?,
            _ => load(engine, &program, &subject.state)?,
        };
        let results = engine.run(number, &inputs)?;
        let is_gradient =
            |name: &String| ["grad_norm", "grad_sum"].contains(&name.as_str()) || name.starts_with("grad/");
        for array in arrays.iter().filter(|name| !is_gradient(name)) {
            ledger.compare(&format!("{prefix}{array}"), value(&results, array)?, Before::All)?;
        }
        compare_gradients(subject.case, objective.name(), &results, ledger)?;
        if objective == Objective::Train {
            for statistic in ledger.names("after_train.") {
                let found = engine.read(&statistic)?;
                ledger.compare(&format!("after_train.{statistic}"), &found, Before::All)?;
            }
        }
    }
    Ok(())
}

/// A program that computes the stored arrays of one objective, each as an output of its name.
struct Program<'a> {
    subject: &'a Subject<'a>,
    module: &'a Module,
    objective: Objective,
}

impl Program<'_> {
    fn build(&self) -> Result<Graph> {
        let mut b = Builder::new("attention");
        let inputs = self.inputs(&mut b)?;
        let inlined = self.inline(&mut b, &inputs)?;
        for (name, source) in self.module.arrays {
            let value = match source {
                Source::Output(output) => inlined.output(output)?,
                Source::Tap(tap) => *inlined.taps.get(*tap).ok_or_else(|| Error::data(format!("no tap `{tap}`")))?,
                Source::Gated => {
                    let map = inlined.output(attention::MAP)?;
                    b.mul(inputs.student, map)?
                }
            };
            b.output(name, value)?;
        }
        if let Some(own) = inlined.outputs.get(attention::LOSS) {
            b.output(if self.objective == Objective::Total { "attention_loss" } else { "ssl_loss" }, *own)?;
        }
        let loss = match self.objective {
            Objective::Eval | Objective::Train => self.weighted(&mut b)?,
            Objective::Own => inlined.output(attention::LOSS)?,
            Objective::Total => released(&mut b, &inputs, &inlined)?,
        };
        b.output("loss", loss)?;
        self.gradients(&mut b, &inputs, loss)?;
        if self.objective == Objective::Train {
            inlined.assign(&mut b)?;
        }
        Ok(b.finish())
    }

    /// `sum(output * G)`.
    fn weighted(&self, b: &mut Builder) -> Result<ValueId> {
        let output = b.graph().expect_output(self.module.arrays[0].0)?;
        let weights = self.input(b, "G")?;
        let product = b.mul(output, weights)?;
        let axes: Vec<usize> = (0..b.shape(product).len()).collect();
        b.sum(product, &axes)
    }

    fn input(&self, b: &mut Builder, name: &str) -> Result<ValueId> {
        let given = self.subject.inputs.get(name).ok_or_else(|| Error::data(format!("there is no input `{name}`")))?;
        b.input(name, ValueType::f32(given.shape()))
    }

    /// A module with one input reads it as the inconsistency and as the student's feature.
    fn inputs(&self, b: &mut Builder) -> Result<Inputs> {
        if self.subject.inputs.contains_key("x") {
            let x = self.input(b, "x")?;
            return Ok(Inputs {
                student: x,
                inconsistency: x,
                teacher: x,
                differentiated: vec![("x", x)],
                pictures: None,
            });
        }
        let student = self.input(b, "student")?;
        if self.objective == Objective::Total {
            let teacher = self.input(b, "teacher")?;
            let inconsistency = loss::absolute_difference(b, teacher, student)?;
            let pictures = Some([self.input(b, "recon")?, self.input(b, "image")?]);
            return Ok(Inputs {
                student,
                inconsistency,
                teacher,
                differentiated: vec![("student", student)],
                pictures,
            });
        }
        let inconsistency = self.input(b, "inconsistency")?;
        let differentiated = vec![("student", student), ("inconsistency", inconsistency)];
        Ok(Inputs { student, inconsistency, teacher: student, differentiated, pictures: None })
    }

    /// The plugin's description of the module that the case's constructor made; its own loss unweighted.
    fn inline(&self, b: &mut Builder, inputs: &Inputs) -> Result<Inlined> {
        let Subject { case, plugins, .. } = self.subject;
        let plugin = plugins.attention(self.module.plugin)?;
        let info = plugin.info();
        let mut given = BTreeMap::new();
        for (argument, option) in self.module.arguments {
            let number = case.argument(argument).and_then(|text| text.parse().ok());
            let number = number.ok_or_else(|| Error::data(format!("the constructor has no `{argument}`")))?;
            given.insert((*option).to_owned(), OptionValue::Int(number));
        }
        if info.options.iter().any(|option| option.name == "loss_weight") {
            given.insert("loss_weight".to_owned(), OptionValue::Float(1.0));
        }
        let [student, teacher] = [inputs.student, inputs.inconsistency].map(|value| b.shape(value).to_vec());
        let phase = if self.objective == Objective::Train { Phase::Train } else { Phase::Eval };
        let options = Options::resolve(&info.options, given)?;
        let graph = plugin.describe(&FeatureRequest { options, student, teacher, phase })?;
        let bindings = BTreeMap::from([
            (attention::INCONSISTENCY.to_owned(), inputs.inconsistency),
            (attention::STUDENT.to_owned(), inputs.student),
        ]);
        let redirect = &mut |_: &mut Builder, _: &str, value| Ok(value);
        inline(b, &graph, Inlining { prefix: "", variable: &|v| v, bindings: &bindings, redirect })
    }

    /// Outputs for the gradients of inputs and parameters; 0 where the loss does not reach.
    fn gradients(&self, b: &mut Builder, inputs: &Inputs, loss: ValueId) -> Result<()> {
        let values: Vec<ValueId> = inputs.differentiated.iter().map(|(_, value)| *value).collect();
        let gradients = differentiate(b, loss, &values)?;
        for ((name, value), gradient) in inputs.differentiated.iter().zip(gradients) {
            let shape = b.shape(*value).to_vec();
            let gradient = reached(b, gradient, &shape)?;
            b.output(&format!("grad_input/{name}"), gradient)?;
        }
        let params = &self.subject.case.params;
        let names: Vec<String> = params.iter().map(|(name, _)| name.clone()).collect();
        let gradients = differentiate_variables(b, loss, &names)?;
        for (name, shape) in params {
            let gradient = reached(b, gradients.get(name).copied(), shape)?;
            b.output(&format!("{GRADIENT}{name}"), gradient)?;
        }
        Ok(())
    }
}

fn reached(b: &mut Builder, gradient: Option<ValueId>, shape: &[usize]) -> Result<ValueId> {
    gradient.map_or_else(|| b.fill(shape, 0.0), Ok)
}

/// The values that a module reads.
struct Inputs {
    student: ValueId,
    inconsistency: ValueId,
    teacher: ValueId,
    /// With respect to what the data stores gradients.
    differentiated: Vec<(&'static str, ValueId)>,
    /// Reconstruction and image, of the released detector alone.
    pictures: Option<[ValueId; 2]>,
}

/// The released detector's total loss, `recon + 0.5 mimic + 0.3 attention`, and its rule for the score, which is not the boost's.
fn released(b: &mut Builder, inputs: &Inputs, module: &Inlined) -> Result<ValueId> {
    let [recon, image] = inputs.pictures.ok_or_else(|| Error::data("there are no pictures"))?;
    let absolute = loss::absolute_difference(b, recon, image)?;
    let (l1, l2) = (loss::mean_all(b, absolute)?, loss::mse(b, recon, image)?);
    let reconstruction = b.add(l1, l2)?;
    let mimicking = loss::mse(b, inputs.student, inputs.teacher)?;
    b.output("recon_loss", reconstruction)?;
    b.output("mimic_loss", mimicking)?;
    let mut total = reconstruction;
    for (term, weight) in [(mimicking, 0.5), (module.output(attention::LOSS)?, 0.3)] {
        let weighted = b.affine(term, weight, 0.0)?;
        total = b.add(total, weighted)?;
    }
    b.output("total", total)?;
    let error = b.mean(absolute, &[1])?;
    let inconsistency = b.mean(inputs.inconsistency, &[1])?;
    let normal = normalised(b, inconsistency)?;
    let (error, normal) = (b.affine(error, 0.7, 0.0)?, b.affine(normal, 0.3, 0.0)?);
    let both = b.add(error, normal)?;
    let gate = module.output(attention::MAP)?;
    let shape = b.shape(both).to_vec();
    let gate = b.reshape(gate, shape)?;
    let factor = b.affine(gate, 1.0, 1.0)?;
    let map = b.mul(both, factor)?;
    b.output("score_map", map)?;
    let score = b.max(map, &[1, 2])?;
    b.output("score", score)?;
    Ok(total)
}

/// By minimum and maximum of the whole batch.
fn normalised(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let axes: Vec<usize> = (0..b.shape(x).len()).collect();
    let negative = b.neg(x)?;
    let (max, negative_min) = (b.max(x, &axes)?, b.max(negative, &axes)?);
    let over = b.add(x, negative_min)?;
    let range = b.add(max, negative_min)?;
    let range = b.affine(range, 1.0, 1e-8)?;
    b.div(over, range)
}
