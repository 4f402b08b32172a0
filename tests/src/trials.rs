//! Trials on backends: skipped where the backend cannot run, and expected to fail where `tests/gaps.toml` says so.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Completion, Failed, Trial};
use mimus_core::plugin::Backend;
use mimus_core::{Error, Result};
use serde::Deserialize;

use crate::{Engine, State, repository};

/// What a backend is known not to pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    /// The test binary.
    suite: String,
    /// The trial's name before ` on `.
    case: String,
    backend: String,
    reason: String,
}

/// The declared gaps of a test binary.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaps {
    #[serde(default, rename = "gap")]
    list: Vec<Gap>,
}

impl Gaps {
    /// Those of `suite`; each must name one of its `cases` and a backend.
    ///
    /// # Errors
    /// If the file cannot be read, or names what is not there.
    pub fn open(suite: &str, cases: &[&str], engines: &[Engine]) -> Result<Self> {
        let path = repository().join("tests/gaps.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| Error::io("cannot be read", &path, &error))?;
        let wrong = |message: String| Error::config(message).with("file", path.display());
        let mut gaps: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        gaps.list.retain(|gap| gap.suite == suite);
        for Gap { case, backend, .. } in &gaps.list {
            if !cases.contains(&case.as_str()) || engines.iter().all(|engine| engine.name != *backend) {
                return Err(wrong(format!("there is no trial `{case} on {backend}` in `{suite}`")));
            }
        }
        Ok(gaps)
    }

    /// Why a backend is known not to pass a case; `None` if it must.
    pub fn reason(&self, case: &str, backend: &str) -> Option<String> {
        let gap = self.list.iter().find(|gap| gap.case == case && gap.backend == backend);
        gap.map(|gap| gap.reason.clone())
    }
}

/// `<case> on <backend>`, or `<case> on <backend>/<device>` for a device: runs `check` if the backend is there.
pub fn trial(
    gaps: &Gaps,
    case: &str,
    engine: &Engine,
    device: Option<&str>,
    check: impl FnOnce(&'static dyn Backend) -> Result<()> + Send + 'static,
) -> Trial {
    let place = device.map_or_else(|| engine.name.clone(), |device| format!("{}/{device}", engine.name));
    let (state, gap) = (engine.state.clone(), gaps.reason(case, &engine.name));
    Trial::ignorable_test(format!("{case} on {place}"), move || verdict(state, gap, check))
}

fn verdict(
    state: State,
    gap: Option<String>,
    check: impl FnOnce(&'static dyn Backend) -> Result<()>,
) -> Result<Completion, Failed> {
    match (state, gap) {
        (State::Missing(error), _) => {
            let command = error.next_step().unwrap_or_default();
            Ok(Completion::ignored_with(format!("{}; {command}", error.message())))
        }
        (State::Broken(error), _) => Err(Failed::from(error)),
        (State::Ready { backend, .. }, None) => check(backend).map(|()| Completion::Completed).map_err(Failed::from),
        (State::Ready { backend, .. }, Some(reason)) => match contained(|| check(backend)) {
            Ok(()) => Err(Failed::from("passes, although tests/gaps.toml declares a gap: remove it there")),
            Err(error) => Ok(Completion::ignored_with(format!("known gap: {reason}; {}", error.message()))),
        },
    }
}

/// A failed assertion as an error.
fn contained(check: impl FnOnce() -> Result<()>) -> Result<()> {
    let text = |payload: Box<dyn Any + Send>| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Error::backend(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    };
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|payload| Err(text(payload)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a panic in a test is a failed test with its place")]

    use mimus_core::plugin::Reference;

    use super::*;

    #[test]
    fn a_gap_that_passes_fails_and_one_that_does_not_is_skipped_with_its_reason() {
        let ready = || State::Ready { backend: &Reference, devices: vec!["cpu".to_owned()] };
        let gap = || Some("no such kernel".to_owned());
        let skipped = |outcome| match outcome {
            Ok(Completion::Ignored { reason }) => reason.unwrap_or_default(),
            Ok(Completion::Completed) => "passed".to_owned(),
            Err(failed) => format!("failed: {}", Failed::message(&failed).unwrap_or_default()),
        };
        let refuse = |_: &dyn Backend| Err(Error::backend("refused"));
        assert!(skipped(verdict(ready(), gap(), |_| Ok(()))).starts_with("failed: passes, although"));
        assert_eq!(skipped(verdict(ready(), gap(), refuse)), "known gap: no such kernel; refused");
        assert_eq!(skipped(verdict(ready(), gap(), |_| panic!("differs"))), "known gap: no such kernel; differs");
        assert_eq!(skipped(verdict(ready(), None, refuse)), "failed: refused");
    }

    #[test]
    fn a_backend_without_its_library_is_skipped_with_the_command_that_installs_it() {
        let missing = Error::backend("torch is not installed").hint("run `mimus backend install torch`");
        let outcome = verdict(State::Missing(missing), None, |_| panic!("it cannot run"));
        let Ok(Completion::Ignored { reason: Some(reason) }) = outcome else { panic!("it was not skipped") };
        assert_eq!(reason, "torch is not installed; run `mimus backend install torch`");
    }
}
