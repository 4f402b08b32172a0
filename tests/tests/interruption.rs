//! Runs that are killed at random moments, repeated, or spread over threads: what they leave is the same to the last bit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use mimus_core::random::Stream;
use mimus_tests::{Ended, mimus};
use serde_json::Value;

/// Two models, two groups, every control: a few seconds of work in many small pieces.
const RUN: &str = r#"
[run]
name = "sweep"
seeds = [0, 1]
[dataset]
plugin = "synthetic"
groups = ["weave", "gear"]
size = 32
train = 12
test_good = 3
test_per_defect = 1
[input]
height = 32
width = 32
[[model]]
plugin = "autoencoder"
width = 4
depth = 2
[[model]]
plugin = "memae"
slots = 20
[boost]
attention = ["random", "sca"]
control = "baseline-twice"
[train]
epochs = 3
batch = 4
[eval]
resamples = 50
maps = true
"#;

/// Columns and keys that are measured, so that they differ from run to run.
const COSTS: [&str; 6] =
    ["train_seconds", "score_ms", "score_ms_per_image", "input_ms", "input_ms_per_image", "peak_mib"];

fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), RUN).unwrap();
    folder
}

fn finish(folder: &Path, further: &[&str]) {
    let ended = Ended::of(mimus(folder).unwrap().args(["bench", "run.toml"]).args(further)).unwrap();
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
}

/// Every file of a run by its path: its bytes, without what is measured.
fn left(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let root = folder.join("runs/sweep");
    collect(&root, &root, &mut files);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let content = match path.file_name().unwrap().to_str().unwrap() {
            "effort.json" | "cost.json" => Vec::new(),
            "results.json" => without_costs(serde_json::from_slice(&bytes).unwrap()).to_string().into_bytes(),
            "results.csv" => columns(&bytes).into_bytes(),
            "results.md" => tables(&bytes).into_bytes(),
            _ => bytes,
        };
        files.insert(path.strip_prefix(root).unwrap().to_owned(), content);
    }
}

fn without_costs(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !COSTS.contains(&key.as_str()))
            .map(|(k, v)| (k, without_costs(v)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_costs).collect(),
        other => other,
    }
}

/// A CSV without the columns of costs, which are the last ones.
fn columns(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let costs = header.iter().filter(|name| COSTS.contains(name)).count();
    assert_eq!(costs, 4, "{header:?}");
    text.lines().map(|line| line.rsplitn(costs + 1, ',').last().unwrap().to_owned() + "\n").collect()
}

/// Markdown whose tables lack the last three columns: training, scoring, peak memory.
fn tables(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    let line = |line: &str| match line.strip_prefix('|') {
        Some(cells) => cells.trim_end_matches('|').rsplitn(4, '|').last().unwrap().to_owned() + "\n",
        None => line.to_owned() + "\n",
    };
    text.lines().map(line).collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differing: Vec<_> =
        expected.iter().filter(|(path, bytes)| found[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(differing.is_empty(), "these files differ: {differing:?}");
}

#[test]
fn a_run_killed_at_random_moments_ends_as_one_that_was_not() {
    let whole = place();
    let start = Instant::now();
    finish(whole.path(), &[]);
    let duration = start.elapsed();
    let expected = left(whole.path());
    assert!(expected.keys().filter(|path| path.ends_with("checkpoint.safetensors")).count() >= 24, "{expected:?}");

    let killed = place();
    let mut stream = Stream::keyed("moments at which a run is killed");
    let mut kills = 0;
    for _ in 0..8 {
        let mut child = mimus(killed.path())
            .unwrap()
            .args(["bench", "run.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(duration.mul_f64(stream.range(0.02, 0.35)));
        if child.try_wait().unwrap().is_none() {
            // SIGKILL: nothing of the process runs any more.
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills >= 2, "the run was killed {kills} times");
    finish(killed.path(), &[]);
    assert_same(&left(killed.path()), &expected);
}

#[test]
fn one_thread_and_two_and_a_second_run_leave_the_same_bits() {
    let run = |threads: usize| {
        let folder = place();
        finish(folder.path(), &["--set", &format!("run.threads={threads}")]);
        let mut files = left(folder.path());
        // The resolved configuration states the number of threads.
        files.retain(|path, _| !path.ends_with("config.toml") && !path.ends_with("results.json"));
        files
    };
    let expected = run(1);
    assert_same(&run(2), &expected);
    assert_same(&run(1), &expected);
}
