//! Components that load well and go wrong when they are called: panics, a graph whose shapes contradict its operators, and a backend that
//! computes something else.
#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "it is what these components are for")]

use mimus_core::blocks::loss;
use mimus_core::plugin::{
    AttentionModule, Backend, BackendRequest, Batch, Clip, Color, ComponentInfo, DeviceInfo, FeatureRequest, Fill,
    InputSpec, Kind, Model, ModelRequest, ModelSpec, Preprocessing, ProgramId, Reference, Session, TapSpec, attention,
};
use mimus_core::train::{OptimizerSpec, Stage};
use mimus_core::{Builder, Graph, HostTensor, Init, Op, Result, ValueType};

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
            stages: vec![Stage::single(network(request, true)?, OptimizerSpec::adam(), 1e-3)],
            eval: network(request, false)?,
            image_score: Some(image_score.finish()),
            inputs: vec![InputSpec { name: "x".to_owned(), fill: Fill::Image }],
            preprocessing: Preprocessing::uniform(Color::Gray, 0.0, 1.0),
            taps: vec![TapSpec { name: "scaled".to_owned(), help: "the scaled image".to_owned() }],
            prepares: true,
            clip: Clip::image(),
            pretrained: None,
            statistics: Vec::new(),
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

/// The reference, but for leaky rectifiers: they do not leak.
struct Crooked;

impl Backend for Crooked {
    fn info(&self) -> ComponentInfo {
        ComponentInfo::new(Kind::Backend, "crooked", "rogue")
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        Reference.devices()
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        Ok(Box::new(CrookedSession(Reference.open(request)?)))
    }
}

struct CrookedSession(Box<dyn Session>);

impl Session for CrookedSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        let mut program = program.clone();
        for node in program.nodes.iter_mut().filter(|node| matches!(node.op, Op::LeakyRelu { .. })) {
            node.op = Op::Relu {};
        }
        self.0.load(&program)
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        self.0.write(variable, value)
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        self.0.read(variable)
    }

    fn run(&mut self, program: ProgramId, inputs: &Batch) -> Result<Vec<HostTensor>> {
        self.0.run(program, inputs)
    }
}

mimus_core::plugin! { Attention(PanicsInDescribe), Attention(WrongShapes), Model(PanicsInPrepare), Backend(Crooked) }
