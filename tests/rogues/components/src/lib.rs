//! Components that load well and go wrong when they are called: panics, and a graph whose shapes contradict its operators.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "it is what these components are for")]

use mimus_core::blocks::loss;
use mimus_core::plugin::{
    AttentionModule, Batch, Color, ComponentInfo, FeatureRequest, Fill, InputSpec, Kind, Model, ModelRequest,
    ModelSpec, Preprocessing, TapSpec, attention,
};
use mimus_core::train::OptimizerSpec;
use mimus_core::{Builder, Graph, Init, Result, ValueType};

/// An attention module that panics.
struct PanicsInDescribe;

impl AttentionModule for PanicsInDescribe {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "panics-in-describe", "rogue")
    }

    fn describe(&self, _: &FeatureRequest) -> Result<Graph> {
        panic!("out of ideas")
    }
}

/// An attention module whose graph declares another shape for its map than the operator gives.
struct WrongShapes;

impl AttentionModule for WrongShapes {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Attention, "wrong-shapes", "rogue")
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        let mut b = Builder::new("wrong-shapes");
        let x = b.input(attention::INCONSISTENCY, ValueType::f32(request.student.clone()))?;
        let map = b.sigmoid(x)?;
        b.output(attention::MAP, map)?;
        let mut graph = b.finish();
        graph.values[map.index()].ty.shape[1] += 1;
        Ok(graph)
    }
}

/// A detector with one weight whose `prepare` panics.
struct PanicsInPrepare;

impl Model for PanicsInPrepare {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Model, "panics-in-prepare", "rogue")
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let mut image_score = Builder::new("image-score");
        let map = image_score.input("score_map", ValueType::f32([request.batch, 1, request.height, request.width]))?;
        let score = image_score.mean(map, &[1, 2, 3])?;
        image_score.output("score", score)?;
        Ok(ModelSpec {
            train: network(request, true)?,
            eval: network(request, false)?,
            image_score: Some(image_score.finish()),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(Color::Gray, 0.0, 1.0),
            taps: vec![TapSpec { name: "scaled".to_owned(), help: "the scaled image".to_owned() }],
            optimizer: OptimizerSpec::adam(),
            learning_rate: 1e-3,
            prepares: true,
        })
    }

    fn prepare(&self, _: &ModelRequest, batch: Batch, seed: u64) -> Result<Batch> {
        panic!("no defect for seed {seed} and {} inputs", batch.len())
    }
}

/// The image times one weight.
fn network(request: &ModelRequest, train: bool) -> Result<Graph> {
    let mut b = Builder::new("one-weight");
    let x = b.input("x", ValueType::f32([request.batch, 1, request.height, request.width]))?;
    let weight = b.parameter("weight", [1], Init::Constant(0.5))?;
    let scaled = b.mul(x, weight)?;
    b.tap("scaled", scaled)?;
    let square = loss::squared_difference(&mut b, scaled, x)?;
    if train {
        let loss = loss::mean_all(&mut b, square)?;
        b.output("loss", loss)?;
    } else {
        b.output("score_map", square)?;
    }
    Ok(b.finish())
}

mimus_core::plugin! { Attention(PanicsInDescribe), Attention(WrongShapes), Model(PanicsInPrepare) }
