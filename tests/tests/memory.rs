//! A bench of ten times as many videos takes as much memory as one of a few.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mimus_tests::mimus;

/// Frames of 128 x 128 pixels: more of them than are kept, and more pixel scores than are sorted in memory, already in the small run.
const RUN: &str = r#"
[run]
name = "memory"
threads = 2
[dataset]
plugin = "synthetic-video"
groups = ["plaza"]
frames = 48
[input]
height = 64
width = 64
memory_mib = 4
[model]
plugin = "autoencoder"
width = 4
depth = 2
[boost]
attention = ["none"]
[train]
epochs = 1
batch = 16
[eval]
resamples = 20
"#;

/// The largest resident memory of a bench of so many clips, in MiB.
fn peak(folder: &Path, clips: usize) -> f64 {
    std::fs::write(folder.join("run.toml"), RUN).unwrap();
    let sets = [
        ("run.name", format!("'of {clips}'")),
        ("dataset.train", clips.to_string()),
        ("dataset.test", clips.to_string()),
    ];
    let mut bench = mimus(folder).unwrap();
    bench.args(["bench", "run.toml"]).stdout(Stdio::null()).stderr(Stdio::null());
    // glibc gives each thread its own heap, and how much freed memory these hold depends on timing: up to 10 MiB either way.
    bench.env("MALLOC_ARENA_MAX", "1");
    sets.iter().for_each(|(key, value)| {
        bench.arg("--set").arg(format!("{key}={value}"));
    });
    let mut child = bench.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        // The program begins its own peak anew with every cell, so it has to be asked again and again.
        let line = std::fs::read_to_string(&status).unwrap_or_default();
        let line =
            line.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|line| line.split_whitespace().next());
        peak = peak.max(line.map_or(0.0, |kib| kib.parse::<f64>().unwrap() / 1024.0));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ten_times_the_clips_take_no_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let [few, many] = [6, 60].map(|clips| peak(folder.path(), clips));
    assert!(few > 10.0 && many < 1.1 * few, "{few:.0} MiB with 6 clips, {many:.0} MiB with 60");
}
