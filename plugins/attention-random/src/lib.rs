//! The control with a frozen random attention: tells whether a gain needs a learned one.
//!
//! It is also what the authors' first training script did, whose optimiser was not given the attention's parameters.
#![forbid(unsafe_code)]

use mimus_core::blocks::attention::reduced;
use mimus_core::plugin::{AttentionModule, ComponentInfo, FeatureRequest, Kind, OptionSpec, attention};
use mimus_core::{Builder, Graph, Init, Op, Result, ValueId, ValueType};

/// The formula of `sca` with weights that keep their random first values.
#[derive(Debug)]
pub struct RandomAttention;

impl AttentionModule for RandomAttention {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "random", "control: spatio-channel attention with frozen random weights")
            .with_option(OptionSpec::int(
                "reduction",
                8,
                [1, 4096],
                "channels are reduced by this factor, to one at least",
            ))
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("random");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.teacher.clone()))?;
        let channels = request.student[1];
        let hidden = reduced(channels, request.options.usize("reduction")?);
        let hidden = frozen(&mut b, "encoder", x, hidden)?;
        let hidden = b.relu(hidden)?;
        let logits = frozen(&mut b, "decoder", hidden, channels)?;
        let map = b.sigmoid(logits)?;
        b.output(attention::MAP, map)?;
        Ok(b.finish())
    }
}

/// A convolution of kernel 1 without bias whose weight is a buffer.
fn frozen(b: &mut Builder, label: &str, x: ValueId, channels: usize) -> Result<ValueId> {
    let (inputs, axes) = (b.shape(x)[1], b.shape(x).len() - 2);
    b.scope(label, |b| {
        let shape = [vec![channels, inputs], vec![1; axes]].concat();
        let weight = b.buffer("weight", shape, Init::fan_in(inputs))?;
        let (stride, padding, dilation) = (vec![1; axes], vec![0; axes], vec![1; axes]);
        b.node(Op::Conv { stride, padding, dilation, groups: 1 }, &[x, weight])
    })
}

mimus_core::plugin! { Attention(RandomAttention) }
