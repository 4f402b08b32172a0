//! Exported files: the same scores from the training backend, from `mimus predict --onnx`, and from ONNX Runtime in Python.
//!
//! Needs the native library `onnxruntime`, and `python3` with pip for the packages `onnxruntime` and `numpy`, kept below `target`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use image::{Rgb, RgbImage};
use libtest_mimic::{Arguments, Failed, Trial};
use mimus_core::random::Stream;
use mimus_core::{Error, Result, native};
use mimus_tests::{Ended, mimus, repository};

/// A run of a few seconds, and pictures of its input's size.
const RUN: &str = r#"
[run]
name = "small"
[dataset]
plugin = "synthetic"
groups = ["weave"]
size = 32
train = 20
[input]
height = 32
width = 32
[model]
plugin = "memae"
slots = 40
[boost]
attention = ["sca"]
[train]
epochs = 1
"#;

/// Largest difference of a score.
const TOLERANCE: f64 = 1e-5;

/// Scores pixels as bytes `[N, H, W, 3]` of f32, one picture after another.
const SCORE: &str = "
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
shape = session.get_inputs()[0].shape
for image in numpy.fromfile(sys.argv[2], dtype='<f4').reshape([-1] + shape):
    score, score_map = session.run(['score', 'score_map'], {'image': image})
    assert score.shape == (shape[0],) and score_map.shape == (shape[0], 1, 32, 32)
    print(repr(float(score[0])))
";

type Check = fn(&Project) -> Result<()>;

const CHECKS: [(&str, Check); 4] = [
    ("python and predict --onnx score as the training backend does", python_and_predict_score_as_the_training_backend),
    ("pictures of the given size are resized inside", pictures_of_the_given_size_are_resized_inside),
    ("the weights have their published names", the_weights_have_their_published_names),
    ("what is no exported file is refused", what_is_no_exported_file_is_refused),
];

/// A folder with a finished run, with pictures, and with this checkout's native libraries and plugins.
struct Project {
    folder: tempfile::TempDir,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::data(what())) }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::io("cannot be used", path, &error)
}

impl Project {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(io(Path::new("a temporary folder")))?;
        let path = folder.path();
        std::fs::write(path.join("run.toml"), RUN).map_err(io(path))?;
        let native = native::require("onnxruntime")?.folder;
        let links = path.join(".mimus/native");
        std::fs::create_dir_all(&links).map_err(io(&links))?;
        std::os::unix::fs::symlink(native, links.join("onnxruntime")).map_err(io(&links))?;
        for (name, size) in [("exact", [32, 32]), ("large", [48, 40])] {
            let pictures = path.join(name);
            std::fs::create_dir(&pictures).map_err(io(&pictures))?;
            for i in 0..3 {
                let file = pictures.join(format!("{i}.png"));
                picture(i, size).save(&file).map_err(|error| Error::data(error.to_string()))?;
            }
        }
        let project = Self { folder };
        project.run(0, &["bench", "run.toml"])?;
        Ok(project)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// The command in this folder; must end with `code`.
    fn run(&self, code: i32, arguments: &[&str]) -> Result<Ended> {
        let ended = Ended::of(mimus(self.folder.path())?.args(arguments))?;
        ensure(ended.code == Some(code), || format!("{arguments:?} ended with {:?}: {}", ended.code, ended.err))?;
        Ok(ended)
    }

    /// The scores that a table lists.
    fn scores(&self, arguments: &[&str]) -> Result<Vec<f64>> {
        let table = self.run(0, arguments)?.out;
        let score = |line: &str| line.split(',').nth(1).and_then(|score| score.parse().ok());
        let scores: Option<Vec<f64>> = table.lines().skip(1).map(score).collect();
        scores.ok_or_else(|| Error::data(format!("no table of scores: {table}")))
    }
}

/// Noise of different contrasts, so that scores differ.
fn picture(number: u32, [height, width]: [u32; 2]) -> RgbImage {
    let mut stream = Stream::new(u64::from(number), "picture");
    let half = 20.0 + 35.0 * f64::from(number);
    RgbImage::from_fn(width, height, |_, _| Rgb([(); 3].map(|()| stream.range(128.0 - half, 128.0 + half) as u8)))
}

#[track_caller]
fn agree(what: &str, expected: &[f64], found: &[f64]) -> Result<()> {
    ensure(expected.len() == 3 && found.len() == 3, || format!("{what}: {found:?} for {expected:?}"))?;
    let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    ensure(difference <= TOLERANCE, || format!("{what}: differs by {difference}: {found:?} for {expected:?}"))
}

fn export(project: &Project, variant: &str, further: &[&str]) -> Result<String> {
    let file = format!("{variant}.onnx");
    project.run(0, &[&["export", "run.toml", &file, "--variant", variant], further].concat())?;
    Ok(file)
}

fn python_and_predict_score_as_the_training_backend(project: &Project) -> Result<()> {
    let python = python()?;
    let mut pixels = Vec::new();
    for i in 0..3 {
        pixels.extend(picture(i, [32, 32]).as_raw().iter().flat_map(|byte| f32::from(*byte).to_le_bytes()));
    }
    let raw = project.path("pixels");
    std::fs::write(&raw, pixels).map_err(io(&raw))?;
    for variant in ["baseline", "sca"] {
        let file = export(project, variant, &[])?;
        let expected = project.scores(&["predict", "run.toml", "exact", "--variant", variant])?;
        agree(
            &format!("predict --onnx, {variant}"),
            &expected,
            &project.scores(&["predict", "--onnx", &file, "exact"])?,
        )?;
        let ended = Ended::of(Command::new(&python).args(["-c", SCORE]).arg(project.path(&file)).arg(&raw))?;
        ensure(ended.code == Some(0), || ended.err.clone())?;
        let found: Vec<f64> = ended.out.lines().filter_map(|line| line.parse().ok()).collect();
        agree(&format!("python, {variant}"), &expected, &found)?;
    }
    Ok(())
}

fn pictures_of_the_given_size_are_resized_inside(project: &Project) -> Result<()> {
    let file = export(project, "sca", &["--input-size", "48x40", "--batch", "2"])?;
    let expected = project.scores(&["predict", "run.toml", "large", "--variant", "sca"])?;
    agree("resized inside", &expected, &project.scores(&["predict", "--onnx", &file, "large"])?)?;
    let refused = project.run(4, &["predict", "--onnx", &file, "exact"])?.err;
    ensure(refused.contains("the picture has 32x32 pixels, the file takes 48x40"), || refused.clone())
}

fn the_weights_have_their_published_names(project: &Project) -> Result<()> {
    export(project, "sca", &["--safetensors", "weights.safetensors"])?;
    let path = project.path("weights.safetensors");
    let bytes = std::fs::read(&path).map_err(io(&path))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes).map_err(|error| Error::data(error.to_string()))?;
    let mut names = tensors.names();
    names.sort();
    for wanted in ["student.encoder.0.weight", "teacher.encoder.0.weight", "calibration.task.mean"] {
        ensure(names.contains(&wanted), || format!("{wanted} is not among {names:?}"))?;
    }
    ensure(!names.iter().any(|name| name.starts_with("optimizer.")), || format!("{names:?}"))
}

fn what_is_no_exported_file_is_refused(project: &Project) -> Result<()> {
    let path = project.path("broken.onnx");
    std::fs::write(&path, "no model").map_err(io(&path))?;
    let refused = project.run(5, &["predict", "--onnx", "broken.onnx", "exact"])?.err;
    ensure(refused.contains("broken.onnx"), || refused.clone())?;
    let missing = project.run(2, &["predict", "--onnx", "missing.onnx", "exact"])?.err;
    ensure(missing.contains("there is no such file"), || missing.clone())?;
    let untrained = project.run(2, &["export", "run.toml", "x.onnx", "--set", "train.epochs=7"])?.err;
    ensure(untrained.contains("is not trained yet"), || untrained.clone())
}

/// An interpreter that has the packages; made once.
fn python() -> Result<PathBuf> {
    let version = native::known("onnxruntime")?.version;
    let folder = repository().join("target").join(format!("python-onnxruntime-{version}"));
    let python = folder.join("bin/python3");
    let ready = || Command::new(&python).args(["-c", "import numpy, onnxruntime"]).output();
    if ready().is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    let made = Ended::of(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    ensure(made.code == Some(0), || format!("no virtual environment: {}{}", made.out, made.err))?;
    let package = format!("onnxruntime=={version}");
    let installed = Ended::of(Command::new(&python).args(["-m", "pip", "install", "--quiet", &package, "numpy"]))?;
    ensure(installed.code == Some(0), || format!("the packages are not installed: {}", installed.err))?;
    Ok(python)
}

fn main() -> ExitCode {
    let root = repository();
    let ready = std::env::set_current_dir(root).map_err(io(root)).and_then(|()| native::require("onnxruntime"));
    let in_ci = std::env::var_os("CI").is_some();
    let trials = CHECKS.into_iter().map(|(name, check)| match &ready {
        Ok(_) => Trial::test(name, move || Project::new().and_then(|project| check(&project)).map_err(Failed::from)),
        // In CI the library is there, or something is wrong.
        Err(error) if in_ci => {
            let error = error.clone();
            Trial::test(name, move || Err(Failed::from(error)))
        }
        Err(error) => Trial::test(format!("{name} (skipped: {error})"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
