//! Cuts a program into tasks: a node each, but where the engine has one function for several.

use mimus_core::graph::{Graph, Named};
use mimus_core::{Op, ValueId};

/// What is computed at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// One node.
    Op(&'a Op),
    /// The gradient behind a rectifier: operands `dy` and a value of the sign of the rectifier's input; `dy` where that is above 0, else
    /// `slope * dy`.
    RectifierGradient {
        /// 0 for `relu`.
        slope: f64,
    },
    /// A convolution and the function of its output.
    Activated(&'a Op, &'a Op),
}

/// Nodes that are computed at once.
pub(crate) struct Task<'a> {
    pub(crate) work: Work<'a>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// The node that names the task in errors: the last one.
    pub(crate) node: usize,
}

/// A graph, and who reads its values.
struct Cutter<'a> {
    graph: &'a Graph,
    /// For every value the number of reads, after the last node too.
    reads: Vec<usize>,
    /// For every node whether a later one computes it.
    absorbed: Vec<bool>,
}

/// The tasks of a well-formed program, in an order in which they can run.
pub(crate) fn tasks(graph: &Graph, activations: bool) -> Vec<Task<'_>> {
    let mut reads = vec![0; graph.values.len()];
    let ends = graph.outputs.iter().chain(&graph.assignments).map(|Named { value, .. }| value);
    graph.nodes.iter().flat_map(|node| &node.inputs).chain(ends).for_each(|value| reads[value.index()] += 1);
    let mut cutter = Cutter { graph, reads, absorbed: vec![false; graph.nodes.len()] };
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for i in (0..graph.nodes.len()).rev().filter(|i| !is_source(&graph.nodes[*i].op)) {
        if !cutter.absorbed[i] {
            tasks.push(cutter.task(i, activations));
        }
    }
    let sources = (0..graph.nodes.len()).rev().filter(|i| is_source(&graph.nodes[*i].op));
    tasks.extend(sources.map(|i| cutter.single(i)));
    tasks.reverse();
    tasks
}

fn is_source(op: &Op) -> bool {
    matches!(op, Op::Input { .. } | Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. })
}

impl<'a> Cutter<'a> {
    fn single(&self, i: usize) -> Task<'a> {
        let node = &self.graph.nodes[i];
        Task { work: Work::Op(&node.op), inputs: node.inputs.clone(), outputs: node.outputs.clone(), node: i }
    }

    fn task(&mut self, i: usize, activations: bool) -> Task<'a> {
        let found = self.rectifier_gradient(i).or_else(|| if activations { self.activated(i) } else { None });
        let Some((task, absorbed)) = found else { return self.single(i) };
        absorbed.into_iter().for_each(|node| self.absorbed[node] = true);
        task
    }

    /// The node that makes a value, if nobody reads the value a second time.
    fn only(&self, value: ValueId) -> Option<usize> {
        (self.reads[value.index()] == 1).then_some(self.graph.values[value.index()].node)
    }

    /// The number that a value is everywhere.
    fn number(&self, value: ValueId) -> Option<f64> {
        match &self.graph.producer(value).op {
            Op::Fill { value, .. } => Some(f64::from(*value as f32)),
            _ => None,
        }
    }

    /// Node `i` as an operator on a value and a number.
    fn with_number(&self, i: usize, is: impl Fn(&Op) -> bool) -> Option<(ValueId, f64)> {
        let node = &self.graph.nodes[i];
        let [x, number] = node.inputs[..] else { return None };
        if is(&node.op) { Some((x, self.number(number)?)) } else { None }
    }

    /// `dy * (0 < y)`, or `dy * ((0 < y) * (1 - slope) + slope)`, as the rectifiers' rules write it.
    fn rectifier_gradient(&self, i: usize) -> Option<(Task<'a>, Vec<usize>)> {
        let node = &self.graph.nodes[i];
        let (Op::Mul {}, [dy, factor]) = (&node.op, &node.inputs[..]) else { return None };
        let mut mask = self.only(*factor)?;
        let mut absorbed = vec![mask];
        let mut slope = 0.0;
        if let Some((scaled, term)) = self.with_number(mask, |op| matches!(op, Op::Add {})) {
            let scale = self.only(scaled)?;
            let (comparison, factor) = self.with_number(scale, |op| matches!(op, Op::Mul {}))?;
            if (factor - (1.0 - term)).abs() > f64::from(f32::EPSILON) {
                return None;
            }
            mask = self.only(comparison)?;
            absorbed.extend([scale, mask]);
            slope = term;
        }
        let (Op::Less {}, [zero, y]) = (&self.graph.nodes[mask].op, &self.graph.nodes[mask].inputs[..]) else {
            return None;
        };
        if self.number(*zero) != Some(0.0) || self.graph.ty(*dy) != self.graph.ty(*y) {
            return None;
        }
        let work = Work::RectifierGradient { slope };
        Some((Task { work, inputs: vec![*dy, *y], outputs: node.outputs.clone(), node: i }, absorbed))
    }

    /// A function of a convolution that nobody else reads.
    fn activated(&self, i: usize) -> Option<(Task<'a>, Vec<usize>)> {
        let node = &self.graph.nodes[i];
        if !matches!(node.op, Op::Relu {} | Op::LeakyRelu { .. } | Op::Sigmoid {} | Op::Tanh {}) {
            return None;
        }
        let convolution = self.only(node.inputs[0])?;
        let before = &self.graph.nodes[convolution];
        if !matches!(before.op, Op::Conv { .. } | Op::ConvTranspose { .. }) {
            return None;
        }
        let work = Work::Activated(&before.op, &node.op);
        let task = Task { work, inputs: before.inputs.clone(), outputs: node.outputs.clone(), node: i };
        Some((task, vec![convolution]))
    }
}
