//! The module that the authors of the boost released (`fia`): a gate from the encoded inconsistency, and a refined feature.
#![forbid(unsafe_code)]

use mimus_core::blocks::convolution::Conv;
use mimus_core::blocks::loss;
use mimus_core::blocks::norm::batch_norm;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Init, Result, ValueId, ValueType};

/// Guards the division by the range of the inconsistency, as in the released code.
const EPS: f64 = 1e-8;

/// Momentum of all batch norms.
const MOMENTUM: f64 = 0.1;

/// `E = encode(Fea_I)`, gate `g = sigmoid(generate(E))` `[N, 1, H, W]`, `Fea_R = relu(BN(conv1x1([Fea_S; E * g])))`.
///
/// Its own loss is the mean squared difference of the gate and the channel mean of `Fea_I`, which minimum and maximum over the whole
/// batch bring to 0..1; nothing is detached. The released configuration also sets `mimicking_weight = 0.5`. The gate is the map
/// that is shown; it does not multiply the student's feature. `E` is the tap `encoded`.
#[derive(Debug)]
pub struct Fia;

impl AttentionModule for Fia {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "fia", "the released module: gate and refinement from the inconsistency")
            .with_paper("s41598-026-37667-9")
            .with_option(OptionSpec::int("width", 256, [2, 4096], "channels of the encoded inconsistency"))
            .with_option(OptionSpec::float("loss_weight", 0.3, [0.0, 1e6], "weight of the module's own loss"))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("fia");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let student = b.input(attention::STUDENT, ValueType::f32(request.student.clone()))?;
        let encoded = encode(&mut b, request, x)?;
        b.tap("encoded", encoded)?;
        let gate = generate(&mut b, request, encoded)?;
        b.output(attention::MAP, gate)?;
        let gated = b.mul(encoded, gate)?;
        let both = b.concat(&[student, gated], 1)?;
        let refined = b.scope("feature_refiner", |b| layers(b, request, ["0", "1"], request.student[1], 1, both))?;
        b.output(attention::REFINED, refined)?;
        let target = normalised(&mut b, x)?;
        let mse = loss::mse(&mut b, gate, target)?;
        let weighted = b.affine(mse, request.options.float("loss_weight")?, 0.0)?;
        b.output(attention::LOSS, weighted)?;
        Ok(b.finish())
    }
}

/// Convolution of the given extent that keeps the positions, batch norm, ReLU.
fn layers(
    b: &mut Builder,
    request: &FeatureRequest,
    labels: [&str; 2],
    channels: usize,
    extent: usize,
    x: ValueId,
) -> Result<ValueId> {
    let axes = request.student.len() - 2;
    let x = Conv::new(channels, &vec![extent; axes]).padding(&vec![extent / 2; axes]).forward(b, labels[0], x)?;
    let x = batch_norm(b, labels[1], x, request.phase, MOMENTUM, Init::ONES)?;
    b.relu(x)
}

fn encode(b: &mut Builder, request: &FeatureRequest, x: ValueId) -> Result<ValueId> {
    let width = request.options.usize("width")?;
    b.scope("inconsistency_encoder", |b| {
        let x = layers(b, request, ["0", "1"], width, 1, x)?;
        layers(b, request, ["3", "4"], width, 3, x)
    })
}

fn generate(b: &mut Builder, request: &FeatureRequest, encoded: ValueId) -> Result<ValueId> {
    let width = request.options.usize("width")?;
    b.scope("attention_generator", |b| {
        let x = layers(b, request, ["0", "1"], width / 2, 1, encoded)?;
        let logits = Conv::new(1, &vec![1; request.student.len() - 2]).forward(b, "3", x)?;
        b.sigmoid(logits)
    })
}

/// The mean over channels, by minimum and maximum over the whole batch.
fn normalised(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let mean = b.mean_keep(x, &[1])?;
    let axes: Vec<usize> = (0..b.shape(mean).len()).collect();
    let max = b.max(mean, &axes)?;
    let negative = b.neg(mean)?;
    let negative_min = b.max(negative, &axes)?;
    let over = b.add(mean, negative_min)?;
    let range = b.add(max, negative_min)?;
    let range = b.affine(range, 1.0, EPS)?;
    b.div(over, range)
}

mimus_core::plugin! { Attention(Fia) }
