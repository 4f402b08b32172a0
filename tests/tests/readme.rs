//! The README taken at its word: the keys of a run, and the section on plugins with its files, built outside of the workspace, and its
//! commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeSet;
use std::path::Path;

use mimus_tests::{Artifacts, Ended, mimus, repository};

/// The blocks of a kind in a section, in order.
fn blocks(section: &str, kind: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|found| found.starts_with(&format!("{section}\n"))).unwrap();
    let begin = format!("\n```{kind}\n");
    let blocks = section.split(&begin).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// Writes the section's files below `folder`; the checkout is where the section supposes it by its path alone.
fn write(folder: &Path) {
    let [manifest, run] = &blocks("Write a plugin", "toml")[..] else { panic!("the section has a manifest and a run") };
    let [source] = &blocks("Write a plugin", "rust")[..] else { panic!("the section has one source file") };
    let core = repository().join("core");
    assert!(manifest.contains("\"../mimus/core\""));
    std::fs::create_dir(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest.replace("../mimus/core", core.to_str().unwrap())).unwrap();
    std::fs::write(folder.join("src/lib.rs"), source).unwrap();
    std::fs::write(folder.join("run.toml"), run).unwrap();
    // The same versions as in the workspace: they are compiled or at least fetched already.
    std::fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// Builds the library to where the section's commands look for it.
fn build(folder: &Path) {
    // The profiles of the workspace, so that what both depend on is compiled once.
    let profiles = repository().join("Cargo.toml");
    let built = Artifacts::build(folder, &["--config", profiles.to_str().unwrap()]).unwrap();
    let library = built.library("attention-loud").unwrap();
    let release = folder.join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    std::fs::copy(library, release.join(library.file_name().unwrap())).unwrap();
}

/// What a command line prints to standard output.
fn run(folder: &Path, line: &str) -> String {
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("mimus"));
    let ended = Ended::of(mimus(folder).unwrap().args(words)).unwrap();
    assert_eq!(ended.code, Some(0), "`{line}` failed:\n{}\n{}", ended.out, ended.err);
    ended.out
}

#[test]
fn the_plugin_of_the_readme_is_listed_and_runs_in_a_bench() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    build(folder.path());
    let commands = &blocks("Write a plugin", "sh")[0];
    let [cargo_build, list, bench] = commands.lines().collect::<Vec<_>>()[..] else { panic!("three commands") };
    assert_eq!(cargo_build, "cargo build --release");
    let listed = run(folder.path(), list);
    assert!(listed.lines().any(|line| line.contains("loud") && line.contains("libattention_loud")), "{listed}");
    let table = run(folder.path(), bench);
    assert!(table.lines().any(|line| line.contains("loud")), "{table}");
    assert!(folder.path().join("runs/loud/results.csv").is_file());
}

/// `table.key` of every key below the tables of a TOML.
fn keys(text: &str) -> BTreeSet<String> {
    let tables: toml::Table = toml::from_str(text).unwrap();
    let mut keys = BTreeSet::new();
    for (name, value) in tables {
        let first = value.as_array().and_then(|list| list.first()).cloned();
        let table = first.unwrap_or(value);
        keys.extend(table.as_table().unwrap().keys().map(|key| format!("{name}.{key}")));
    }
    keys
}

#[test]
fn the_run_of_the_readme_has_every_key_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let [run] = &blocks("A run", "toml")[..] else { panic!("the section has one run") };
    std::fs::write(folder.path().join("run.toml"), run).unwrap();
    // Whatever is no key would be refused (2) before the pictures are missed (4).
    let ended = Ended::of(mimus(folder.path()).unwrap().args(["bench", "run.toml"])).unwrap();
    assert_eq!(ended.code, Some(4), "{}", ended.err);
    assert!(ended.err.contains("`photos`"), "{}", ended.err);
    // A run's folder holds its configuration with all defaults.
    let [_, small] = &blocks("Write a plugin", "toml")[..] else { panic!("the section has a manifest and a run") };
    std::fs::write(
        folder.path().join("small.toml"),
        small.replace(", \"loud\"", "").replace("[attention.loud]\ngain = 2.0", ""),
    )
    .unwrap();
    let ended = Ended::of(mimus(folder.path()).unwrap().args(["train", "small.toml"])).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let resolved = std::fs::read_to_string(folder.path().join("runs/loud/config.toml")).unwrap();
    let own = |key: &String| !["model.", "dataset."].iter().any(|table| key.starts_with(table));
    let missing: Vec<_> = keys(&resolved).into_iter().filter(own).filter(|key| !keys(run).contains(key)).collect();
    assert!(missing.is_empty(), "the README does not tell of {missing:?}");
}
