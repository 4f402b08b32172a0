//! A run on videos: the motion floor beside the variants, criteria of regions and tracks, and the curves of every video.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::Path;

use mimus_tests::{Ended, mimus};
use serde_json::Value;

const RUN: &str = r#"
[run]
name  = "small"
seeds = [3, 4]

[dataset]
plugin = "synthetic-video"
groups = ["plaza"]
height = 32
width  = 32
train  = 2
test   = 2
frames = 48

[input]
height = 16
width  = 16

[model]
plugin = "mnad"
widths = [4, 6]
items  = 3

[boost]
attention = ["none"]

[train]
epochs = 1
batch  = 8

[eval]
protocol  = "mnad"
resamples = 20
"#;

fn command(folder: &Path, arguments: &[&str]) -> Ended {
    std::fs::write(folder.join("run.toml"), RUN).unwrap();
    Ended::of(mimus(folder).unwrap().args(arguments)).unwrap()
}

/// The rows of a metric, by variant.
fn rows(folder: &Path, metric: &str) -> Vec<(String, Value)> {
    let bytes = std::fs::read(folder.join("runs/small/results.json")).unwrap();
    let results: Value = serde_json::from_slice(&bytes).unwrap();
    let rows = results["rows"].as_array().unwrap().iter().filter(|row| row["metric"] == metric);
    rows.map(|row| (row["variant"].as_str().unwrap().to_owned(), row.clone())).collect()
}

#[test]
fn videos_have_a_motion_floor_criteria_of_tracks_and_curves() {
    let folder = tempfile::tempdir().unwrap();
    let ended = command(folder.path(), &["bench", "run.toml"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    let names = |rows: &[(String, Value)]| rows.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for metric in ["frame AUROC, micro", "pixel AUROC", "RBDC", "TBDC"] {
        let found = rows(folder.path(), metric);
        assert_eq!(names(&found), ["baseline", "none", "motion floor"], "{metric}");
        for (name, row) in &found {
            let (is_floor, known) = (name == "motion floor", row["mean"].as_f64().is_some());
            assert!(known, "{metric} of {name}: {}", row["undefined"]);
            // The floor is computed once and compared with nothing; everything else is compared with it.
            assert_eq!(row["seeds"], if is_floor { 1 } else { 2 });
            assert_eq!(row["train_backend"], if is_floor { "none" } else { "candle" });
            assert_eq!(row.get("over_floor").is_some(), !is_floor, "{metric} of {name}");
            assert_eq!(row["difference"].is_null(), name != "none");
        }
    }
    assert!(ended.out.contains("above the motion floor in micro frame AUROC"), "{}", ended.out);
    let parts = "(`psnr`, `compactness`; boosted, by the mimicking score too): `baseline`, `none`; by `score` alone, lacking them: `motion floor`";
    assert!(ended.out.contains(parts), "{}", ended.out);
    let run = folder.path().join("runs/small");
    let report = std::fs::read_to_string(run.join("results.md")).unwrap();
    let pictures: Vec<&str> = report.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert_eq!(pictures.len(), 2, "one for each test video: {report}");
    for picture in pictures {
        let svg = std::fs::read_to_string(run.join(picture)).unwrap();
        for text in ["protocol mnad, seed 3", "baseline: frame AUROC", "none: frame AUROC", "motion floor: frame AUROC"]
        {
            assert!(svg.contains(text), "{picture} lacks \"{text}\"");
        }
        let png = image::open(run.join(picture).with_extension("png")).unwrap();
        assert!(png.width() > 900 && png.height() > 300);
    }
}

#[test]
fn the_motion_floor_is_left_out_on_request_and_is_no_detector() {
    let folder = tempfile::tempdir().unwrap();
    let ended = command(folder.path(), &["bench", "run.toml", "--set", "eval.motion_floor=false"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    let found = rows(folder.path(), "RBDC");
    assert!(found.len() == 2 && found.iter().all(|(_, row)| row.get("over_floor").is_none()));
    assert!(!ended.out.contains("motion floor"), "{}", ended.out);
    let ended = command(folder.path(), &["predict", "run.toml", "--variant", "motion floor", "x.png"]);
    assert!(ended.code == Some(2) && ended.err.contains("no variant `motion floor`"), "{}", ended.err);
}
