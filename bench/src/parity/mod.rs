//! Whether the backends compute what the reference computes: the programs of a run on fixed inputs, node by node.

mod difference;
mod report;
mod walk;

use std::collections::BTreeMap;

use mimus_core::plugin::{ModelSpec, Preprocessing};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Error, Graph, HostTensor, Result};

use crate::images::Picture;
use crate::plan::{Lineup, Recipe};
use crate::samples::Samples;
use crate::scorer;
use crate::store::Tensors;
use crate::trainer::Training;

pub(crate) use report::{Finding, Parity};
pub(crate) use walk::{Case, Open};

/// Seed of variables and inputs.
const SEED: u64 = 0;

/// Training step and evaluation program of every model and variant, as a run loads them.
pub(crate) fn cases(lineup: &Lineup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (number, model) in lineup.models.iter().enumerate() {
        let request = lineup.request(number);
        let specs = lineup.specs(number, request.batch)?;
        let samples = samples(&specs.teacher, request.batch, [request.height, request.width]);
        let taken: Vec<usize> = (0..request.batch).collect();
        // The baseline with twice the epochs runs the programs of the baseline.
        for variant in lineup.variants.iter().filter(|variant| !matches!(variant.recipe, Recipe::BaselineTwice)) {
            let programs = variant.recipe.programs(&specs, &lineup.config.boost)?;
            let spec = specs.of(&variant.recipe);
            let main = programs.main()?;
            let stage = programs.stages.last().ok_or_else(|| Error::plugin("the model has no stage of training"))?;
            let training = Training {
                model: model.part.component,
                request: &lineup.request_for(number, &variant.recipe),
                spec,
                stages: &programs.stages,
                options: &lineup.config.train,
                epochs: 1,
                seed: SEED,
                samples: &samples,
                textures: &Samples::of_length(1, []),
                first: &BTreeMap::new(),
            };
            let mut inputs = training.inputs(stage, &taken, 0)?;
            inputs.retain(|name, _| main.graph.inputs().any(|(known, _)| known == name));
            inputs.insert(LEARNING_RATE.to_owned(), HostTensor::scalar(training.rate(main)? as f32));
            let mut case = |program: Graph, inputs, what: &str| -> Result<()> {
                let name = format!("{}, {}, {what}", model.label, variant.name);
                let variables = beginnings(&program)?;
                cases.push(Case { name, program, inputs, variables });
                Ok(())
            };
            case(training.step_of(main)?, inputs, "training step")?;
            let evaluation = scorer::program(&programs.eval, &[])?;
            let inputs = scorer::inputs(&evaluation, &spec.inputs, &samples, &taken)?;
            case(evaluation, inputs, "evaluation")?;
        }
    }
    Ok(cases)
}

/// Samples of evenly spread pixel values, as the model sees them.
fn samples(spec: &ModelSpec, count: usize, size: [usize; 2]) -> Samples<'static> {
    let picture = |number: usize| {
        let mut stream = Stream::new(SEED, &format!("parity/{number}"));
        let Preprocessing { mean, std, .. } = &spec.preprocessing;
        let channels = mean.iter().zip(std);
        let plane = |(mean, std): (&f64, &f64)| -> Vec<f32> {
            (0..size[0] * size[1]).map(|_| ((stream.uniform() - mean) / std) as f32).collect()
        };
        Picture { values: channels.flat_map(plane).collect(), mask: None, size }
    };
    let frames = (0..count * spec.clip.frames).map(|i| (picture(i), format!("fixed picture {i}")));
    Samples::of_length(spec.clip.frames, frames)
}

fn beginnings(program: &Graph) -> Result<Tensors> {
    let value = |variable: &mimus_core::graph::Variable| Ok((variable.name.clone(), variable.first_value(SEED)?));
    program.variables.iter().map(value).collect()
}
