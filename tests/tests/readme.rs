//! The README's section on plugins, taken at its word: its files, built outside of the workspace, and its commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::Path;

use mimus_tests::{Artifacts, mimus, repository};

/// The blocks of a kind in the section, in order.
fn blocks(kind: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Write a plugin\n")).unwrap();
    let begin = format!("\n```{kind}\n");
    let blocks = section.split(&begin).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// Writes the section's files below `folder`; the checkout is where the section supposes it by its path alone.
fn write(folder: &Path) {
    let [manifest, run] = &blocks("toml")[..] else { panic!("the section has a manifest and a run") };
    let [source] = &blocks("rust")[..] else { panic!("the section has one source file") };
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
    let output = mimus(folder).unwrap().args(words).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "`{line}` failed ({}):\n{out}\n{err}", output.status);
    out
}

#[test]
fn the_plugin_of_the_readme_is_listed_and_runs_in_a_bench() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    build(folder.path());
    let commands = &blocks("sh")[0];
    let [cargo_build, list, bench] = commands.lines().collect::<Vec<_>>()[..] else { panic!("three commands") };
    assert_eq!(cargo_build, "cargo build --release");
    let listed = run(folder.path(), list);
    assert!(listed.lines().any(|line| line.contains("loud") && line.contains("libattention_loud")), "{listed}");
    let table = run(folder.path(), bench);
    assert!(table.lines().any(|line| line.contains("loud")), "{table}");
    assert!(folder.path().join("runs/loud/results.csv").is_file());
}
