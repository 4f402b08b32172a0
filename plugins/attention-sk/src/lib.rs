//! Selective kernels (Li et al., "Selective Kernel Networks", CVPR 2019): which extent of neighbourhood tells the disagreement.
//!
//! Two forms are about. `variant = "pytorch"` (pppLang/SKNet) has true kernels of 3, 5, ... with biases and a bare squeeze layer;
//! `variant = "caffe"` (the official model) has kernels of 3 dilated by 1, 2, ..., no biases, and batch norm and ReLU behind the
//! squeeze layer.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{channel_map, clipped, squeeze};
use mimus_core::blocks::convolution::{Conv, linear, linear_with_bias};
use mimus_core::blocks::norm::batch_norm;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Init, Result, ValueId, ValueType};

/// Name of the tap at the module's published output.
const SELECTED: &str = "selected";

/// Momentum of all batch norms.
const MOMENTUM: f64 = 0.1;

/// Branches `U_i = relu(BN(conv_i(Fea_I)))`, their weights `a = softmax_i(W_i fc(GAP(sum_i U_i)))`, and `V = sum_i a_i U_i`.
///
/// The published module gives `V`, a new feature in place of its input. Here the input is the inconsistency, so that `V` is no feature of the
/// student's: it becomes a weight for every element, `M = sigmoid(V)` `[N, C, H, W]`. `V` is the tap `selected`.
#[derive(Debug)]
pub struct Sk;

impl AttentionModule for Sk {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "sk", "selective kernels on the inconsistency")
            .with_paper("Li et al., Selective Kernel Networks, CVPR 2019")
            .with_option(OptionSpec::int("branches", 2, [1, 16], "kernels to select from"))
            .with_option(OptionSpec::int(
                "groups",
                8,
                [1, 4096],
                "groups of the convolutions; their greatest common divisor with the channels where it does not divide them",
            ))
            .with_option(OptionSpec::int("reduction", 2, [1, 4096], "channels are squeezed by this factor"))
            .with_option(OptionSpec::int("least", 32, [1, 4096], "channels that are left at least"))
            .with_option(OptionSpec::choice(
                "variant",
                "pytorch",
                &["pytorch", "caffe"],
                "pytorch: kernels 3, 5, .. with biases; caffe (official): dilated kernels of 3, batch norm behind the squeeze layer",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("sk");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let caffe = request.options.text("variant")? == "caffe";
        let count = request.options.usize("branches")?;
        let branches = (0..count).map(|i| branch(&mut b, request, caffe, i, x)).collect::<Result<Vec<_>>>()?;
        let united = sum(&mut b, &branches)?;
        let weights = select(&mut b, request, caffe, united)?;
        let weighted = branches.iter().zip(weights).map(|(branch, weight)| b.mul(*branch, weight));
        let weighted = weighted.collect::<Result<Vec<_>>>()?;
        let selected = sum(&mut b, &weighted)?;
        b.tap(SELECTED, selected)?;
        let map = b.sigmoid(selected)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

/// `U_i` with the student's number of channels.
fn branch(b: &mut Builder, request: &FeatureRequest, caffe: bool, i: usize, x: ValueId) -> Result<ValueId> {
    let (from, to) = (request.teacher[1], request.student[1]);
    let kernel = clipped(if caffe { 3 } else { 3 + 2 * i }, &request.teacher)?;
    let dilation = vec![if caffe { i + 1 } else { 1 }; kernel.len()];
    let padding: Vec<usize> = kernel.iter().zip(&dilation).map(|(extent, dilation)| extent / 2 * dilation).collect();
    let groups = divisor(request.options.usize("groups")?, divisor(from, to));
    let conv = Conv::new(to, &kernel).padding(&padding).dilation(&dilation).groups(groups);
    let conv = if caffe { conv.without_bias() } else { conv };
    b.scope(&format!("convs.{i}"), |b| {
        let x = conv.forward(b, "0", x)?;
        let x = batch_norm(b, "1", x, request.phase, MOMENTUM, Init::ONES)?;
        b.relu(x)
    })
}

/// A map `[N, C, 1, 1]` for each branch; for every channel they add up to 1.
fn select(b: &mut Builder, request: &FeatureRequest, caffe: bool, united: ValueId) -> Result<Vec<ValueId>> {
    let (n, channels, rank) = (request.student[0], request.student[1], request.student.len());
    let options = &request.options;
    let hidden = (channels / options.usize("reduction")?).max(options.usize("least")?);
    let count = options.usize("branches")?;
    let pooled = squeeze(b, united)?;
    let squeezed = if caffe {
        let bare = linear(b, "fc.0", pooled, hidden)?;
        let normal = batch_norm(b, "fc.1", bare, request.phase, MOMENTUM, Init::ONES)?;
        b.relu(normal)?
    } else {
        linear_with_bias(b, "fc", pooled, hidden)?
    };
    let layer = if caffe { linear } else { linear_with_bias };
    let mut logits = Vec::with_capacity(count);
    for i in 0..count {
        let row = layer(b, &format!("fcs.{i}"), squeezed, channels)?;
        logits.push(b.reshape(row, [n, 1, channels])?);
    }
    let logits = b.concat(&logits, 1)?;
    let weights = b.softmax(logits, 1)?;
    let of_branch = |i: usize| {
        let row = b.slice(weights, &[0, i, 0], &[n, i + 1, channels])?;
        let row = b.reshape(row, [n, channels])?;
        channel_map(b, row, rank)
    };
    (0..count).map(of_branch).collect()
}

fn sum(b: &mut Builder, parts: &[ValueId]) -> Result<ValueId> {
    parts[1..].iter().try_fold(parts[0], |sum, part| b.add(sum, *part))
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

mimus_core::plugin! { Attention(Sk) }
