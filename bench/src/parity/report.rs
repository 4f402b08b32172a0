//! What the comparison found: `parity.{md,json}` and the tables on the terminal.

use std::collections::BTreeMap;

use mimus_core::graph::Node;
use mimus_core::{Graph, Result};
use serde::Serialize;

use super::difference::Difference;
use super::walk::{Case, Step, Walked};
use crate::table::Table;

/// Everything that was compared.
#[derive(Serialize)]
pub(crate) struct Parity {
    pub(crate) format: u32,
    pub(crate) mimus: &'static str,
    /// Largest relative difference that is allowed.
    pub(crate) tolerance: f64,
    /// Batch, height and width of the inputs.
    pub(crate) inputs: [usize; 3],
    pub(crate) findings: Vec<Finding>,
    /// Backends that are not compared, each with the reason.
    pub(crate) not_available: BTreeMap<String, String>,
}

/// One backend on one program.
#[derive(Serialize)]
pub(crate) struct Finding {
    backend: String,
    program: String,
    within: bool,
    /// Why there are no numbers.
    error: Option<String>,
    nodes: usize,
    operators: BTreeMap<String, Worst>,
    layers: BTreeMap<String, Worst>,
    /// Outputs of the program as it is run.
    outputs: BTreeMap<String, Difference>,
    /// The largest of the variables that the program assigns: an optimiser makes full steps of rounding noise, so it is not judged.
    variables: Option<(String, Difference)>,
    /// The first node that is off although its operands are the reference's.
    first_alone: Option<First>,
    /// The first node that is off in the program.
    first_inside: Option<First>,
}

/// The largest differences of several nodes.
#[derive(Clone, Copy, Default, Serialize)]
struct Worst {
    nodes: usize,
    /// Of a node alone, on the reference's operands.
    alone: Largest,
    /// In the program, on the backend's own operands.
    inside: Largest,
}

/// The largest of each, not necessarily of one node.
#[derive(Clone, Copy, Default, Serialize)]
struct Largest {
    absolute: f64,
    relative: f64,
}

impl Largest {
    fn with(self, absolute: f64, relative: f64) -> Self {
        Self { absolute: self.absolute.max(absolute), relative: self.relative.max(relative) }
    }
}

/// A node for people.
#[derive(Serialize)]
struct First {
    layer: String,
    op: &'static str,
    /// Types of operands and results.
    types: String,
    difference: Difference,
}

impl Worst {
    fn of(step: &Step<'_>) -> Self {
        let [alone, inside] = [step.local, step.inside].map(|d| Largest::default().with(d.absolute, d.relative));
        Self { nodes: 1, alone, inside }
    }

    fn with(self, other: &Self) -> Self {
        let alone = self.alone.with(other.alone.absolute, other.alone.relative);
        let inside = self.inside.with(other.inside.absolute, other.inside.relative);
        Self { nodes: self.nodes + other.nodes, alone, inside }
    }
}

impl Finding {
    /// Judges what a backend made of a case.
    pub(crate) fn new(backend: &str, case: &Case, walked: Result<Walked<'_>>, tolerance: f64) -> Self {
        let (walked, error) = match walked {
            Ok(walked) => (walked, None),
            Err(error) => (Walked { steps: Vec::new(), results: Vec::new() }, Some(error.one_line())),
        };
        let by = |name: fn(&Node) -> &str| {
            let mut worsts = BTreeMap::<String, Worst>::new();
            for step in &walked.steps {
                let worst = worsts.entry(name(step.node).to_owned()).or_default();
                *worst = worst.with(&Worst::of(step));
            }
            worsts
        };
        let (operators, layers) = (by(|node| node.op.name()), by(|node| &node.label));
        let first = |difference: fn(&Step<'_>) -> Difference| {
            let step = walked.steps.iter().find(|step| beyond(difference(step), tolerance))?;
            Some(First::new(&case.program, step.node, difference(step)))
        };
        let (first_alone, first_inside) = (first(|step| step.local), first(|step| step.inside));
        let nodes = walked.steps.len();
        let mut results = walked.results;
        let variables = results.split_off(case.program.outputs.len().min(results.len()));
        let variables = variables.into_iter().reduce(|a, b| if b.1.relative > a.1.relative { b } else { a });
        let outputs: BTreeMap<String, Difference> = results.into_iter().collect();
        let outputs_agree = outputs.values().all(|difference| !beyond(*difference, tolerance));
        let within = error.is_none() && first_alone.is_none() && outputs_agree;
        let (backend, program) = (backend.to_owned(), case.name.clone());
        Self {
            backend,
            program,
            within,
            error,
            nodes,
            operators,
            layers,
            outputs,
            variables,
            first_alone,
            first_inside,
        }
    }

    /// Whether it is within the tolerance.
    pub(crate) fn within(&self) -> bool {
        self.within
    }

    fn worst(&self) -> Worst {
        self.operators.values().fold(Worst::default(), Worst::with)
    }

    fn verdict(&self) -> String {
        match (&self.error, self.within) {
            (Some(error), _) => format!("FAILED: {error}"),
            (None, true) => "within".to_owned(),
            (None, false) => "BEYOND".to_owned(),
        }
    }
}

fn beyond(difference: Difference, tolerance: f64) -> bool {
    difference.relative > tolerance
}

impl First {
    fn new(program: &Graph, node: &Node, difference: Difference) -> Self {
        let types = |values: &[mimus_core::ValueId]| {
            values.iter().map(|value| program.ty(*value).to_string()).collect::<Vec<_>>().join(", ")
        };
        let types = format!("({}) -> {}", types(&node.inputs), types(&node.outputs));
        Self { layer: node.label.clone(), op: node.op.name(), types, difference }
    }

    fn sentence(&self) -> String {
        let Difference { relative, found, expected, index, .. } = self.difference;
        let layer = if self.layer.is_empty() { String::new() } else { format!("layer `{}`: ", self.layer) };
        let Self { op, types, .. } = self;
        format!(
            "{layer}`{op}` {types}: element {index} is {found:e}, the reference has {expected:e} (off by {relative:.1e} of the largest)"
        )
    }
}

impl Parity {
    /// What a terminal shows: a row for each backend and program, and where each that is off begins to be.
    pub(crate) fn summary(&self) -> String {
        let mut table =
            Table::new(&["program", "backend", "nodes", "a node alone", "a node inside", "outputs", "verdict"]);
        for finding in &self.findings {
            let (worst, output) = (finding.worst(), finding.outputs.values().fold(0.0, |a: f64, b| a.max(b.relative)));
            table.row(vec![
                finding.program.clone(),
                finding.backend.clone(),
                finding.nodes.to_string(),
                format!("{:.1e}", worst.alone.relative),
                format!("{:.1e}", worst.inside.relative),
                format!("{output:.1e}"),
                finding.verdict(),
            ]);
        }
        let [batch, height, width] = self.inputs;
        let mut text = format!(
            "Batch {batch}, {height} x {width} pixels. Largest differences, as parts of the largest value that the reference has there: of\n\
             a node on the reference's operands, of a node on the backend's own, and of an output. A node alone and an output must stay\n\
             within {:.1e}; what has grown inside of the program is shown only.\n\n{}",
            self.tolerance,
            table.markdown()
        );
        for (backend, operators) in self.by_backend() {
            text += &format!("\nAll programs on {backend}:\n\n{}", worst_table("operator", &operators).markdown());
        }
        for finding in &self.findings {
            let firsts = [("alone", &finding.first_alone), ("inside", &finding.first_inside)];
            for (how, first) in firsts {
                let Some(first) = first else { continue };
                let (program, backend) = (&finding.program, &finding.backend);
                text += &format!("\nFirst node off {how}, {program} on {backend}: {}\n", first.sentence());
            }
        }
        for (backend, reason) in &self.not_available {
            text += &format!("\n{backend}: not available: {reason}\n");
        }
        text
    }

    /// The operators of all programs, for each backend.
    fn by_backend(&self) -> BTreeMap<&str, BTreeMap<String, Worst>> {
        let mut backends = BTreeMap::<&str, BTreeMap<String, Worst>>::new();
        for finding in &self.findings {
            let of_backend = backends.entry(&finding.backend).or_default();
            for (op, worst) in &finding.operators {
                let known = of_backend.entry(op.clone()).or_default();
                *known = known.with(worst);
            }
        }
        backends
    }

    /// `parity.md`.
    pub(crate) fn page(&self) -> String {
        let mut text = format!("# Parity with the reference interpreter\n\n{}", self.summary());
        for finding in &self.findings {
            let title = format!("{} on {}", finding.program, finding.backend);
            text += &format!("\n## {title}\n\n{}", results(finding).markdown());
            for (what, worsts) in [("operator", &finding.operators), ("layer", &finding.layers)] {
                text += &format!("\n{}", worst_table(what, worsts).markdown());
            }
        }
        text
    }
}

fn results(finding: &Finding) -> Table {
    let mut table = Table::new(&["result", "absolute", "relative"]);
    let largest = finding.variables.iter().map(|(name, difference)| (name, difference));
    for (name, difference) in finding.outputs.iter().chain(largest) {
        table.row(vec![name.clone(), number(difference.absolute), number(difference.relative)]);
    }
    table
}

fn worst_table(what: &str, worsts: &BTreeMap<String, Worst>) -> Table {
    let mut table =
        Table::new(&[what, "nodes", "alone, absolute", "alone, relative", "inside, absolute", "inside, relative"]);
    for (name, worst) in worsts {
        let Worst { nodes, alone, inside } = worst;
        let numbers = [alone.absolute, alone.relative, inside.absolute, inside.relative].map(number);
        let name = if name.is_empty() { "(none)" } else { name };
        table.row([name.to_owned(), nodes.to_string()].into_iter().chain(numbers).collect());
    }
    table
}

/// Two digits.
fn number(x: f64) -> String {
    format!("{x:.1e}")
}
