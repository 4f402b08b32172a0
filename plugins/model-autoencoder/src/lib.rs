//! A plain convolutional autoencoder: the simplest detector that can be boosted, and the fastest.
#![forbid(unsafe_code)]

use mimus_core::blocks::coder::{Stage, Style, decode, encode};
use mimus_core::blocks::loss;
use mimus_core::blocks::score::{self, Pooling};
use mimus_core::plugin::{
    Clip, Color, ComponentInfo, Fill, InputSpec, Kind, Model, ModelRequest, ModelSpec, OptionSpec, Preprocessing,
    TapSpec,
};
use mimus_core::train::{self, OptimizerSpec};
use mimus_core::{Builder, Graph, Init, Phase, Result, ValueId, ValueType};

/// Convolutions of stride 2 down to the bottleneck, transposed convolutions back up; mean squared error.
#[derive(Debug)]
pub struct Autoencoder;

impl Model for Autoencoder {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "autoencoder", "plain convolutional autoencoder for images")
            .with_option(OptionSpec::int("depth", 4, [1, 10], "number of stages; each halves height and width"))
            .with_option(OptionSpec::int(
                "width",
                32,
                [1, 2048],
                "channels of the first stage; each stage doubles them",
            ))
            .with_option(OptionSpec::int("max_width", 256, [1, 4096], "no stage has more channels than this"))
            .with_option(OptionSpec::int("bottleneck", 64, [1, 4096], "channels of the last stage"))
            .with_option(OptionSpec::choice("color", "rgb", &["rgb", "gray"], "input channels"))
            .with_option(OptionSpec::choice(
                "image_score",
                "max",
                &["mean", "max"],
                "image score: mean of the error map, or maximum of the map averaged over 7x7 pixels",
            ))
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let options = &request.options;
        let color = if options.text("color")? == "gray" { Color::Gray } else { Color::Rgb };
        let input = vec![request.batch, color.channels(), request.height, request.width];
        let stages = stages(request)?;
        // A single noisy pixel does not make an anomaly: the maximum is taken of local means.
        let max = options.text("image_score")? == "max";
        let pooling = if max { Pooling::MaxOfMeans(7) } else { Pooling::Mean };
        Ok(ModelSpec {
            stages: vec![train::Stage::single(train(&stages, &input)?, OptimizerSpec::adam(), 1e-3)],
            eval: eval(&stages, &input)?,
            image_score: Some(score::image_score([input[0], input[2], input[3]], pooling)?),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(color, 0.5, 0.5),
            taps: vec![TapSpec { name: "bottleneck".to_owned(), help: "the code".to_owned() }],
            prepares: false,
            clip: Clip::image(),
            pretrained: None,
            statistics: Vec::new(),
        })
    }
}

fn stages(request: &ModelRequest) -> Result<Vec<Stage>> {
    let options = &request.options;
    let (depth, width, most) = (options.usize("depth")?, options.usize("width")?, options.usize("max_width")?);
    let channels = |i: usize| {
        if i + 1 == depth { options.usize("bottleneck") } else { Ok((width << i).min(most)) }
    };
    (0..depth).map(|i| Ok(Stage::three(channels(i)?, &[2, 2]))).collect()
}

/// Input and reconstruction, both `[N, C, H, W]`.
fn forward(b: &mut Builder, stages: &[Stage], input: &[usize], phase: Phase) -> Result<(ValueId, ValueId)> {
    let x = b.input("x", ValueType::f32(input))?;
    let style = Style { slope: 0.2, weight: None, norm: Init::ONES, phase };
    let code = encode(b, stages, &style, x)?;
    b.tap("bottleneck", code)?;
    let output = decode(b, stages, &style, code, input)?;
    Ok((x, output))
}

fn train(stages: &[Stage], input: &[usize]) -> Result<Graph> {
    let mut b = Builder::new("autoencoder");
    let (x, output) = forward(&mut b, stages, input, Phase::Train)?;
    let mse = loss::mse(&mut b, output, x)?;
    b.output("loss", mse)?;
    Ok(b.finish())
}

fn eval(stages: &[Stage], input: &[usize]) -> Result<Graph> {
    let mut b = Builder::new("autoencoder");
    let (x, output) = forward(&mut b, stages, input, Phase::Eval)?;
    let square = loss::squared_difference(&mut b, output, x)?;
    let map = b.mean_keep(square, &[1])?;
    b.output("score_map", map)?;
    b.output("output", output)?;
    Ok(b.finish())
}

mimus_core::plugin! { Model(Autoencoder) }
