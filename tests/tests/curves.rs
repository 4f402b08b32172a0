//! Training curves: MemAE for images, alone and boosted, loses the same on every backend that is here, step after step.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::abi::Registry;
use mimus_core::plugin::{Backend, BackendRequest, Batch, Options};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Error, HostTensor, Result};
use mimus_tests::{Engine, Gaps, State, backends, memae, trial};

/// Name of a curve, and the attention module of the boost.
const SYSTEMS: [(&str, Option<&str>); 2] = [("memae", None), ("memae boosted by sca", Some("sca"))];

const STEPS: usize = 50;
const BATCH: usize = 4;
const SIZE: usize = 32;

/// Largest difference of two losses of one step, as a part of the loss.
const TOLERANCE: f64 = 1e-4;

/// The interpreter is too slow for a training.
const ORACLE: &str = "reference";

/// Losses by system and backend, each computed once.
struct Curves {
    plugins: Registry,
    engines: Vec<Engine>,
    gaps: Gaps,
    known: Mutex<BTreeMap<(&'static str, String), Vec<f32>>>,
}

impl Curves {
    /// Losses of a system on a backend.
    fn of(&self, system: &'static str, name: &str, backend: &dyn Backend) -> Result<Vec<f32>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (system, name.to_owned());
        if let Some(curve) = known.get(&key) {
            return Ok(curve.clone());
        }
        let curve = self.train(system, backend)?;
        known.insert(key, curve.clone());
        Ok(curve)
    }

    fn train(&self, system: &str, backend: &dyn Backend) -> Result<Vec<f32>> {
        let attention = SYSTEMS.iter().find(|(name, _)| *name == system).and_then(|(_, attention)| *attention);
        let (spec, program) = memae(&self.plugins, attention, BATCH, SIZE)?;
        let options = Options::resolve(&backend.info().options, BTreeMap::new())?;
        let mut session = backend.open(&BackendRequest { device: "auto".to_owned(), threads: 2, options })?;
        let id = session.load(&program)?;
        for variable in &program.variables {
            session.write(&variable.name, &variable.init.materialise(0, &variable.name, &variable.ty)?)?;
        }
        let input = spec.inputs.first().ok_or_else(|| Error::plugin("the model has no input"))?;
        let mut curve = Vec::new();
        for step in 0..STEPS {
            let mut stream = Stream::keyed(&format!("curves/{step}"));
            let shape = [BATCH, 3, SIZE, SIZE];
            let image = (0..shape.iter().product()).map(|_| stream.range(-1.0, 1.0) as f32).collect();
            let inputs = Batch::from([
                (input.name.clone(), HostTensor::f32(shape, image)?),
                (LEARNING_RATE.to_owned(), HostTensor::scalar(spec.learning_rate as f32)),
            ]);
            curve.extend_from_slice(session.run(id, &inputs)?.remove(0).as_f32()?);
        }
        Ok(curve)
    }

    /// A backend's curve against those of all backends before it, without declared gaps.
    fn losses_agree_step_after_step(&self, system: &'static str, name: &str, backend: &dyn Backend) -> Result<()> {
        let own = self.of(system, name, backend)?;
        if own.len() != STEPS || !own.iter().all(|loss| loss.is_finite()) {
            return Err(Error::backend(format!("the losses are {own:?}")));
        }
        for other in self.engines.iter().take_while(|engine| engine.name != name) {
            let State::Ready { backend, .. } = &other.state else { continue };
            if self.gaps.reason(system, &other.name).is_some() {
                continue;
            }
            for (step, (a, b)) in own.iter().zip(self.of(system, &other.name, *backend)?).enumerate() {
                let off = f64::from((a - b).abs()) / f64::from(b.abs());
                if off.is_nan() || off > TOLERANCE {
                    let message = format!("step {step}: the loss is {a}, on {} {b}: {off:.1e} of it", other.name);
                    return Err(Error::backend(message));
                }
            }
        }
        Ok(())
    }
}

fn trials() -> Result<Vec<Trial>> {
    let mut engines = backends()?;
    engines.retain(|engine| engine.name != ORACLE);
    let gaps = Gaps::open("curves", &SYSTEMS.map(|(name, _)| name), &engines)?;
    let plugins = mimus_tests::plugins()?;
    let curves = Arc::new(Curves { plugins, engines, gaps: gaps.clone(), known: Mutex::default() });
    let mut trials = Vec::new();
    for (system, _) in SYSTEMS {
        for engine in &curves.engines {
            let (curves, name) = (Arc::clone(&curves), engine.name.clone());
            trials.push(trial(&gaps, system, engine, None, move |backend| {
                curves.losses_agree_step_after_step(system, &name, backend)
            }));
        }
    }
    Ok(trials)
}

fn main() -> ExitCode {
    let trials = trials().unwrap_or_else(|error| vec![Trial::test("curves", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
