//! Which values share memory, when memory is needed last, and where it may be overwritten.

use mimus_core::graph::Graph;
use mimus_core::{Op, ValueId};

use crate::fuse::{Task, Work};

/// For every value of a program who holds its memory and until when.
pub(crate) struct Lifetimes {
    /// The value whose memory this one is a view of; itself if it has memory of its own.
    owner: Vec<usize>,
    /// The last task that reads the value; the number of tasks if it is read after all of them.
    last_read: Vec<usize>,
    /// The same for all views of an owner's memory.
    last_use: Vec<usize>,
    /// Memory that outlives the run, or elements that share their place.
    fixed: Vec<bool>,
}

/// Whether the output may be the operand's memory seen otherwise.
fn is_view(work: Work<'_>) -> bool {
    let Work::Op(op) = work else { return false };
    match op {
        Op::Reshape { .. }
        | Op::Permute { .. }
        | Op::Slice { .. }
        | Op::Broadcast { .. }
        | Op::StopGradient {}
        | Op::Cast { .. } => true,
        Op::Sum { axes, .. } | Op::Mean { axes, .. } | Op::Max { axes, .. } => axes.is_empty(),
        _ => false,
    }
}

impl Lifetimes {
    /// Those of a program; `kept` are the values that are read after the last task, `fixed` says of each value whether it outlives the run.
    pub(crate) fn new(graph: &Graph, tasks: &[Task<'_>], kept: &[ValueId], mut fixed: Vec<bool>) -> Self {
        let n = graph.values.len();
        let mut owner: Vec<usize> = (0..n).collect();
        let mut last_read = vec![0; n];
        for (i, task) in tasks.iter().enumerate() {
            task.inputs.iter().for_each(|value| last_read[value.index()] = i);
            let op = if let Work::Op(op) = task.work { Some(op) } else { None };
            let outlives = matches!(op, Some(Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. }));
            for output in &task.outputs {
                last_read[output.index()] = i;
                fixed[output.index()] |= outlives || matches!(op, Some(Op::Broadcast { .. }));
            }
            if is_view(task.work) {
                let (from, to) = (task.inputs[0].index(), task.outputs[0].index());
                owner[to] = owner[from];
                fixed[to] |= fixed[from];
            }
        }
        kept.iter().for_each(|value| last_read[value.index()] = tasks.len());
        let mut last_use = vec![0; n];
        for value in 0..n {
            last_use[owner[value]] = last_use[owner[value]].max(last_read[value]);
        }
        Self { owner, last_read, last_use, fixed }
    }

    /// Whether nothing after task `i` reads the value.
    pub(crate) fn ends(&self, value: ValueId, i: usize) -> bool {
        self.last_read[value.index()] <= i
    }

    /// For every operand of task `i` whether the task may write its output there.
    pub(crate) fn free(&self, graph: &Graph, task: &Task<'_>, i: usize) -> Vec<bool> {
        let may = |operand: &ValueId| {
            let owner = self.owner[operand.index()];
            let shared = |other: &ValueId| other != operand && self.owner[other.index()] == owner;
            graph.ty(*operand) == graph.ty(task.outputs[0])
                && !self.fixed[operand.index()]
                && self.last_use[owner] == i
                && !task.inputs.iter().any(shared)
        };
        task.inputs.iter().map(may).collect()
    }

    /// Whether the value lies in memory that outlives the run, or that is another value's too.
    pub(crate) fn is_shared(&self, value: ValueId) -> bool {
        self.fixed[value.index()] || self.owner[value.index()] != value.index()
    }
}
