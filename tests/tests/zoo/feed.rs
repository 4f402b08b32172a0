//! What the programs are fed: random pictures in the model's range, flow, noise, and what the model itself prepares.

use std::collections::BTreeMap;

use mimus_core::plugin::{Batch, Fill, Model, ModelRequest, ModelSpec, Preprocessing};
use mimus_core::random::Stream;
use mimus_core::{Graph, HostTensor, Phase, Result};

/// Largest motion of a random flow, in pixels.
const MOTION: f64 = 2.0;

/// A detector, for which batches are made.
#[derive(Clone, Copy)]
pub(crate) struct Feed<'a> {
    pub(crate) model: &'static dyn Model,
    pub(crate) request: &'a ModelRequest,
    pub(crate) spec: &'a ModelSpec,
}

impl Feed<'_> {
    /// All inputs of `graphs` in a phase, the same for the same `step`.
    ///
    /// # Errors
    /// If the model cannot prepare the batch.
    pub(crate) fn batch(&self, graphs: &[&Graph], phase: Phase, step: usize) -> Result<Batch> {
        // As a run does: a model that prepares its batches makes them of what evaluation sees.
        let judged = (phase == Phase::Train && self.spec.prepares).then_some(&self.spec.eval);
        let shapes: BTreeMap<&str, &[usize]> = judged
            .iter()
            .chain(graphs)
            .flat_map(|graph| graph.inputs().map(|(name, value)| (name, graph.ty(value).shape.as_slice())))
            .collect();
        let pixels = &self.spec.preprocessing;
        let mut batch = Batch::new();
        for input in &self.spec.inputs {
            let mut stream = Stream::new(0, &format!("{}/{step}", input.name));
            let texture = [self.request.batch, pixels.color.channels(), self.request.height, self.request.width];
            let shape = match (input.fill, shapes.get(input.name.as_str())) {
                (Fill::Texture, _) if phase == Phase::Train => &texture,
                (Fill::Prepared | Fill::Texture, _) | (_, None) => continue,
                (_, Some(shape)) => *shape,
            };
            let value = match input.fill {
                Fill::Noise if phase == Phase::Eval => filled(shape, |_| 0.0),
                Fill::Noise => filled(shape, |_| stream.normal()),
                Fill::Flow | Fill::FlowAhead => filled(shape, |_| stream.range(-MOTION, MOTION)),
                _ => picture(pixels, shape, &mut stream),
            };
            batch.insert(input.name.clone(), value?);
        }
        if phase == Phase::Train && self.spec.prepares {
            batch = self.model.prepare(self.request, batch, step as u64)?;
        }
        batch.retain(|name, _| shapes.contains_key(name.as_str()));
        Ok(batch)
    }
}

/// Random pixels, preprocessed; clips of rank 4 have their frames' channels one behind the other.
fn picture(pixels: &Preprocessing, shape: &[usize], stream: &mut Stream) -> Result<HostTensor> {
    let plane: usize = shape.iter().skip(2).product();
    let colors = pixels.color.channels();
    let channels = shape.get(1).copied().unwrap_or(1).max(1);
    filled(shape, |i| {
        let color = i / plane % channels % colors;
        (stream.uniform() - pixels.mean[color]) / pixels.std[color]
    })
}

fn filled(shape: &[usize], mut value: impl FnMut(usize) -> f64) -> Result<HostTensor> {
    HostTensor::f32(shape, (0..shape.iter().product()).map(|i| value(i) as f32).collect())
}
