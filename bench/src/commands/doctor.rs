//! `mimus doctor`: what this installation can do, and what stands in its way.

use std::env::consts::{ARCH, OS};
use std::path::Path;
use std::process::ExitCode;

use mimus_core::Result;

use crate::files;
use crate::native::health::{self, Health};
use crate::plugins::{self, Places};
use crate::print;
use crate::table::Table;

pub(crate) fn run(places: &Places) -> Result<ExitCode> {
    let registry = plugins::discover(places)?;
    let cores = std::thread::available_parallelism().map_or_else(|error| error.to_string(), |n| n.to_string());
    let mut checks: Vec<(String, Health)> = vec![
        ("version".to_owned(), Health::Well(format!("mimus {}, {ARCH}-{OS}", env!("CARGO_PKG_VERSION")))),
        ("processors".to_owned(), Health::Well(cores)),
        ("memory available".to_owned(), Health::Well(memory().unwrap_or_else(|| "unknown on this system".to_owned()))),
        ("this folder can be written".to_owned(), writable(Path::new(".")).into()),
    ];
    for (origin, place) in places.all()? {
        let found = if place.exists() { "is there" } else { "is not there" };
        checks.push((format!("plugins, {}", origin.name()), Health::Well(format!("{} {found}", place.display()))));
    }
    let components = format!("{}: `mimus plugin list` shows them", registry.list().len());
    checks.push(("components".to_owned(), Health::Well(components)));
    checks.extend(health::refused(&registry));
    let backends = health::backends(&registry).into_iter();
    checks.extend(backends.map(|(name, health)| (format!("backend {name}"), health)));
    let natives = health::natives().into_iter();
    checks.extend(natives.map(|(name, place, health)| (format!("native library {name} ({place})"), health)));
    let mut table = Table::new(&["check", "result", "what to do"]);
    let problems = checks.iter().filter(|(_, health)| matches!(health, Health::Problem(_))).count();
    for (check, health) in checks {
        let [found, advice] = health.cells();
        table.row(vec![check, found, advice]);
    }
    print(&table.markdown())?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn writable(folder: &Path) -> Result<String> {
    let probe = folder.join(format!("{}doctor", files::UNFINISHED));
    files::write(&probe, b"")?;
    let removed = std::fs::remove_file(&probe);
    Ok(removed.map_or_else(|error| format!("yes, but {} stays: {error}", probe.display()), |()| "yes".to_owned()))
}

fn memory() -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}
