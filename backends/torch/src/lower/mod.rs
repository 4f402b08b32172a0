//! What libtorch computes for every operator: a file for each family of the core's operators.

mod conv;
mod elementwise;
mod index;
mod layout;
mod matmul;
mod norm;
mod optimizer;
mod places;
mod pool;
mod reduce;
mod resize;

use mimus_core::{Op, ValueType};
use tch::{TchError, Tensor};

use crate::device::Settings;
use crate::error::Failure;
use crate::fuse::Work;
pub(crate) use optimizer::{Adam, Group};

/// What a kernel gives back.
pub(crate) type Results = Result<Vec<Tensor>, Failure>;

/// A node ready to compute its outputs from its operands.
pub(crate) type Kernel = Box<dyn Fn(Vec<Tensor>) -> Results + Send>;

/// What is known of a node when it is lowered.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Types of the operands.
    pub(crate) inputs: &'a [&'a ValueType],
    /// Types of the outputs.
    pub(crate) outputs: &'a [&'a ValueType],
    /// Operands that may be overwritten with the output: nobody reads them afterwards, and they have its type.
    pub(crate) free: &'a [bool],
    pub(crate) settings: Settings,
}

impl Site<'_> {
    fn shape(&self, input: usize) -> Vec<i64> {
        extents(&self.inputs[input].shape)
    }

    fn output(&self) -> Vec<i64> {
        extents(&self.outputs[0].shape)
    }

    fn is_free(&self, input: usize) -> bool {
        self.free.get(input).copied().unwrap_or_default()
    }
}

/// Extents as the engine counts them.
pub(crate) fn extents(list: &[usize]) -> Vec<i64> {
    list.iter().map(|n| *n as i64).collect()
}

/// A kernel with one output.
fn one(compute: impl Fn(Vec<Tensor>) -> Result<Tensor, TchError> + Send + 'static) -> Kernel {
    Box::new(move |operands| Ok(vec![compute(operands)?]))
}

/// Lowers a task; `None` for a source.
pub(crate) fn lower(work: Work<'_>, site: Site<'_>) -> Option<Kernel> {
    match work {
        Work::Op(op) => operator(op, site),
        Work::RectifierGradient { slope } => Some(elementwise::rectifier_gradient(slope, site)),
        Work::Activated(convolution, activation) => conv::activated(convolution, activation, site),
    }
}

fn operator(op: &Op, site: Site<'_>) -> Option<Kernel> {
    Some(match op {
        Op::Input { .. } | Op::Variable { .. } | Op::Constant { .. } | Op::Fill { .. } => return None,
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
        | Op::Cast { .. }
        | Op::StopGradient {} => elementwise::unary(op, site),
        Op::Add {}
        | Op::Sub {}
        | Op::Mul {}
        | Op::Div {}
        | Op::Maximum {}
        | Op::Minimum {}
        | Op::Equal {}
        | Op::Less {}
        | Op::LessEqual {}
        | Op::Select {} => elementwise::broadcasting(op, site),
        Op::Sum { axes, keep } => reduce::sum(axes, *keep),
        Op::Mean { axes, keep } => reduce::mean(axes, *keep),
        Op::Max { axes, keep } => reduce::max(axes, *keep),
        Op::MaxGrad { axes, .. } => reduce::max_gradient(axes, site),
        Op::Reshape { .. } => layout::reshape(site),
        Op::Permute { order } => layout::permute(order),
        Op::Slice { starts, .. } => layout::slice(starts, site),
        Op::Concat { axis } => layout::concat(*axis),
        Op::Pad { before, after, value } => layout::pad(before, after, *value),
        Op::Broadcast { .. } => layout::broadcast(site),
        Op::MatMul { transpose_a, transpose_b } => matmul::product(*transpose_a, *transpose_b, site),
        Op::Conv { stride, padding, dilation, groups } => {
            conv::forward(conv::Windows::new(stride, padding, dilation, *groups), None, site)
        }
        Op::ConvTranspose { stride, padding, output_padding, dilation, groups } => {
            conv::forward(conv::Windows::new(stride, padding, dilation, *groups), Some(output_padding), site)
        }
        Op::ConvWeightGrad { stride, padding, dilation, groups, .. } => {
            conv::weight_gradient(conv::Windows::new(stride, padding, dilation, *groups), site)
        }
        Op::MaxPool { kernel, stride, padding } => pool::max(pool::Windows::new(kernel, stride, padding)),
        Op::MaxPoolGrad { kernel, stride, padding } => pool::max_gradient(pool::Windows::new(kernel, stride, padding)),
        Op::AvgPool { kernel, stride, padding, count_include_pad } => {
            pool::average(pool::Windows::new(kernel, stride, padding), *count_include_pad)
        }
        Op::AvgPoolGrad { kernel, stride, padding, count_include_pad, .. } => {
            pool::average_gradient(pool::Windows::new(kernel, stride, padding), *count_include_pad, site)
        }
        Op::Resize { mode, align_corners, .. } => resize::resample(*mode, *align_corners, site),
        Op::ResizeGrad { mode, align_corners, .. } => resize::gradient(*mode, *align_corners, site),
        Op::Softmax { axis } => norm::softmax(*axis),
        Op::LogSoftmax { axis } => norm::log_softmax(*axis),
        Op::BatchNorm { eps } => norm::batch_norm(*eps),
        Op::BatchNormTrain { eps } => norm::batch_norm_train(*eps, site),
        Op::BatchNormTrainGrad { eps } => norm::batch_norm_train_gradient(*eps, site),
        Op::ArgMax { axis } => index::argmax(*axis),
        Op::OneHot { depth } => index::one_hot(*depth, site),
        Op::Gather {} => index::gather(site),
        Op::GatherGrad { rows } => index::gather_gradient(*rows, site),
        Op::Sgd { momentum, weight_decay, nesterov } => optimizer::sgd(*momentum, *weight_decay, *nesterov),
        Op::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
            let constants =
                Adam { beta1: *beta1, beta2: *beta2, eps: *eps, weight_decay: *weight_decay, decoupled: *decoupled };
            optimizer::adam(constants)
        }
    })
}
