//! Runs on several backends, and the comparison of backends, through the command itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::Path;

use mimus_tests::{Artifacts, Ended, mimus};
use serde_json::Value;

/// Some seconds of training, even on the interpreter.
const RUN: &str = r#"
[run]
name = "small"

[dataset]
plugin = "synthetic"
groups = ["weave"]
size   = 32
train  = 6

[input]
height = 32
width  = 32

[model]
plugin = "autoencoder"
width  = 2
depth  = 2

[boost]
attention = ["none"]

[train]
epochs = 1
batch  = 2
"#;

/// `mimus <arguments>` in a folder with `run.toml`.
fn command(folder: &Path, line: &str) -> Ended {
    std::fs::write(folder.join("run.toml"), RUN).unwrap();
    Ended::of(mimus(folder).unwrap().args(line.split(' '))).unwrap()
}

fn json(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("runs/small").join(file)).unwrap()).unwrap()
}

#[test]
fn a_run_trains_on_one_backend_and_scores_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), "bench run.toml --set run.eval=reference");
    assert_eq!(output.code, Some(0), "{}", output.err);
    let results = json(folder.path(), "results.json");
    let rows = results["rows"].as_array().unwrap().iter().chain(results["cells"].as_array().unwrap());
    for row in rows {
        assert_eq!([&row["train_backend"], &row["eval_backend"]], ["candle", "reference"]);
    }
    let table = std::fs::read_to_string(folder.path().join("runs/small/results.csv")).unwrap();
    assert!(table.lines().nth(1).unwrap().contains(",baseline,candle,reference,"), "{table}");
    // The same on one backend is another score of the same training.
    let output = command(folder.path(), "bench run.toml");
    assert_eq!(output.code, Some(0), "{}", output.err);
    let count = |place: &str| std::fs::read_dir(folder.path().join("runs/small").join(place)).unwrap().count();
    assert_eq!([count("trained"), count("cells")], [2, 4]);
}

#[test]
fn a_student_of_another_backend_than_its_teacher_is_compared_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let mixed = "bench run.toml --set boost.train=reference";
    let output = command(folder.path(), mixed);
    assert_eq!(output.code, Some(2));
    let message = &output.err;
    assert!(message.contains("`autoencoder, baseline` on candle, `autoencoder, boosted` on reference"), "{message}");
    assert!(message.contains("run.compare_backends = true"), "{message}");
    let output = command(folder.path(), &format!("{mixed} --set run.eval=candle --set run.compare_backends=true"));
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.out.contains("reference, scored on candle"), "{}", output.out);
}

#[test]
fn parity_compares_the_embedded_backend_with_the_reference_and_keeps_both_tables() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), "parity run.toml --backend candle");
    assert_eq!(output.code, Some(0), "{}{}", output.out, output.err);
    let parity = json(folder.path(), "parity.json");
    let findings = parity["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 4, "training step and evaluation of the baseline and of one variant");
    for finding in findings {
        assert_eq!([&finding["within"], &finding["first_alone"]], [&Value::Bool(true), &Value::Null]);
        assert!(finding["operators"]["conv"]["nodes"].as_u64().unwrap() >= 2);
    }
    assert_eq!(parity["inputs"], serde_json::json!([2, 32, 32]));
    assert!(std::fs::read_to_string(folder.path().join("runs/small/parity.md")).unwrap().contains("| conv "));
}

#[test]
fn parity_names_the_first_operator_that_computes_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let rogue = Artifacts::of_rogues().unwrap().library("rogue-components").unwrap().display();
    let output = command(folder.path(), &format!("parity run.toml --backend crooked --size 16 --plugin {rogue}"));
    assert_eq!(output.code, Some(1), "{}", output.err);
    let finding = json(folder.path(), "parity.json")["findings"][1].clone();
    assert_eq!(finding["program"], "autoencoder, baseline, evaluation");
    assert_eq!([&finding["first_alone"]["op"], &finding["first_inside"]["op"]], ["leaky_relu", "leaky_relu"]);
    let beyond = finding["operators"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, worst)| worst["alone"]["relative"].as_f64().is_none_or(|relative| relative > 1e-4));
    assert_eq!(
        beyond.map(|(op, _)| op.as_str()).collect::<Vec<_>>(),
        ["leaky_relu"],
        "the error begins there and nowhere else"
    );
    assert!(output.out.contains("First node off alone, autoencoder, baseline, evaluation on crooked: "));
}

#[test]
fn a_backend_that_is_named_and_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path(), "parity run.toml --backend candel");
    assert_eq!(output.code, Some(3));
    assert!(output.err.contains("did you mean `candle`?"), "{}", output.err);
}
