//! Convolution and linear layers with PyTorch's parameter names, layouts and first values.

use crate::error::Result;
use crate::graph::{Builder, Init, ValueId};
use crate::ops::Op;

/// A convolution layer; the number of spatial axes is the length of `kernel`.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Kernel extents.
    pub kernel: Vec<usize>,
    /// Strides.
    pub stride: Vec<usize>,
    /// Zero padding on both sides.
    pub padding: Vec<usize>,
    /// Dilations.
    pub dilation: Vec<usize>,
    /// Groups of channels that are convolved apart.
    pub groups: usize,
    /// Transposed only: added behind every spatial axis.
    pub output_padding: Vec<usize>,
    /// Whether there is a bias.
    pub bias: bool,
    /// The weight's first values; `None` for PyTorch's default.
    pub init: Option<Init>,
    /// Whether the bias begins at 0 instead of PyTorch's default.
    pub zero_bias: bool,
}

impl Conv {
    /// Stride 1, no padding, with bias.
    pub fn new(channels: usize, kernel: &[usize]) -> Self {
        let n = kernel.len();
        Self {
            channels,
            kernel: kernel.to_vec(),
            stride: vec![1; n],
            padding: vec![0; n],
            dilation: vec![1; n],
            groups: 1,
            output_padding: vec![0; n],
            bias: true,
            init: None,
            zero_bias: false,
        }
    }

    /// Sets the strides.
    #[must_use]
    pub fn stride(mut self, stride: &[usize]) -> Self {
        self.stride = stride.to_vec();
        self
    }

    /// Sets the padding.
    #[must_use]
    pub fn padding(mut self, padding: &[usize]) -> Self {
        self.padding = padding.to_vec();
        self
    }

    /// Sets the dilations.
    #[must_use]
    pub fn dilation(mut self, dilation: &[usize]) -> Self {
        self.dilation = dilation.to_vec();
        self
    }

    /// Sets the number of groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets the output padding of the transposed layer.
    #[must_use]
    pub fn output_padding(mut self, output_padding: &[usize]) -> Self {
        self.output_padding = output_padding.to_vec();
        self
    }

    /// Removes the bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Sets the weight's first values.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }

    /// Lets the bias begin at 0.
    #[must_use]
    pub fn zero_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }

    /// `x [N, C, ..]` to `[N, channels, ..]` with the parameters `weight [channels, C/groups, k..]` and `bias [channels]` of
    /// layer `label`.
    ///
    /// # Errors
    /// If the kernel does not fit the input, or the groups do not divide the channels.
    pub fn forward(&self, b: &mut Builder, label: &str, x: ValueId) -> Result<ValueId> {
        let weight = [&[self.channels, channels_of(b, x) / self.groups.max(1)], self.kernel.as_slice()].concat();
        self.layer(b, label, x, weight, self.plain())
    }

    fn plain(&self) -> Op {
        Op::Conv {
            stride: self.stride.clone(),
            padding: self.padding.clone(),
            dilation: self.dilation.clone(),
            groups: self.groups,
        }
    }

    /// The layer with a weight of separate length and direction, `weight_g * weight_v / |weight_v|` with the norm over all axes but
    /// the first (Salimans and Kingma, 2016; `torch.nn.utils.weight_norm`): parameters `weight_g [channels, 1..]`,
    /// `weight_v [channels, C, k..]` and `bias [channels]`. PyTorch begins `weight_g` with the norms of `weight_v`; here it begins
    /// with what these are on average, `1 / sqrt(3)` for the default first values.
    ///
    /// # Errors
    /// If the kernel does not fit the input.
    pub fn weight_normalised(&self, b: &mut Builder, label: &str, x: ValueId) -> Result<ValueId> {
        let shape = [&[self.channels, channels_of(b, x) / self.groups.max(1)], self.kernel.as_slice()].concat();
        let fan_in = shape[1..].iter().product::<usize>();
        let direction = self.init.clone().unwrap_or(Init::fan_in(fan_in));
        let length = (fan_in as f64 * direction.mean_square()).sqrt();
        let lengths = std::iter::once(self.channels).chain(shape[1..].iter().map(|_| 1)).collect::<Vec<_>>();
        b.scope(label, |b| {
            let g = b.parameter("weight_g", lengths, Init::Constant(length))?;
            let v = b.parameter("weight_v", shape, direction)?;
            let axes: Vec<usize> = (1..b.shape(v).len()).collect();
            let square = b.mul(v, v)?;
            let sum = b.sum_keep(square, &axes)?;
            let norm = b.sqrt(sum)?;
            let factor = b.div(g, norm)?;
            let weight = b.mul(v, factor)?;
            self.apply(b, x, weight, fan_in, self.plain())
        })
    }

    /// The transposed layer, with `weight [C, channels/groups, k..]`.
    ///
    /// # Errors
    /// If padding or output padding do not fit.
    pub fn transposed(&self, b: &mut Builder, label: &str, x: ValueId) -> Result<ValueId> {
        let weight = [&[channels_of(b, x), self.channels / self.groups.max(1)], self.kernel.as_slice()].concat();
        let op = Op::ConvTranspose {
            stride: self.stride.clone(),
            padding: self.padding.clone(),
            output_padding: self.output_padding.clone(),
            dilation: self.dilation.clone(),
            groups: self.groups,
        };
        self.layer(b, label, x, weight, op)
    }

    /// PyTorch takes the fan-in of both kinds from the weight's second axis.
    fn layer(&self, b: &mut Builder, label: &str, x: ValueId, weight: Vec<usize>, op: Op) -> Result<ValueId> {
        b.scope(label, |b| {
            let fan_in = weight[1..].iter().product();
            let weight = b.parameter("weight", weight, self.init.clone().unwrap_or(Init::fan_in(fan_in)))?;
            self.apply(b, x, weight, fan_in, op)
        })
    }

    fn apply(&self, b: &mut Builder, x: ValueId, weight: ValueId, fan_in: usize, op: Op) -> Result<ValueId> {
        let mut inputs = vec![x, weight];
        if self.bias {
            let init = if self.zero_bias { Init::ZEROS } else { Init::fan_in(fan_in) };
            inputs.push(b.parameter("bias", [self.channels], init)?);
        }
        b.node(op, &inputs)
    }
}

/// The extent of the second axis.
pub(super) fn channels_of(b: &Builder, x: ValueId) -> usize {
    b.shape(x).get(1).copied().unwrap_or(1)
}

/// A linear layer without bias: `x [N, I]` to `[N, O]` with the parameter `weight [O, I]` of layer `label`.
///
/// # Errors
/// If `x` is not of rank 2.
pub fn linear(b: &mut Builder, label: &str, x: ValueId, outputs: usize) -> Result<ValueId> {
    b.scope(label, |b| {
        let inputs = channels_of(b, x);
        let weight = b.parameter("weight", [outputs, inputs], Init::fan_in(inputs))?;
        b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[x, weight])
    })
}

/// A linear layer with the further parameter `bias [O]`.
///
/// # Errors
/// If `x` is not of rank 2.
pub fn linear_with_bias(b: &mut Builder, label: &str, x: ValueId, outputs: usize) -> Result<ValueId> {
    let inputs = channels_of(b, x);
    let product = linear(b, label, x, outputs)?;
    b.scope(label, |b| {
        let bias = b.parameter("bias", [outputs], Init::fan_in(inputs))?;
        b.add(product, bias)
    })
}
