//! The self-supervised masked convolutional transformer block (Madan et al., TPAMI 2024): the student's feature, predicted from what
//! lies around each position, its channels weighed by a transformer.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{Corners, channel_map, squeeze};
use mimus_core::blocks::convolution::{linear, linear_with_bias};
use mimus_core::blocks::loss;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Init, Op, Result, ValueId, ValueType};

/// Masked convolution with one ReLU of the sum; every channel's mean becomes a token, and attention among the tokens weighs the channels.
///
/// Follows the PyTorch code of the authors, for pictures and for clips: attention alone, without residual, norm or MLP, which the TensorFlow
/// code has. The block's own loss is the mean squared difference of output and input there, Huber's in the paper (`loss`).
#[derive(Debug)]
pub struct Ssmctb;

impl AttentionModule for Ssmctb {
    fn info(&self) -> ComponentInfo {
        let summary = "masked convolution with a transformer of channels on the student's feature";
        ComponentInfo::new(Kind::Attention, "ssmctb", summary)
            .with_paper("Madan et al., Self-Supervised Masked Convolutional Transformer Block, TPAMI 2024")
            .with_option(OptionSpec::int("kernel", 1, [1, 63], "extent of each corner of the masked kernel"))
            .with_option(OptionSpec::int("dilation", 1, [0, 63], "distance of the corners from the masked position"))
            .with_option(OptionSpec::int("width", 64, [1, 4096], "width of a token"))
            .with_option(OptionSpec::int("heads", 5, [1, 256], "heads of the attention"))
            .with_option(OptionSpec::int("head_width", 64, [1, 4096], "width of a head"))
            .with_option(OptionSpec::choice("loss", "mse", &["mse", "huber"], "its own loss: official code, or paper"))
            .with_option(OptionSpec::float("loss_weight", 0.1, [0.0, 1e6], "weight of the block's own loss"))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("ssmctb");
        let options = &request.options;
        let student = b.input(attention::STUDENT, ValueType::f32(request.student.clone()))?;
        let corners = Corners { kernel: options.usize("kernel")?, dilation: options.usize("dilation")? };
        let predicted = corners.forward(&mut b, student)?;
        let label = if request.student.len() == 5 { "transformer_sspcab" } else { "transformer" };
        let weights = b.scope(label, |b| Transformer::new(request)?.weights(b, predicted))?;
        let map = channel_map(&mut b, weights, request.student.len())?;
        let refined = b.mul(predicted, map)?;
        b.output(attention::REFINED, refined)?;
        let own = if options.text("loss")? == "huber" {
            let huber = loss::smooth_l1(&mut b, refined, student, 1.0)?;
            loss::mean_all(&mut b, huber)?
        } else {
            loss::mse(&mut b, refined, student)?
        };
        let weighted = b.affine(own, options.float("loss_weight")?, 0.0)?;
        b.output(attention::LOSS, weighted)?;
        Ok(b.finish())
    }
}

/// Attention among channels.
struct Transformer {
    samples: usize,
    channels: usize,
    width: usize,
    heads: usize,
    head_width: usize,
}

impl Transformer {
    fn new(request: &FeatureRequest) -> Result<Self> {
        let option = |name: &str| request.options.usize(name);
        let (width, heads, head_width) = (option("width")?, option("heads")?, option("head_width")?);
        Ok(Self { samples: request.student[0], channels: request.student[1], width, heads, head_width })
    }

    /// `[N, C]` in 0..1.
    fn weights(&self, b: &mut Builder, x: ValueId) -> Result<ValueId> {
        let rows = self.samples * self.channels;
        let pooled = squeeze(b, x)?;
        let pooled = b.reshape(pooled, [rows, 1])?;
        let tokens = linear_with_bias(b, "projection", pooled, self.width)?;
        let tokens = b.reshape(tokens, [self.samples, self.channels, self.width])?;
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        let position = b.parameter("pos_embedding", [1, self.channels, self.width], normal)?;
        let tokens = b.add(tokens, position)?;
        let tokens = b.reshape(tokens, [rows, self.width])?;
        let mixed = b.scope("mha", |b| self.attend(b, tokens))?;
        let mean = b.mean(mixed, &[1])?;
        let weights = b.sigmoid(mean)?;
        b.reshape(weights, [self.samples, self.channels])
    }

    /// `softmax(Q K' / sqrt(head width)) V` in every head; rows `[N * C, width]` to rows.
    fn attend(&self, b: &mut Builder, tokens: ValueId) -> Result<ValueId> {
        let inner = self.heads * self.head_width;
        let all = linear(b, "to_qkv", tokens, 3 * inner)?;
        let all = b.reshape(all, [self.samples, self.channels, 3, self.heads, self.head_width])?;
        let all = b.permute(all, &[2, 0, 3, 1, 4])?;
        let part = |b: &mut Builder, i: usize| {
            let shape = [self.samples, self.heads, self.channels, self.head_width];
            let part = b.slice(all, &[i, 0, 0, 0, 0], &[i + 1, shape[0], shape[1], shape[2], shape[3]])?;
            b.reshape(part, shape)
        };
        let (query, key, value) = (part(b, 0)?, part(b, 1)?, part(b, 2)?);
        let products = b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[query, key])?;
        let logits = b.affine(products, 1.0 / (self.head_width as f64).sqrt(), 0.0)?;
        let attention = b.softmax(logits, 3)?;
        let read = b.matmul(attention, value)?;
        let read = b.permute(read, &[0, 2, 1, 3])?;
        let rows = b.reshape(read, [self.samples * self.channels, inner])?;
        linear_with_bias(b, "to_out.0", rows, self.width)
    }
}

mimus_core::plugin! { Attention(Ssmctb) }
