//! Downloads wheels with Python's pip, which knows the user's index, proxy and cache, and compares their hashes with the pinned ones.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mimus_core::{Error, Result};

use super::wheels::Wheel;

/// The wheels are for this Python, whichever one runs pip: nothing of Python's is kept.
const TARGET: &[&str] = &["--implementation", "cp", "--python-version", "3.11"];

/// Kinds of Linux that the wheels are for.
const PLATFORMS: [&str; 8] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_18_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
];

/// What to do if pip's words hold the first text.
const ADVICE: [(&str, &str); 5] = [
    ("No space left on device", super::DISK_FULL),
    ("DO NOT MATCH THE HASHES", "the index of pip gives another file than the published one: use another index"),
    ("No module named pip", NO_PIP),
    ("no such option", "this pip is too old: run `python3 -m pip install --upgrade pip`"),
    ("No matching distribution", "pip's index must have it: check the network, proxy and `python3 -m pip config list`"),
];

const NO_PIP: &str = "install Python 3 with pip, for example with `apt-get install python3-pip`, then run again";

/// Puts the files of `wheels` into the folder `into`.
pub(super) fn download(wheels: &[&Wheel], into: &Path) -> Result<()> {
    let pinned =
        wheels.iter().map(|wheel| format!("{}=={} --hash=sha256:{}\n", wheel.package, wheel.version, wheel.sha256));
    let requirements = into.join("requirements.txt");
    super::write(&requirements, pinned.collect::<String>().as_bytes())?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]).args(TARGET);
    command.args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
    command.arg("--dest").arg(into).arg("--requirement").arg(&requirements);
    // Its own temporary files, too, lie where an unfinished install is swept away.
    command.env("TMPDIR", into).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    run(command)
}

/// Runs pip; what it says goes to standard error.
fn run(mut command: Command) -> Result<()> {
    command.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::piped());
    let mut child =
        command.spawn().map_err(|error| Error::backend(format!("python3 cannot be started: {error}")).hint(NO_PIP))?;
    let mut said = Vec::new();
    for line in child.stderr.take().into_iter().flat_map(|stream| BufReader::new(stream).split(b'\n')) {
        let line = String::from_utf8_lossy(&line.unwrap_or_default()).trim_end().to_owned();
        // Nobody may be there to read it; the error below tells the same.
        let _ = writeln!(std::io::stderr(), "{line}");
        said.push(line);
    }
    let status = child.wait().map_err(|error| Error::backend(format!("pip is lost: {error}")))?;
    if status.success() { Ok(()) } else { Err(failure(&said, status)) }
}

fn failure(said: &[String], status: std::process::ExitStatus) -> Error {
    let reason =
        said.iter().rev().find(|line| line.contains("ERROR")).or_else(|| said.iter().rfind(|line| !line.is_empty()));
    let reason = reason.map_or_else(String::new, |line| format!(": {}", line.trim_start_matches("ERROR: ")));
    let error = Error::backend(format!("pip could not download the wheels ({status}){reason}"));
    let advice = ADVICE.iter().find(|(text, _)| said.iter().any(|line| line.contains(text)));
    error.hint(advice.map_or("mend what pip says above, then run again", |(_, advice)| advice))
}

/// The file of a wheel that [`download`] put into `folder`.
pub(super) fn file(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let prefix = format!("{}-{}-", wheel.package.replace('-', "_"), wheel.version);
    let entries = std::fs::read_dir(folder).map_err(|error| super::failed("cannot be read", folder, &error))?;
    let mut names =
        entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let name = names.find(|name| name.starts_with(&prefix) && name.ends_with(".whl"));
    let name = name.ok_or_else(|| Error::backend(format!("pip gave no file {prefix}*.whl, although it succeeded")))?;
    Ok(folder.join(name))
}
