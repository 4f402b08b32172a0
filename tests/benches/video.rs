//! Video, from files to scores: how long a frame takes to be decoded, resized and arranged, and how long MNAD takes to judge it.
//!
//! `cargo bench -p mimus-tests --bench video`; the frames are those of `ped2_subset` in the folder that `MIMUS_TEST_DATA` names. MNAD is the
//! published one, at 256 x 256, one frame at a time, as its memory changes while it judges; it is trained for two steps, which its speed
//! does not depend on.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use mimus_core::{Error, Result};
use mimus_tests::{Ended, mimus, test_data};
use serde_json::Value;

const RUN: &str = r#"
[run]
name = "video"
threads = 2
[dataset]
plugin = "video-folder"
root = "frames"
masks = "ignore"
[model]
plugin = "mnad"
[boost]
attention = []
normalize = "none"
[train]
epochs = 1
batch = 4
holdout = 0.0
[eval]
motion_floor = false
resamples = 1
"#;

/// Clips of the data, where they go, and how many of their first frames are taken.
const CLIPS: [(&str, &str, usize); 2] = [("training/frames/01", "train/a", 12), ("testing/frames/01", "test/b", 64)];

fn main() -> ExitCode {
    // `cargo test --benches` asks for a trial only.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let (text, code) = match run() {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("{error}\n"), ExitCode::FAILURE),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn run() -> Result<String> {
    let folder = tempfile::tempdir().map_err(|error| Error::io("no temporary folder", Path::new("."), &error))?;
    let failed = |error: std::io::Error| Error::io("the frames cannot be copied", folder.path(), &error);
    let data = test_data()?.join("ped2_subset");
    for (from, to, count) in CLIPS {
        let (from, to) = (data.join(from), folder.path().join("frames").join(to));
        std::fs::create_dir_all(&to).map_err(failed)?;
        let mut files: Vec<_> =
            std::fs::read_dir(&from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(failed)?;
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files.into_iter().take(count) {
            std::fs::copy(file.path(), to.join(file.file_name())).map_err(failed)?;
        }
    }
    std::fs::write(folder.path().join("frames/labels.csv"), "video,start,end\nb,50,64\n").map_err(failed)?;
    std::fs::write(folder.path().join("run.toml"), RUN).map_err(failed)?;
    let ended = Ended::of(mimus(folder.path())?.args(["bench", "run.toml"]))?;
    if ended.code != Some(0) {
        return Err(Error::data(format!("the run failed: {}", ended.err)));
    }
    let results = std::fs::read(folder.path().join("runs/video/results.json")).map_err(failed)?;
    let results: Value = serde_json::from_slice(&results).map_err(|error| Error::data(error.to_string()))?;
    let row = &results["rows"][0];
    let [whole, input] = ["score_ms", "input_ms"].map(|key| row[key].as_f64().unwrap_or(f64::NAN));
    Ok(format!(
        "input pipeline (360 x 240 JPEG decoded, resized to 256 x 256, clips of 5): {input:.2} ms a frame, {:.0} frames/s\n\
         MNAD evaluation, pipeline included: {whole:.1} ms a frame, {:.2} frames/s\n",
        1e3 / input,
        1e3 / whole
    ))
}
