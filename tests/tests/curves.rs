//! Training curves: MemAE for images, alone and boosted, loses the same on every backend that is here.
//!
//! Left to itself a training amplifies rounding: beside its threshold the gradient of hard shrinkage has the difference of addressing weight
//! and threshold in a denominator, and Adam makes full steps of gradients that are rounding noise. Candle with first values that are moved by
//! one part in ten million leaves its own curve by 4e-3 of the loss within 50 steps, which no backend can stay below. So every training is
//! compared twice: as it is, and in stretches that begin with the same variables.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::abi::Registry;
use mimus_core::plugin::{Backend, BackendRequest, Batch, Options, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::train::LEARNING_RATE;
use mimus_core::{Error, Graph, HostTensor, Result};
use mimus_tests::{Engine, Gaps, State, backends, begin, memae, trial};

/// A training that is compared.
struct Curve {
    name: &'static str,
    /// Attention module of the boost, if there is one.
    attention: Option<&'static str>,
    /// Steps after which the variables are made equal again.
    stretch: usize,
}

static CURVES: [Curve; 4] = [
    Curve { name: "memae", attention: None, stretch: STEPS },
    Curve { name: "memae in stretches", attention: None, stretch: STRETCH },
    Curve { name: "memae boosted by sca", attention: Some("sca"), stretch: STEPS },
    Curve { name: "memae boosted by sca in stretches", attention: Some("sca"), stretch: STRETCH },
];

const STEPS: usize = 50;
/// A loss before a step and one behind it: forward pass, gradients and optimiser.
const STRETCH: usize = 2;
const BATCH: usize = 4;
const SIZE: usize = 32;

/// Largest difference of two losses of one step, as a part of the loss.
const TOLERANCE: f64 = 1e-4;

/// The interpreter is too slow for a training.
const ORACLE: &str = "reference";

/// A training on one backend.
struct Training {
    session: Box<dyn Session>,
    id: ProgramId,
    program: Graph,
    /// Name of the model's input.
    input: String,
    learning_rate: f64,
}

impl Training {
    fn new(plugins: &Registry, attention: Option<&str>, backend: &dyn Backend) -> Result<Self> {
        let (spec, program) = memae(plugins, attention, BATCH, SIZE)?;
        let options = Options::resolve(&backend.info().options, [].into())?;
        let mut session = backend.open(&BackendRequest { device: "auto".to_owned(), threads: 2, options })?;
        let id = begin(session.as_mut(), &program)?;
        let input = spec.inputs.first().ok_or_else(|| Error::plugin("the model has no input"))?.name.clone();
        Ok(Self { session, id, program, input, learning_rate: spec.main()?.learning_rate })
    }

    /// Takes over the variables of another training of the same program.
    fn continue_from(&mut self, other: &mut Self) -> Result<()> {
        for variable in &self.program.variables {
            self.session.write(&variable.name, &other.session.read(&variable.name)?)?;
        }
        Ok(())
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

/// A backend's training against those on other backends.
fn losses_agree_step_after_step(
    plugins: &Registry,
    curve: &Curve,
    backend: &dyn Backend,
    others: &[Engine],
) -> Result<()> {
    for Engine { name, state } in others {
        let State::Ready { backend: other, .. } = state else { continue };
        let mut own = Training::new(plugins, curve.attention, backend)?;
        let mut other = Training::new(plugins, curve.attention, *other)?;
        for step in 0..STEPS {
            if step > 0 && step.is_multiple_of(curve.stretch) {
                own.continue_from(&mut other)?;
            }
            let (found, expected) = (own.step(step)?, other.step(step)?);
            let off = (found - expected).abs() / expected.abs();
            if off.is_nan() || off > TOLERANCE {
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
            let (plugins, others) = (Arc::clone(&plugins), engines[..number].to_vec());
            trials.push(trial(&gaps, curve.name, engine, None, move |backend| {
                losses_agree_step_after_step(&plugins, curve, backend, &others)
            }));
        }
    }
    Ok(trials)
}

fn main() -> ExitCode {
    let trials = trials().unwrap_or_else(|error| vec![Trial::test("curves", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
