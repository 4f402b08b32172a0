//! What computes: a kernel for every operator, prepared once for the static shapes of its operands.
//!
//! Kernels split their work into tasks by sizes alone, never by the number of threads, and every sum has a fixed order: results
//! are the same bits on any number of threads.

pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod scratch;

use mimus_core::{Error, Op, Result, ValueType};

use crate::buffer::{View, ViewMut};

/// Elements that one task of a cheap kernel handles: enough to pay for the task, few enough to share.
pub(crate) const CHUNK: usize = 16 * 1024;

/// An operator, or several fused, for operands of known types.
pub(crate) trait Kernel: Send + Sync {
    /// Number of f32 elements of working memory that a run needs.
    fn workspace(&self) -> usize {
        0
    }

    /// The input whose memory the first output, of the same type, can take: if it does, the input is no operand any more, and
    /// the output holds its values.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Computes the outputs, every element of them.
    ///
    /// # Errors
    /// If an index is out of range.
    fn run(&self, operands: Operands<'_, '_>) -> Result<()>;
}

/// What a kernel works on.
pub(crate) struct Operands<'a, 'b> {
    pub(crate) inputs: &'b [View<'a>],
    pub(crate) outputs: &'b mut [ViewMut<'a>],
    pub(crate) workspace: &'b mut [f32],
}

impl<'a, 'b> Operands<'a, 'b> {
    /// The f32 input number `i`.
    pub(crate) fn input(&self, i: usize) -> Result<&'a [f32]> {
        self.inputs.get(i).copied().ok_or_else(|| missing("input", i))?.f32()
    }

    /// The i64 input number `i`.
    pub(crate) fn indices(&self, i: usize) -> Result<&'a [i64]> {
        self.inputs.get(i).copied().ok_or_else(|| missing("input", i))?.i64()
    }

    /// The only output, f32.
    pub(crate) fn output(&mut self) -> Result<&mut [f32]> {
        self.outputs.first_mut().ok_or_else(|| missing("output", 0))?.f32()
    }

    /// All outputs, f32.
    pub(crate) fn outputs<const N: usize>(self) -> Result<[&'b mut [f32]; N]> {
        let slices = self.outputs.iter_mut().map(ViewMut::f32).collect::<Result<Vec<_>>>()?;
        slices.try_into().map_err(|_| missing("output", N))
    }
}

fn missing(what: &str, i: usize) -> Error {
    Error::graph(format!("{what} {i} is missing")).hint("verify the graph before loading it")
}

/// The types of a node's operands.
#[derive(Clone, Copy)]
pub(crate) struct Types<'a> {
    pub(crate) inputs: &'a [&'a ValueType],
    pub(crate) outputs: &'a [&'a ValueType],
}

impl<'a> Types<'a> {
    /// Extents of input `i`.
    pub(crate) fn input(&self, i: usize) -> Result<&'a [usize]> {
        self.inputs.get(i).map(|ty| ty.shape.as_slice()).ok_or_else(|| missing("input", i))
    }

    /// Extents of output `i`.
    pub(crate) fn output(&self, i: usize) -> Result<&'a [usize]> {
        self.outputs.get(i).map(|ty| ty.shape.as_slice()).ok_or_else(|| missing("output", i))
    }
}

/// The kernel for an operator that is neither a source nor fused elementwise.
///
/// # Errors
/// If operands are missing: the graph was not verified.
pub(crate) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    match op {
        Op::Sum { .. } | Op::Mean { .. } | Op::Max { .. } | Op::MaxGrad { .. } => reduce::prepare(op, types),
        Op::Reshape { .. }
        | Op::Permute { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Pad { .. }
        | Op::Broadcast { .. } => layout::prepare(op, types),
        Op::MatMul { transpose_a, transpose_b } => matmul::prepare(*transpose_a, *transpose_b, types),
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::ConvWeightGrad { .. } => conv::prepare(op, types),
        Op::MaxPool { .. } | Op::MaxPoolGrad { .. } | Op::AvgPool { .. } | Op::AvgPoolGrad { .. } => {
            pool::prepare(op, types)
        }
        Op::Resize { .. } | Op::ResizeGrad { .. } => resize::prepare(op, types),
        Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::BatchNorm { .. }
        | Op::BatchNormTrain { .. }
        | Op::BatchNormTrainGrad { .. } => norm::prepare(op, types),
        Op::ArgMax { .. } | Op::OneHot { .. } | Op::Gather {} | Op::GatherGrad { .. } => index::prepare(op, types),
        Op::Sgd { .. } | Op::Adam { .. } => Ok(optimizer::prepare(op)),
        Op::Neg {}
        | Op::Abs {}
        | Op::Sign {}
        | Op::Exp {}
        | Op::Log {}
        | Op::Sqrt {}
        | Op::Sigmoid {}
        | Op::Tanh {}
        | Op::Relu {}
        | Op::LeakyRelu { .. }
        | Op::Elu { .. }
        | Op::Clamp { .. }
        | Op::Pow { .. }
        | Op::Add {}
        | Op::Sub {}
        | Op::Mul {}
        | Op::Div {}
        | Op::Maximum {}
        | Op::Minimum {}
        | Op::Equal {}
        | Op::Less {}
        | Op::LessEqual {}
        | Op::Select {}
        | Op::Cast { .. }
        | Op::StopGradient {} => elementwise::prepare(op, types),
        Op::Input { .. } | Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. } => {
            Err(Error::backend("a source is bound, not computed").with("op", op.name()))
        }
    }
}
