//! Every model can be drawn, as it is and boosted, by its name alone.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test with its place")]

use mimus_tests::{Ended, mimus};

fn graph(arguments: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    Ended::of(mimus(folder.path()).unwrap().arg("graph").args(arguments)).unwrap()
}

/// Models by the first column of `mimus plugin list`.
fn models() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let listed = Ended::of(mimus(folder.path()).unwrap().args(["plugin", "list"])).unwrap().out;
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    listed
        .lines()
        .map(cells)
        .filter(|row| row.get(1).is_some_and(|kind| kind == "model"))
        .map(|row| row[2].clone())
        .collect()
}

#[test]
fn every_model_is_drawn_boosted_by_its_name() {
    let models = models();
    assert!(models.len() > 10, "{models:?}");
    for model in models {
        let drawn = graph(&[&format!("model-{model}"), "--boost", "sca", "--depth", "1"]);
        assert_eq!(drawn.code, Some(0), "{model}: {}", drawn.err);
        assert!(drawn.out.starts_with("digraph") && drawn.out.contains("teacher"), "{model}: {}", drawn.out);
    }
}

#[test]
fn the_name_alone_draws_what_is_not_boosted() {
    let drawn = graph(&["memae"]);
    assert!(drawn.code == Some(0) && !drawn.out.contains("teacher"), "{} {}", drawn.err, drawn.out);
}

#[test]
fn a_name_of_neither_file_nor_model_says_what_to_give() {
    for name in ["model-dream", "run.toml"] {
        let refused = graph(&[name, "--boost"]);
        assert_ne!(refused.code, Some(0));
        assert!(refused.err.contains(name) && refused.err.contains("mimus plugin list"), "{}", refused.err);
    }
    let refused = graph(&["memae", "--boost", "scal"]);
    assert!(refused.code != Some(0) && refused.err.contains("scal"), "{}", refused.err);
}
