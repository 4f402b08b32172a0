//! Weights that were trained elsewhere: a run judges and boosts them, and never takes them for its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::{Path, PathBuf};

use mimus_tests::{Artifacts, Ended, mimus};

/// A folder with a run, its training finished, and the baseline's checkpoint as somebody else's file.
struct Project {
    folder: tempfile::TempDir,
}

const RUN: &str = r#"
[run]
name = "own"
[dataset]
plugin = "synthetic"
groups = ["weave"]
size = 32
train = 8
test_good = 4
test_per_defect = 2
[input]
height = 32
width = 32
[model]
plugin = "autoencoder"
width = 4
depth = 2
[boost]
attention = ["sa"]
[train]
epochs = 1
"#;

const OFFICIAL: &str = "weights/weave.safetensors";

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(project.path("run.toml"), RUN).unwrap();
        project.succeeds(&["bench", "run.toml"]);
        let [trained] = &project.trained("own", "baseline")[..] else { panic!("one baseline") };
        std::fs::create_dir(project.path("weights")).unwrap();
        std::fs::copy(trained.join("checkpoint.safetensors"), project.path(OFFICIAL)).unwrap();
        project
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(below)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let plugins = Artifacts::of_workspace().unwrap().program("mimus").unwrap().parent().unwrap();
        let mut command = mimus(self.folder.path()).unwrap();
        Ended::of(command.args(arguments).env("MIMUS_PLUGIN_PATH", plugins)).unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let Ended { code, out, err } = self.run(arguments);
        assert_eq!(code, Some(0), "{out}\n{err}");
        out
    }

    /// Folders of what a run trained for a variant.
    fn trained(&self, run: &str, variant: &str) -> Vec<PathBuf> {
        let all = std::fs::read_dir(self.path("runs").join(run).join("trained")).unwrap();
        let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.to_str().unwrap().contains(&format!("-{variant}-")));
        all.sort();
        all
    }

    /// Variant, metric and mean of every row of the results.
    fn results(&self, run: &str) -> Vec<String> {
        let table = std::fs::read_to_string(self.path("runs").join(run).join("results.csv")).unwrap();
        let columns = |row: &str| {
            let cells: Vec<&str> = row.split(',').collect();
            [cells[2], cells[5], cells[6]].join(" ")
        };
        table.lines().map(columns).collect()
    }
}

#[test]
fn imported_weights_are_judged_and_boosted_under_a_key_of_their_own() {
    let project = Project::new();
    let official =
        ["bench", "run.toml", "--set", "run.name=official", "--set", "model.weights=weights/{group}.safetensors"];
    let page = project.succeeds(&official);
    assert!(
        page.contains("The baseline was not trained here: it has the weights of `weights/{group}.safetensors`."),
        "{page}"
    );
    assert_eq!(project.results("official"), project.results("own"), "the same weights give the same numbers");
    let [imported] = &project.trained("official", "baseline")[..] else { panic!("one baseline") };
    let [own] = &project.trained("own", "baseline")[..] else { panic!("one baseline") };
    assert_ne!(imported.file_name(), own.file_name());
    let origin = std::fs::read_to_string(imported.join("origin.json")).unwrap();
    assert!(origin.contains(OFFICIAL) && origin.contains("\"sha256\":\""), "{origin}");
    assert!(!own.join("origin.json").exists());

    let mut changed = std::fs::read(project.path(OFFICIAL)).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(project.path(OFFICIAL), changed).unwrap();
    let progress = project.run(&official).err;
    assert!(progress.contains(&format!("baseline from {OFFICIAL}: ")), "{progress}");
    assert_eq!(project.trained("official", "baseline").len(), 2, "another file is another baseline");
    assert_eq!(project.trained("official", "sa+mse").len(), 2, "and another teacher");
    let Ended { code, err: error, .. } =
        project.run(&[&official[..], &["--set", "boost.control=baseline-twice"]].concat());
    assert!(code == Some(2) && error.contains("must not ask for a baseline that is trained twice"), "{error}");
}

#[test]
fn weights_that_do_not_fit_are_listed_and_not_used() {
    let project = Project::new();
    let fits = project.succeeds(&["import", OFFICIAL, "run.toml"]);
    assert!(fits.contains("variables of the model fit") && fits.contains("not used"), "{fits}");
    assert!(fits.ends_with(&format!("use them: weights = \"{OFFICIAL}\" below [model]\n")), "{fits}");

    let import = ["import", OFFICIAL, "run.toml", "--set", "model.bottleneck=8"];
    let Ended { code, out: table, err: error } = project.run(&import);
    assert_eq!(code, Some(4), "{error}");
    assert!(
        table.contains("another type or shape") && error.contains("have another shape or type in it"),
        "{table}{error}"
    );
    let weights = format!("model.weights={OFFICIAL}");
    let bench = ["bench", "run.toml", "--set", "run.name=other", "--set", "model.bottleneck=8", "--set"];
    let Ended { code, err: error, .. } = project.run(&[&bench[..], &[&weights]].concat());
    assert!(code == Some(4) && error.contains("have another shape or type in it"), "{error}");
    assert!(!project.path("runs/other/results.csv").exists());

    project.succeeds(&[&import[..], &["--partial", "--out", "partial.safetensors"]].concat());
    project.succeeds(&[&bench[..], &["model.weights=partial.safetensors"]].concat());
}
