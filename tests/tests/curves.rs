//! Training curves: MemAE for images, alone and boosted, loses the same on every backend that is here.
//!
//! Of the published gradient of hard shrinkage rounding decides: right above the threshold it has a peak in which one addressing weight in
//! thousands outweighs all others. Candle with first values that are moved by one part in ten million leaves its own curve by 4e-3 of the
//! loss within 50 steps, which no backend can stay below. So these trainings have `shrink_gradient = "mask"`; the published gradient is
//! held to the official one by the golden data.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::abi::Registry;
use mimus_core::plugin::{Backend, BackendRequest, Batch, Kind, OptionValue, Options, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Error, HostTensor, Result};
use mimus_tests::{Engine, Gaps, State, backends, begin, memae, trial};

/// A training that is compared.
struct Curve {
    name: &'static str,
    /// Attention module of the boost, if there is one.
    attention: Option<&'static str>,
}

static CURVES: [Curve; 2] =
    [Curve { name: "memae", attention: None }, Curve { name: "memae boosted by sca", attention: Some("sca") }];

const STEPS: usize = 50;
const BATCH: usize = 8;
/// Height and width of the images. A weight that crosses the threshold by rounding moves the loss the less, the more queries there are.
const SIZE: usize = 256;
/// Of the gradient of hard shrinkage, see above.
const GRADIENT: &str = "mask";

/// Largest difference of two losses of one step, as a part of the loss.
const TOLERANCE: f64 = 1e-4;

/// The interpreter is too slow for a training.
const ORACLE: &str = "reference";

/// A training on one backend.
struct Training {
    session: Box<dyn Session>,
    id: ProgramId,
    /// Name of the model's input.
    input: String,
    learning_rate: f64,
}

impl Training {
    fn new(plugins: &Registry, curve: &Curve, backend: &dyn Backend) -> Result<Self> {
        let known = &plugins.find(Kind::Model, "memae")?.info.options;
        let gradient = OptionValue::Text(GRADIENT.to_owned());
        let options = Options::resolve(known, [("shrink_gradient".to_owned(), gradient)].into())?;
        let (spec, program) = memae(plugins, options, curve.attention, [BATCH, SIZE])?;
        let options = Options::resolve(&backend.info().options, [].into())?;
        let mut session = backend.open(&BackendRequest { device: "auto".to_owned(), threads: 2, options })?;
        let id = begin(session.as_mut(), &program)?;
        let input = spec.inputs.first().ok_or_else(|| Error::plugin("the model has no input"))?.name.clone();
        Ok(Self { session, id, input, learning_rate: spec.main()?.learning_rate })
    }

    /// The loss of a step, before it takes effect.
    fn step(&mut self, number: usize) -> Result<f64> {
        let mut stream = Stream::keyed(&format!("curves/{number}"));
        let shape = [BATCH, 3, SIZE, SIZE];
        let image = (0..shape.iter().product()).map(|_| stream.range(-1.0, 1.0) as f32).collect();
        let inputs = Batch::from([
            (self.input.clone(), HostTensor::f32(shape, image)?),
            (LEARNING_RATE.to_owned(), HostTensor::scalar(self.learning_rate as f32)),
        ]);
        let outputs = self.session.run(self.id, &inputs)?;
        let loss = outputs.first().and_then(|loss| loss.as_f32().ok()?.first().copied());
        loss.map(f64::from).ok_or_else(|| Error::backend("the step has no loss"))
    }
}

/// The losses of a training; each is computed once.
fn losses(plugins: &Registry, curve: &Curve, name: &str, backend: &dyn Backend) -> Result<Vec<f64>> {
    static KNOWN: Mutex<BTreeMap<(&str, String), Vec<f64>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().map_err(|_| Error::backend("another training panicked"))?;
    let key = (curve.name, name.to_owned());
    if let Some(losses) = known.get(&key) {
        return Ok(losses.clone());
    }
    let mut training = Training::new(plugins, curve, backend)?;
    let losses = (0..STEPS).map(|step| training.step(step)).collect::<Result<Vec<_>>>()?;
    known.insert(key, losses.clone());
    Ok(losses)
}

/// A backend's training against those on other backends.
fn losses_agree_step_after_step(
    plugins: &Registry,
    curve: &Curve,
    (name, backend): (&str, &dyn Backend),
    others: &[Engine],
) -> Result<()> {
    for other in others {
        let State::Ready { backend: reference, .. } = other.state else { continue };
        let found = losses(plugins, curve, name, backend)?;
        let expected = losses(plugins, curve, &other.name, reference)?;
        for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
            let off = (found - expected).abs() / expected.abs();
            if off.is_nan() || off > TOLERANCE {
                let name = &other.name;
                let message = format!("step {step}: the loss is {found}, on {name} {expected}: {off:.1e} of it");
                return Err(Error::backend(message));
            }
        }
    }
    Ok(())
}

/// Each backend but the first, which has none before it.
fn trials() -> Result<Vec<Trial>> {
    let mut engines = backends()?;
    engines.retain(|engine| engine.name != ORACLE);
    let gaps = Gaps::open("curves", &CURVES.each_ref().map(|curve| curve.name), &engines)?;
    let plugins = Arc::new(mimus_tests::plugins()?);
    let mut trials = Vec::new();
    for curve in &CURVES {
        for (number, engine) in engines.iter().enumerate().skip(1) {
            let (plugins, name, others) = (Arc::clone(&plugins), engine.name.clone(), engines[..number].to_vec());
            trials.push(trial(&gaps, curve.name, engine, None, move |backend| {
                losses_agree_step_after_step(&plugins, curve, (&name, backend), &others)
            }));
        }
    }
    Ok(trials)
}

fn main() -> ExitCode {
    let trials = trials().unwrap_or_else(|error| vec![Trial::test("curves", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
