//! Every backend that is here against the contract, on each of its devices: operators, training steps, refusals.
//!
//! A trial is called `<operator or check> on <backend>/<device>`; a part of a name selects: `cargo test --test conformance -- torch`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

mod errors;
mod operators;
mod support;
mod training;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::{Op, Result};
use mimus_tests::{Gaps, backends, trial};

use support::{Program, Target};

/// What is asked of every device.
type Check = Arc<dyn Fn(&Target) + Send + Sync>;

/// A check of a session as a whole.
type Named = (&'static str, fn(&Target));

/// Each operator is one more.
const CHECKS: &[Named] = &[
    ("assignments take effect together", operators::variables_are_read_and_assignments_take_effect_together),
    ("a training step", training::a_training_step_agrees_with_the_interpreter),
    ("any number of threads", training::results_are_the_same_bits_on_any_number_of_threads),
    ("wrong inputs", errors::missing_unknown_and_mistyped_inputs_are_named),
    ("a variable without value", errors::a_variable_without_value_is_named),
    ("a run that fails", errors::a_run_that_fails_leaves_variables_alone),
    ("one_hot out of range", errors::an_index_out_of_range_is_refused_by_one_hot),
    ("gather out of range", errors::an_index_out_of_range_is_refused_by_gather),
    ("gather_grad out of range", errors::an_index_out_of_range_is_refused_by_gather_grad),
    ("contradicting programs", errors::programs_that_disagree_about_a_variable_are_refused),
    ("unknown devices and no threads", errors::unknown_devices_and_no_threads_are_refused),
];

/// Every operator that computes something, and every check of [`CHECKS`].
fn checks() -> Vec<(&'static str, Check)> {
    let operator = |name: &'static str| -> (&str, Check) {
        // Computed once for all devices.
        let programs: OnceLock<Vec<Program>> = OnceLock::new();
        let check = move |target: &Target| {
            let programs = programs.get_or_init(|| operators::programs(name));
            operators::every_case_agrees_with_the_interpreter(target, programs);
        };
        (name, Arc::new(check))
    };
    let operators = Op::NAMES.iter().filter(|name| !["input", "variable"].contains(name));
    let further = CHECKS.iter().map(|(name, check)| (*name, Arc::new(*check) as Check));
    operators.map(|name| operator(name)).chain(further).collect()
}

fn trials() -> Result<Vec<Trial>> {
    let (engines, checks) = (backends()?, checks());
    let names: Vec<&str> = checks.iter().map(|(name, _)| *name).collect();
    let gaps = Gaps::open("conformance", &names, &engines)?;
    let mut trials = Vec::new();
    for (name, check) in &checks {
        for engine in &engines {
            for device in engine.devices() {
                let (check, device_name) = (Arc::clone(check), device.unwrap_or_default().to_owned());
                trials.push(trial(&gaps, name, engine, device, move |backend| {
                    check(&Target { backend, device: device_name });
                    Ok(())
                }));
            }
        }
    }
    Ok(trials)
}

fn main() -> ExitCode {
    let trials = trials().unwrap_or_else(|error| vec![Trial::test("backends", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
