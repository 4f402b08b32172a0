//! Real data sets through the command, from files to tables; see `mimus_tests::test_data` for where they are looked for.

mod videos;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::{Error, Result};
use mimus_tests::{Ended, ffmpeg, mimus, test_data};
use serde_json::Value;
use videos::*;

/// A test of its own on the folder of data sets.
type Check = fn(&Path) -> Result<()>;

macro_rules! checks {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as Check)),*] };
}

/// Checks that decode video files.
const DECODING: [(&str, Check); 3] = checks![
    avenue_has_both_conventions_and_is_decoded_once,
    damaged_videos_and_labels_are_named,
    a_run_killed_while_it_decodes_leaves_no_half_of_a_video,
];

const CHECKS: [(&str, Check); 9] = checks![
    screw_has_the_published_numbers_of_images_and_regions,
    incomplete_ground_truth_names_its_files_or_is_ignored_on_request,
    hazelnut_ends_with_all_metrics_maps_and_overlays,
    screw_at_256x256_ends_with_all_metrics,
    pictures_without_masks_have_undefined_pixel_metrics_with_the_reason,
    ped2_has_the_published_labels_from_every_source,
    the_intervals_of_all_clips_of_avenue_hold_3867_frames,
    shanghaitech_has_107_clips_and_17326_anomalous_frames,
    the_recorded_scores_of_shanghaitech_have_their_auroc,
];

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::data(what())) }
}

/// The command in a folder of its own; must end with `code`.
fn run(folder: &Path, code: i32, arguments: &[&str]) -> Result<Ended> {
    let mut command = mimus(folder)?;
    ffmpeg().into_iter().for_each(|program| _ = command.env("MIMUS_FFMPEG", program));
    let ended = Ended::of(command.args(arguments))?;
    ensure(ended.code == Some(code), || format!("{arguments:?} ended with {:?}: {}", ended.code, ended.err))?;
    Ok(ended)
}

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|error| Error::data(format!("no temporary folder: {error}")))
}

/// The row of the only group, as cells without blanks.
fn row(table: &str) -> Vec<&str> {
    table.lines().nth(2).unwrap_or_default().trim_matches('|').split('|').map(str::trim).collect()
}

fn screw_has_the_published_numbers_of_images_and_regions(data: &Path) -> Result<()> {
    let folder = temporary()?;
    let root = data.join("mvtec_ad_256/screw").display().to_string();
    let listed = run(folder.path(), 0, &["dataset", "list", "mvtec", &root])?.out;
    ensure(row(&listed)[..5] == ["screw", "320", "41", "119", "yes"], || listed.clone())?;
    ensure(row(&listed)[5].split(", ").count() == 5, || listed.clone())?;
    // SciPy's `label` with a 3x3 structure finds as many in these masks; with 4 neighbours there would be 144.
    let checked = run(folder.path(), 0, &["dataset", "check", "mvtec", &root])?.out;
    ensure(row(&checked) == ["screw", "480", "256x256", "1", "134", "0"], || checked.clone())
}

fn incomplete_ground_truth_names_its_files_or_is_ignored_on_request(data: &Path) -> Result<()> {
    let folder = temporary()?;
    let root = data.join("mvtec_ad_256/leather_subset").display().to_string();
    let refused = run(folder.path(), 4, &["dataset", "check", "mvtec", &root])?.err;
    for part in ["without a mask: test/color/008.png", "without an image: ground_truth/color/001_mask.png", "ignore"] {
        ensure(refused.contains(part), || format!("{part} is not in: {refused}"))?;
    }
    let checked = run(folder.path(), 0, &["dataset", "check", "mvtec", &root, "--set", "masks=ignore"])?.out;
    ensure(row(&checked)[4] == "no masks", || checked.clone())
}

/// A small bench of the baseline and `sca`; gives `results.json`.
fn bench(folder: &Path, root: &Path, size: usize, further: &[&str]) -> Result<Value> {
    let run_toml = format!(
        "[run]\nname = \"real\"\n[dataset]\nplugin = \"mvtec\"\nroot = {:?}\n[input]\nheight = {size}\nwidth = {size}\n\
         [model]\nplugin = \"autoencoder\"\nwidth = 4\ndepth = 3\n[boost]\nattention = [\"sca\"]\n[train]\nepochs = 2\n[eval]\nresamples = 20\n",
        root.display().to_string()
    );
    let written = std::fs::write(folder.join("run.toml"), run_toml);
    written.map_err(|error| Error::data(format!("cannot write the configuration: {error}")))?;
    run(folder, 0, &[&["bench", "run.toml"], further].concat())?;
    let path = folder.join("runs/real/results.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("cannot be read", &path, &error))?;
    serde_json::from_str(&text).map_err(|error| Error::data(error.to_string()))
}

/// Rows of both variants: every metric has a mean, and the boosted ones an interval.
fn all_defined(results: &Value) -> Result<()> {
    let rows = results["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure(rows.len() == 14, || format!("{} rows: seven metrics of two variants", rows.len()))?;
    for row in rows {
        ensure(row["mean"].as_f64().is_some_and(|mean| (0.0..=1.0).contains(&mean)), || row.to_string())?;
        let compared = row["variant"] == "sca";
        ensure(row["difference"]["low"].is_number() == compared, || row.to_string())?;
    }
    Ok(())
}

fn hazelnut_ends_with_all_metrics_maps_and_overlays(data: &Path) -> Result<()> {
    let folder = temporary()?;
    all_defined(&bench(folder.path(), &data.join("hazelnut_toy"), 64, &["--maps", "--overlays"])?)?;
    for variant in ["baseline", "sca"] {
        for (kind, extension) in [("maps", "tiff"), ("overlays", "png")] {
            let of_defect = format!("runs/real/{kind}/autoencoder/{variant}/seed0/hazelnut/test/colour");
            let files = std::fs::read_dir(folder.path().join(&of_defect)).into_iter().flatten().flatten();
            let files = files.filter(|file| file.path().extension().is_some_and(|found| found == extension)).count();
            ensure(files == 17, || format!("{of_defect} holds {files} files .{extension}"))?;
        }
    }
    Ok(())
}

fn screw_at_256x256_ends_with_all_metrics(data: &Path) -> Result<()> {
    let folder = temporary()?;
    let results = bench(folder.path(), &data.join("mvtec_ad_256/screw"), 256, &["--set", "train.epochs=1"])?;
    all_defined(&results)?;
    ensure(results["cells"][0]["regions"] == 134, || results["cells"][0].to_string())
}

fn pictures_without_masks_have_undefined_pixel_metrics_with_the_reason(data: &Path) -> Result<()> {
    let folder = temporary()?;
    let results = bench(folder.path(), &data.join("aws_lookout/aliens"), 32, &[])?;
    for row in results["rows"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let of_images = row["metric"].as_str().is_some_and(|metric| metric.starts_with("image"));
        ensure(row["mean"].is_number() == of_images, || row.to_string())?;
        let reason = row["undefined"].as_str().unwrap_or_default();
        ensure(of_images || reason == "not every anomalous image has a mask", || row.to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let data = test_data();
    let decoded = data.clone().and_then(|data| ffmpeg().map(|_| data));
    let trials = CHECKS.into_iter().map(|check| trial(&data, check));
    let trials = trials.chain(DECODING.into_iter().map(|check| trial(&decoded, check)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Skipped where what it needs is not there.
fn trial(data: &Result<PathBuf>, (name, check): (&'static str, Check)) -> Trial {
    match data {
        Ok(data) => {
            let data = data.clone();
            Trial::test(name, move || check(&data).map_err(Failed::from))
        }
        // In CI everything is there, or something is wrong.
        Err(error) if std::env::var_os("CI").is_some() => {
            let error = error.clone();
            Trial::test(name, move || Err(Failed::from(error)))
        }
        Err(error) => Trial::test(format!("{name} (skipped: {})", error.one_line()), || Ok(())).with_ignored_flag(true),
    }
}
