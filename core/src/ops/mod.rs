//! The closed set of primitive operators: one table with their names and attributes, and the four questions that every
//! operator answers in its family's file: which types come out, what the gradient is, what the reference kernel computes,
//! and (in the tests beside it) whether these agree.

mod attribute;
mod check;
pub mod conv;
pub mod elementwise;
pub mod index;
pub mod layout;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod pool;
pub mod reduce;
pub mod resize;
pub mod source;
#[cfg(test)]
pub(crate) mod testing;

pub use attribute::{Attribute, Attributes, Mode};

use attribute::Field;

use crate::error::{Error, Result};
use crate::graph::{Builder, ValueId};
use crate::reference::Array;
use crate::tensor::{Dtype, HostTensor, ValueType};

/// What a gradient rule may see of the node that it differentiates.
pub struct GradientContext<'a> {
    /// The graph under construction; rules append to it.
    pub builder: &'a mut Builder,
    /// The node's inputs.
    pub inputs: &'a [ValueId],
    /// The node's outputs.
    pub outputs: &'a [ValueId],
    /// The gradient of the loss with respect to each output; `None` where none arrives. At least one is there.
    pub gradients: &'a [Option<ValueId>],
    /// Which inputs need a gradient; a rule may skip the others.
    pub needed: &'a [bool],
}

/// The gradient with respect to each input: `None` where it is zero or not needed.
pub type InputGradients = Vec<Option<ValueId>>;

macro_rules! operators {
    ($( $family:ident { $( $(#[$doc:meta])* $variant:ident $name:literal { $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)? } )* } )*) => {
        /// A primitive operator with its attributes.
        ///
        /// Everything else (layer norm, SSIM, memory addressing, ...) is a composite in [`crate::blocks`].
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $( $( $(#[$doc])* $variant { $( $(#[$fdoc])* $field : $ty ),* }, )* )*
        }

        impl Op {
            /// The name in the text form and on the wire.
            pub fn name(&self) -> &'static str {
                match self { $( $( Self::$variant { .. } => $name, )* )* }
            }

            /// The attributes by name, in order of declaration.
            pub fn attributes(&self) -> Attributes {
                match self {
                    $( $( Self::$variant { $( $field ),* } => vec![ $( (stringify!($field).to_owned(), $field.to_attribute()) ),* ], )* )*
                }
            }

            /// The operator called `name` with `attributes`.
            ///
            /// # Errors
            /// If no operator has that name, or an attribute is missing, unknown or of another type.
            pub fn from_attributes(name: &str, attributes: Attributes) -> Result<Self> {
                let mut fields = attribute::Fields::new(name, attributes)?;
                let op = match name {
                    $( $( $name => Self::$variant { $( $field: fields.take(stringify!($field))? ),* }, )* )*
                    _ => return Err(attribute::unknown_operator(name, Self::NAMES)),
                };
                fields.finish()?;
                Ok(op)
            }

            /// The names of all operators.
            pub const NAMES: &'static [&'static str] = &[ $( $( $name, )* )* ];

            /// The types of the outputs for inputs of the given types, or why these inputs do not fit.
            ///
            /// # Errors
            /// Says which constraint of the operator is violated, with the values found and expected.
            pub fn infer(&self, inputs: &[&ValueType]) -> Result<Vec<ValueType>> {
                match self { $( $( Self::$variant { .. } )|* => $family::infer(self, inputs), )* }
            }

            /// Appends the gradient with respect to the inputs.
            ///
            /// # Errors
            /// If the operator has no gradient, or a rule builds an ill-formed node.
            pub fn gradient(&self, context: &mut GradientContext<'_>) -> Result<InputGradients> {
                match self { $( $( Self::$variant { .. } )|* => $family::gradient(self, context), )* }
            }

            /// Computes the outputs, slowly and obviously, in f64.
            ///
            /// # Errors
            /// If an index is out of range: everything else was checked by [`Op::infer`].
            pub fn evaluate(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
                match self { $( $( Self::$variant { .. } )|* => $family::evaluate(self, inputs), )* }
            }
        }
    };
}

operators! {
    source {
        /// A tensor that the host gives to every run. No inputs.
        Input "input" {
            /// Name under which the host gives it.
            name: String,
            /// Element type.
            dtype: Dtype,
            /// Extents.
            shape: Vec<usize>,
        }
        /// The value of a variable at the start of the run. No inputs.
        Variable "variable" {
            /// Name in [`crate::graph::Graph::variables`], which also holds its type.
            name: String,
            /// Element type.
            dtype: Dtype,
            /// Extents.
            shape: Vec<usize>,
        }
        /// A constant tensor. No inputs.
        Constant "constant" {
            /// The tensor.
            value: HostTensor,
        }
        /// A constant of one number. No inputs.
        Fill "fill" {
            /// Element type.
            dtype: Dtype,
            /// Extents.
            shape: Vec<usize>,
            /// The number, rounded to the element type.
            value: f64,
        }
    }
    elementwise {
        /// `-x`.
        Neg "neg" {}
        /// `|x|`; gradient `sign(x)`, 0 at 0.
        Abs "abs" {}
        /// -1, 0 or 1; gradient 0.
        Sign "sign" {}
        /// `e^x`.
        Exp "exp" {}
        /// Natural logarithm.
        Log "log" {}
        /// Square root.
        Sqrt "sqrt" {}
        /// `1 / (1 + e^-x)`.
        Sigmoid "sigmoid" {}
        /// Hyperbolic tangent.
        Tanh "tanh" {}
        /// `max(x, 0)`; gradient 0 at 0.
        Relu "relu" {}
        /// `x` where `x > 0`, else `slope * x`; gradient `slope` at 0.
        LeakyRelu "leaky_relu" {
            /// Slope on the negative side.
            slope: f64,
        }
        /// `x` where `x > 0`, else `alpha * (e^x - 1)`.
        Elu "elu" {
            /// Scale on the negative side.
            alpha: f64,
        }
        /// `min(max(x, min), max)`; gradient 1 within the bounds, both included, else 0.
        Clamp "clamp" {
            /// Lower bound.
            min: f64,
            /// Upper bound.
            max: f64,
        }
        /// `x ^ exponent`.
        Pow "pow" {
            /// The exponent.
            exponent: f64,
        }
        /// `a + b`, broadcast as in NumPy. f32 or i64.
        Add "add" {}
        /// `a - b`, broadcast. f32 or i64.
        Sub "sub" {}
        /// `a * b`, broadcast. f32 or i64.
        Mul "mul" {}
        /// `a / b`, broadcast. f32.
        Div "div" {}
        /// The larger; at ties the gradient is halved. Broadcast, f32.
        Maximum "maximum" {}
        /// The smaller; at ties the gradient is halved. Broadcast, f32.
        Minimum "minimum" {}
        /// 1 where `a == b`, else 0, as f32; broadcast; f32 or i64. No gradient flows.
        Equal "equal" {}
        /// 1 where `a < b`, else 0, as f32; broadcast; f32 or i64. No gradient flows.
        Less "less" {}
        /// 1 where `a <= b`, else 0, as f32; broadcast; f32 or i64. No gradient flows.
        LessEqual "less_equal" {}
        /// `select(c, a, b)`: `a` where `c != 0`, else `b`; broadcast; all f32. No gradient to `c`.
        Select "select" {}
        /// Conversion of the element type; f32 to i64 truncates towards 0. No gradient flows through i64.
        Cast "cast" {
            /// Target element type.
            dtype: Dtype,
        }
        /// `x`, through which no gradient flows. f32.
        StopGradient "stop_gradient" {}
    }
    reduce {
        /// Sum over `axes` (sorted, distinct); reduced axes stay as extent 1 if `keep`.
        Sum "sum" {
            /// Axes reduced.
            axes: Vec<usize>,
            /// Whether reduced axes stay with extent 1.
            keep: bool,
        }
        /// Mean over `axes`.
        Mean "mean" {
            /// Axes reduced.
            axes: Vec<usize>,
            /// Whether reduced axes stay with extent 1.
            keep: bool,
        }
        /// Maximum over `axes`. The gradient goes to the first maximal element in row-major order.
        Max "max" {
            /// Axes reduced.
            axes: Vec<usize>,
            /// Whether reduced axes stay with extent 1.
            keep: bool,
        }
        /// Gradient of `max`: inputs `x` and `dy` (shape of the reduced output); `dy` at the first maximal element, 0 elsewhere.
        MaxGrad "max_grad" {
            /// Axes reduced.
            axes: Vec<usize>,
            /// Whether reduced axes stayed with extent 1.
            keep: bool,
        }
    }
    layout {
        /// The same elements in row-major order under new extents. f32 or i64.
        Reshape "reshape" {
            /// New extents.
            shape: Vec<usize>,
        }
        /// Axes reordered: output axis `i` is input axis `order[i]`. f32 or i64.
        Permute "permute" {
            /// A permutation of the axes.
            order: Vec<usize>,
        }
        /// The box `starts[i] .. ends[i]` of every axis. f32 or i64.
        Slice "slice" {
            /// First index of every axis.
            starts: Vec<usize>,
            /// One past the last index of every axis.
            ends: Vec<usize>,
        }
        /// One or more inputs, one after another along `axis`. f32 or i64.
        Concat "concat" {
            /// The axis.
            axis: usize,
        }
        /// Constant elements added around the input. f32.
        Pad "pad" {
            /// Elements added in front, for every axis.
            before: Vec<usize>,
            /// Elements added behind, for every axis.
            after: Vec<usize>,
            /// The constant.
            value: f64,
        }
        /// Repeats extents of 1 (and adds leading axes) up to `shape`. f32 or i64.
        Broadcast "broadcast" {
            /// New extents.
            shape: Vec<usize>,
        }
    }
    matmul {
        /// `[.., M, K] x [.., K, N] -> [.., M, N]`, rank 2 or more, equal leading extents; each side may be stored transposed.
        MatMul "matmul" {
            /// The left side is stored as `[.., K, M]`.
            transpose_a: bool,
            /// The right side is stored as `[.., N, K]`.
            transpose_b: bool,
        }
    }
    conv {
        /// Cross-correlation in 1 to 3 dimensions as in PyTorch: `x [N, C, ..]`, `w [O, C/groups, k..]`, optional bias `[O]` to `[N, O, ..]`.
        Conv "conv" {
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Zeros added on both sides of every spatial axis.
            padding: Vec<usize>,
            /// Dilation of every spatial axis.
            dilation: Vec<usize>,
            /// Number of groups.
            groups: usize,
        }
        /// Transposed convolution as in PyTorch, also the input gradient of `conv`: `x [N, I, ..]`, `w [I, O/groups, k..]`,
        /// optional bias `[O]`; extent `(in - 1) * stride - 2 * padding + dilation * (k - 1) + output_padding + 1`.
        ConvTranspose "conv_transpose" {
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Removed from both sides of every spatial axis.
            padding: Vec<usize>,
            /// Added behind every spatial axis; less than the stride.
            output_padding: Vec<usize>,
            /// Dilation of every spatial axis.
            dilation: Vec<usize>,
            /// Number of groups.
            groups: usize,
        }
        /// Weight gradient of `conv`: inputs `x [N, C, ..]` and `dy [N, O, ..]`, output `[O, C/groups, k..]`.
        ConvWeightGrad "conv_weight_grad" {
            /// Spatial extents of the weight.
            kernel: Vec<usize>,
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Zeros added on both sides of every spatial axis.
            padding: Vec<usize>,
            /// Dilation of every spatial axis.
            dilation: Vec<usize>,
            /// Number of groups.
            groups: usize,
        }
    }
    pool {
        /// Maximum of every window, padding counted as minus infinity; 1 to 3 spatial axes.
        MaxPool "max_pool" {
            /// Window of every spatial axis.
            kernel: Vec<usize>,
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Padding on both sides of every spatial axis, at most half the window.
            padding: Vec<usize>,
        }
        /// Gradient of `max_pool`: inputs `x` and `dy`; each `dy` goes to the first maximal element of its window.
        MaxPoolGrad "max_pool_grad" {
            /// Window of every spatial axis.
            kernel: Vec<usize>,
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Padding on both sides of every spatial axis.
            padding: Vec<usize>,
        }
        /// Mean of every window; 1 to 3 spatial axes.
        AvgPool "avg_pool" {
            /// Window of every spatial axis.
            kernel: Vec<usize>,
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Zero padding on both sides of every spatial axis, at most half the window.
            padding: Vec<usize>,
            /// Whether padding counts in the divisor.
            count_include_pad: bool,
        }
        /// Gradient of `avg_pool`: input `dy`, output of the spatial extents `size`.
        AvgPoolGrad "avg_pool_grad" {
            /// Spatial extents of the pooled input.
            size: Vec<usize>,
            /// Window of every spatial axis.
            kernel: Vec<usize>,
            /// Stride of every spatial axis.
            stride: Vec<usize>,
            /// Zero padding on both sides of every spatial axis.
            padding: Vec<usize>,
            /// Whether padding counts in the divisor.
            count_include_pad: bool,
        }
    }
    resize {
        /// Spatial axes resampled to `size` as PyTorch's `interpolate` does (no antialiasing); 1 to 3 spatial axes.
        Resize "resize" {
            /// New spatial extents.
            size: Vec<usize>,
            /// Nearest or linear (bilinear, trilinear).
            mode: Mode,
            /// Whether the corner elements' centres are aligned; linear only.
            align_corners: bool,
        }
        /// Gradient of `resize`: input `dy`, output of the spatial extents `size`.
        ResizeGrad "resize_grad" {
            /// Spatial extents before resizing.
            size: Vec<usize>,
            /// Nearest or linear.
            mode: Mode,
            /// Whether the corner elements' centres are aligned.
            align_corners: bool,
        }
    }
    norm {
        /// Softmax over one axis.
        Softmax "softmax" {
            /// The axis.
            axis: usize,
        }
        /// Logarithm of softmax over one axis.
        LogSoftmax "log_softmax" {
            /// The axis.
            axis: usize,
        }
        /// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel: inputs `x [N, C, ..]`, `weight`, `bias`, `mean`, `var`, all `[C]`.
        BatchNorm "batch_norm" {
            /// Added to the variance.
            eps: f64,
        }
        /// Batch norm with the batch's statistics: inputs `x [N, C, ..]`, `weight [C]`, `bias [C]`; outputs `y`, `mean [C]`
        /// and the biased variance `var [C]`. Gradient flows through `y` only.
        BatchNormTrain "batch_norm_train" {
            /// Added to the variance.
            eps: f64,
        }
        /// Gradient of `batch_norm_train`: inputs `x`, `weight`, `mean`, `var`, `dy`; outputs `dx`, `dweight`, `dbias`.
        BatchNormTrainGrad "batch_norm_train_grad" {
            /// Added to the variance.
            eps: f64,
        }
    }
    index {
        /// Index of the first maximum along `axis`, which disappears; i64.
        ArgMax "argmax" {
            /// The axis.
            axis: usize,
        }
        /// i64 indices to f32 rows: a last axis of extent `depth` is added. An index outside `0..depth` is an error.
        OneHot "one_hot" {
            /// Extent of the new last axis.
            depth: usize,
        }
        /// Rows of `x [R, ..]` at i64 `indices [I..]`: output `[I.., ..]`. An index outside `0..R` is an error.
        Gather "gather" {}
        /// Gradient of `gather`: i64 `indices [I..]` and `dy [I.., ..]`; output `[rows, ..]`, repeated rows add up.
        GatherGrad "gather_grad" {
            /// Extent of the first axis of the gathered tensor.
            rows: usize,
        }
    }
    optimizer {
        /// SGD as in PyTorch: inputs `p`, `g`, `lr []` and, with momentum, the buffer; outputs new `p` and, with momentum, new buffer.
        Sgd "sgd" {
            /// Momentum; 0 for none.
            momentum: f64,
            /// L2 penalty added to the gradient.
            weight_decay: f64,
            /// Nesterov's variant.
            nesterov: bool,
        }
        /// Adam as in PyTorch: inputs `p`, `g`, `m`, `v`, `lr []`, `step []` (1 for the first step); outputs new `p`, `m`, `v`.
        Adam "adam" {
            /// Decay of the first moment.
            beta1: f64,
            /// Decay of the second moment.
            beta2: f64,
            /// Added to the square root.
            eps: f64,
            /// L2 penalty added to the gradient, or, if `decoupled`, AdamW's decay of the parameter.
            weight_decay: f64,
            /// AdamW's decoupled weight decay.
            decoupled: bool,
        }
    }
}

/// The error that an operator's rules give for an input count that does not fit.
pub(crate) fn expect_inputs<T>(op: &Op, inputs: &[T], allowed: std::ops::RangeInclusive<usize>) -> Result<()> {
    if allowed.contains(&inputs.len()) {
        return Ok(());
    }
    let expected = if allowed.start() == allowed.end() {
        allowed.start().to_string()
    } else {
        format!("{} to {}", allowed.start(), allowed.end())
    };
    Err(Error::graph(format!("has {} inputs, expects {expected}", inputs.len())).with("op", op.name()))
}
