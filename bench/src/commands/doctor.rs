//! `mimus doctor`: what this installation can do, and what stands in its way.

use std::env::consts::{ARCH, OS};
use std::path::Path;
use std::process::ExitCode;

use mimus_core::Result;
use mimus_core::abi::Component;

use crate::files;
use crate::plugins::{self, Places};
use crate::print;
use crate::table::Table;

pub(crate) fn run(places: &Places) -> Result<ExitCode> {
    let registry = plugins::discover(places)?;
    let listed = registry.list();
    let cores = std::thread::available_parallelism().map_or_else(|error| error.to_string(), |n| n.to_string());
    let mut checks = vec![
        ("version".to_owned(), Ok(format!("mimus {}, {ARCH}-{OS}", env!("CARGO_PKG_VERSION")))),
        ("processors".to_owned(), Ok(cores)),
        ("memory available".to_owned(), Ok(memory().unwrap_or_else(|| "unknown on this system".to_owned()))),
        ("this folder can be written".to_owned(), writable(Path::new("."))),
    ];
    for (origin, place) in places.all()? {
        let found = if place.exists() { "is there" } else { "is not there" };
        checks.push((format!("plugins, {}", origin.name()), Ok(format!("{} {found}", place.display()))));
    }
    checks.push(("components".to_owned(), Ok(format!("{}: `mimus plugin list` shows them", listed.len()))));
    checks.extend(registry.refused.iter().map(|(_, path, error)| (path.display().to_string(), Err(error.clone()))));
    for listed in &listed {
        if let Component::Backend(backend) = listed.winner.component {
            let names = |devices: Vec<mimus_core::plugin::DeviceInfo>| {
                devices.iter().map(|d| format!("{}: {}", d.name, d.description)).collect::<Vec<_>>().join("; ")
            };
            checks.push((format!("backend {}", listed.winner.info.name), backend.devices().map(names)));
        }
    }
    let mut table = Table::new(&["check", "result", "what to do"]);
    let problems = checks.iter().filter(|(_, result)| result.is_err()).count();
    for (check, result) in checks {
        table.row(match result {
            Ok(found) => vec![check, found, String::new()],
            Err(error) => {
                let hint = error.next_step().unwrap_or_default().to_owned();
                vec![check, format!("PROBLEM: {}", error.message()), hint]
            }
        });
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
