//! `cargo demo`: builds the command and all plugins, and runs the quick start.

use std::process::Command;

use mimus_core::{Error, Result};
use mimus_tests::{Artifacts, repository};

/// The run of the quick start, relative to the root of the repository.
const CONFIG: &str = "bench/configs/quickstart.toml";

/// The command finds the plugins beside itself; `further` arguments go to `mimus bench`.
pub(crate) fn run(further: &[&str]) -> Result<()> {
    eprintln!("building the command and its plugins ...");
    let mimus = Artifacts::of_workspace()?.program("mimus")?;
    let mut command = Command::new(mimus);
    command.args(["bench", CONFIG]).args(further).current_dir(repository());
    let status = command.status().map_err(|error| Error::io("the command cannot be started", mimus, &error))?;
    if status.success() { Ok(()) } else { Err(Error::plugin(format!("`mimus bench {CONFIG}` failed ({status})"))) }
}
