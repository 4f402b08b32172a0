//! How backends and native libraries are: well, absent (nobody has to have them), or broken.

use mimus_core::abi::{Component, Registry};
use mimus_core::native::{KNOWN, Place};
use mimus_core::plugin::DeviceInfo;
use mimus_core::{Error, Result};

/// The state of one thing, for a line of a table.
pub(crate) enum Health {
    Well(String),
    /// An optional native library is not installed, or something that needs it.
    Absent(Error),
    Problem(Error),
}

impl From<Result<String>> for Health {
    fn from(result: Result<String>) -> Self {
        match result {
            Ok(found) => Self::Well(found),
            Err(error) if KNOWN.iter().any(|known| known.missing().message() == error.message()) => Self::Absent(error),
            Err(error) => Self::Problem(error),
        }
    }
}

impl Health {
    /// What was found, and what to do.
    pub(crate) fn cells(&self) -> [String; 2] {
        let hint = |error: &Error| error.next_step().unwrap_or_default().to_owned();
        match self {
            Self::Well(found) => [found.clone(), String::new()],
            Self::Absent(error) => [error.message().to_owned(), hint(error)],
            Self::Problem(error) => [format!("PROBLEM: {}", error.message()), hint(error)],
        }
    }
}

/// Every backend with its devices.
pub(crate) fn backends(registry: &Registry) -> Vec<(String, Health)> {
    let names = |devices: Vec<DeviceInfo>| {
        devices.iter().map(|device| format!("{}: {}", device.name, device.description)).collect::<Vec<_>>().join("; ")
    };
    let listed = registry.list();
    let entries = listed.iter().map(|listed| listed.winner).filter_map(|entry| match entry.component {
        Component::Backend(backend) => Some((entry.info.name.clone(), Health::from(backend.devices().map(names)))),
        _ => None,
    });
    entries.collect()
}

/// Every library file that was refused.
pub(crate) fn refused(registry: &Registry) -> Vec<(String, Health)> {
    let files = registry.refused.iter();
    files.map(|(_, path, error)| (path.display().to_string(), Health::from(Err(error.clone())))).collect()
}

/// Every native library in every place that has one: name, place, and path with the versions found and expected.
pub(crate) fn natives() -> Vec<(&'static str, String, Health)> {
    let mut rows = Vec::new();
    for known in KNOWN {
        let before = rows.len();
        for place in Place::ALL {
            let health = match place.find(known) {
                Ok(None) => continue,
                Ok(Some(found)) => Health::from(found.check().map(|()| {
                    let devices = if found.cuda { "CPU and NVIDIA GPUs" } else { "CPU" };
                    let (version, path) = (&found.version, found.folder.display());
                    format!("{version} for {devices} in {path}, expects {}", known.version)
                })),
                Err(error) => Health::Problem(error),
            };
            let shadowed = if rows.len() > before { ", not used" } else { "" };
            rows.push((known.name, format!("{place}{shadowed}"), health));
        }
        if rows.len() == before {
            let error = Error::backend(format!("is not installed, expects {} {}", known.title, known.version));
            let hint = format!("`{}` if you want what needs it", Place::Project.install_command(known.name, false));
            rows.push((known.name, "nowhere".to_owned(), Health::Absent(error.hint(hint))));
        }
    }
    rows
}
