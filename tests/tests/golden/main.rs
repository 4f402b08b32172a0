//! Models, attention modules and the whole boost against numbers computed with the official PyTorch implementations.
//!
//! Every case of the golden data whose class is known here runs through plugins loaded from their library files and through the
//! booster, on the reference interpreter and on every backend that is here. Seed, shapes, batch and optimiser come from the data's index; the folder is
//! the one that `MIMUS_GOLDEN` names, else `tests/golden`. Tolerances are those that the data's README states.

mod attention;
mod autoencoder;
mod boosted;
mod draem;
mod engine;
mod hf2vad;
mod ledger;
mod losses;
mod memae;
mod mnad;
mod set;
mod training;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::abi::Registry;
use mimus_core::{Error, Result};
use mimus_tests::{Gaps, backends, trial};
use safetensors::SafeTensors;

use engine::{Device, Engine, Oracle};
use ledger::Ledger;
use set::{Case, Set, Tensors};

/// A case with what it takes to compute it.
struct Subject<'a> {
    case: &'a Case,
    plugins: &'a Registry,
    /// Parameters and buffers.
    state: Tensors,
    inputs: Tensors,
}

/// Cases that are computed alike.
struct Family {
    /// Whether it has a constructor's class.
    knows: fn(&str) -> bool,
    /// Compares everything that a case stores.
    check: fn(&Subject<'_>, &mut dyn Engine, &mut Ledger<'_>) -> Result<()>,
}

const FAMILIES: [Family; 7] = [
    Family { knows: memae::knows, check: memae::check },
    Family { knows: mnad::knows, check: mnad::check },
    Family { knows: hf2vad::knows, check: hf2vad::check },
    Family { knows: attention::knows, check: attention::check },
    Family { knows: boosted::knows, check: boosted::check },
    Family { knows: draem::knows, check: draem::check },
    Family { knows: losses::knows, check: losses::check },
];

fn family(class: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| (family.knows)(class))
}

/// The interpreter's name; cases run on it in double precision.
const ORACLE: &str = "reference";

/// Set it to run networks of the published width on the interpreter too: it takes them up to half an hour each, and 9 GB.
const WIDE: &str = "MIMUS_GOLDEN_WIDE";

/// What every trial needs.
struct Golden {
    set: Set,
    plugins: Registry,
}

impl Golden {
    fn open() -> Result<Self> {
        let set = Set::open(|class| family(class).is_some())?;
        Ok(Self { set, plugins: mimus_tests::plugins()? })
    }

    fn check(&self, name: &str, engine: &mut dyn Engine) -> Result<()> {
        let case = self.set.cases.get(name).ok_or_else(|| Error::data("is not in the index"))?;
        let family = family(case.class()).ok_or_else(|| Error::data("is of an unknown class"))?;
        let stored = self.set.stored(case)?;
        let mut ledger = Ledger::open(case, &stored, engine.arithmetic())?;
        let (state, inputs) = (self.set.state(case)?, self.set.inputs(case)?);
        (family.check)(&Subject { case, plugins: &self.plugins, state, inputs }, engine, &mut ledger)?;
        ledger.close()
    }

    /// The generator bit for bit, without which no other comparison means anything.
    fn check_generator(&self) -> Result<()> {
        let bytes = self.set.generator()?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| Error::data(error.to_string()))?;
        for (name, view) in stored.tensors() {
            let made = self.set.generated(&name, view.shape())?;
            if made.to_le_bytes() != view.data() {
                return Err(Error::data(format!("`{name}` differs")));
            }
        }
        Ok(())
    }
}

/// `<case> on <backend>` for all, and the generator.
fn trials(golden: &Arc<Golden>) -> Result<Vec<Trial>> {
    let engines = backends()?;
    let cases: Vec<&str> = golden.set.cases.keys().map(String::as_str).collect();
    let gaps = Gaps::open("golden", &cases, &engines)?;
    let generator = Arc::clone(golden);
    let mut trials = vec![Trial::test("generator", move || generator.check_generator().map_err(Failed::from))];
    for name in cases {
        for engine in &engines {
            let (golden, case, oracle) = (Arc::clone(golden), name.to_owned(), engine.name == ORACLE);
            if oracle && golden.set.cases.get(name).is_some_and(Case::is_wide) && std::env::var_os(WIDE).is_none() {
                continue;
            }
            trials.push(trial(&gaps, name, engine, None, move |backend| match oracle {
                true => golden.check(&case, &mut Oracle::new()),
                false => golden.check(&case, &mut Device::open(backend)?),
            }));
        }
    }
    Ok(trials)
}

fn main() -> ExitCode {
    let trials = Golden::open().and_then(|golden| trials(&Arc::new(golden)));
    let trials = trials.unwrap_or_else(|error| vec![Trial::test("golden data", move || Err(Failed::from(error)))]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
