//! The self-supervised predictive convolutional attentive block (Ristea et al., CVPR 2022): the student's feature, predicted from what
//! lies around each position.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::{Corners, Excitation, reduced};
use mimus_core::blocks::loss;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Result, ValueId, ValueType};

/// Masked convolution with one ReLU of the sum, squeeze-and-excitation; its own loss is the mean squared difference of output and input,
/// not detached.
///
/// Follows the PyTorch code of the authors; their TensorFlow code reflects at the borders and rectifies every corner. Clips are not
/// published: there the eight corners are those of SSMCTB.
#[derive(Debug)]
pub struct Sspcab;

impl AttentionModule for Sspcab {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(
            Kind::Attention,
            "sspcab",
            "masked convolution with channel attention on the student's feature",
        )
        .with_paper("Ristea et al., Self-Supervised Predictive Convolutional Attentive Block, CVPR 2022")
        .with_option(OptionSpec::int("kernel", 1, [1, 63], "extent of each corner of the masked kernel"))
        .with_option(OptionSpec::int("dilation", 1, [0, 63], "distance of the corners from the masked position"))
        .with_option(OptionSpec::int("reduction", 8, [1, 4096], "channels are reduced by this factor, to one at least"))
        .with_option(OptionSpec::float("loss_weight", 0.1, [0.0, 1e6], "weight of the block's own loss"))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("sspcab");
        let options = &request.options;
        let student = b.input(attention::STUDENT, ValueType::f32(request.student.clone()))?;
        let corners = Corners { kernel: options.usize("kernel")?, dilation: options.usize("dilation")? };
        let predicted = corners.forward(&mut b, student)?;
        let weights = weights(&mut b, request, predicted)?;
        let refined = b.mul(predicted, weights)?;
        b.output(attention::REFINED, refined)?;
        let mse = loss::mse(&mut b, refined, student)?;
        let weighted = b.affine(mse, options.float("loss_weight")?, 0.0)?;
        b.output(attention::LOSS, weighted)?;
        Ok(b.finish())
    }
}

fn weights(b: &mut Builder, request: &FeatureRequest, x: ValueId) -> Result<ValueId> {
    let channels = request.student[1];
    let excitation = Excitation {
        labels: ["se.fc1", "se.fc2"],
        hidden: reduced(channels, request.options.usize("reduction")?),
        outputs: channels,
        bias: true,
    };
    excitation.gate(b, x)
}

mimus_core::plugin! { Attention(Sspcab) }
