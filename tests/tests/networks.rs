//! What models of objects see besides the frames: boxes and flow by networks of the user's, kept in the cache, and files that do not fit.
//!
//! What runs networks needs the native library `onnxruntime`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]
#![allow(clippy::print_stderr, reason = "says why a test was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use mimus_core::plugin::ExportRequest;
use mimus_core::{Builder, HostTensor, ValueType, native};
use mimus_tests::{Ended, mimus, repository};

const RUN: &str = r#"
[run]
name = "small"
[dataset]
plugin = "video-folder"
root = "data"
[input]
height = 16
width = 16
[model]
plugin = "vec"
widths = [4, 6]
frames = 3
[train]
epochs = 1
batch = 4
"#;

const FRAMES: u32 = 8;
const WIDTH: u32 = 48;
const HEIGHT: u32 = 32;

/// A folder with two videos, `train/a` and `test/b`, in which a square moves.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write("run.toml", RUN.as_bytes());
        place.write("data/labels.csv", b"video,start,end\nb,3,5\n");
        for (video, start) in [("train/a", 4), ("test/b", 10)] {
            for frame in 0..FRAMES {
                let left = start + 2 * frame;
                let inside = |x: u32, y: u32| (left..left + 12).contains(&x) && (8..24).contains(&y);
                let pixel = |x, y| Rgb([if inside(x, y) { 220 } else { (x * 3 + y) as u8 }; 3]);
                let path = place.path(&format!("data/{video}/{frame:03}.png"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                RgbImage::from_fn(WIDTH, HEIGHT, pixel).save(path).unwrap();
            }
        }
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, bytes: &[u8]) {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn bench(&self, sets: &[&str]) -> Ended {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        Ended::of(mimus(self.folder.path()).unwrap().args(["bench", "run.toml"]).args(sets)).unwrap()
    }

    /// The exit code, every part of the message, and that no half of a file is in the cache.
    #[track_caller]
    fn fails(&self, sets: &[&str], code: i32, parts: &[&str]) {
        let ended = self.bench(sets);
        assert_eq!(ended.code, Some(code), "{}\n{}", ended.out, ended.err);
        for part in parts {
            assert!(ended.err.contains(part), "{part:?} is not in: {}", ended.err);
        }
        let half = self.cached("").into_iter().filter(|name| name.starts_with(".unfinished"));
        assert_eq!(Vec::from_iter(half), [] as [String; 0]);
    }

    /// The names of cached files of a kind.
    fn cached(&self, kind: &str) -> Vec<String> {
        files(&self.path("cache/mimus").join(kind))
    }
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let names = paths.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![path.file_name().unwrap().to_string_lossy().into_owned()],
    });
    names.collect()
}

/// A file that gives the same whatever it is given.
fn network(inputs: &[&str], outputs: &[(&str, HostTensor)]) -> Vec<u8> {
    let mut b = Builder::new("network");
    for name in inputs {
        b.input(name, ValueType::f32([1, 3, 16, 24])).unwrap();
    }
    for (name, value) in outputs {
        let value = b.constant(value.clone()).unwrap();
        b.output(name, value).unwrap();
    }
    let request = ExportRequest { program: b.finish(), variables: BTreeMap::new(), metadata: BTreeMap::new() };
    mimus_tests::plugins().unwrap().backend("onnx").unwrap().export(&request).unwrap()
}

#[test]
fn networks_of_the_user_find_boxes_and_flow_once() {
    std::env::set_current_dir(repository()).unwrap();
    let found = match native::require("onnxruntime") {
        Err(error) if std::env::var_os("CI").is_none() => return eprintln!("skipped: {error}"),
        found => found.unwrap().folder,
    };
    let place = Place::new();
    let links = place.path(".mimus/native");
    std::fs::create_dir_all(&links).unwrap();
    std::os::unix::fs::symlink(found, links.join("onnxruntime")).unwrap();
    let tensor = |shape: &[usize], values| HostTensor::f32(shape.to_vec(), values).unwrap();
    let boxes = tensor(&[2, 4], vec![1.0, 1.0, 11.0, 13.0, 2.0, 0.0, 23.0, 16.0]);
    let detector = network(&["image"], &[("boxes", boxes), ("scores", tensor(&[2], vec![0.9, 0.2]))]);
    let flow = network(&["first", "second"], &[("flow", tensor(&[1, 2, 16, 24], vec![1.5; 2 * 16 * 24]))]);
    place.write("detector.onnx", &detector);
    place.write("flow.onnx", &flow);

    let sets = ["input.regions=detector.onnx", "input.flow=flow.onnx"];
    let ended = place.bench(&sets);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.out, ended.err);
    assert_eq!(["regions", "flow"].map(|kind| place.cached(kind).len()), [2, 2]);
    // One box is sure enough; it comes first, in pixels of the frame.
    let text = std::fs::read_dir(place.path("cache/mimus/regions")).unwrap().map(|entry| {
        let frames: Vec<Vec<BTreeMap<String, usize>>> =
            serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        frames.iter().for_each(|boxes| {
            let first = ["x1", "y1", "x2", "y2"].map(|corner| boxes[0][corner]);
            assert_eq!(first, [2, 2, 22, 26]);
        });
        frames.len()
    });
    assert_eq!(Vec::from_iter(text), [8, 8]);

    place.fails(
        &[&sets[..1], &["input.flow=detector.onnx"]].concat(),
        2,
        &["input.flow", "detector.onnx", "`boxes`", "two inputs"],
    );
    place.fails(
        &["input.regions=flow.onnx"],
        2,
        &["input.regions", "flow.onnx", "`first` f32[1, 3, 16, 24]", "one input"],
    );
    place.fails(&["input.confidence=2"], 2, &["input.confidence"]);

    // What is in the cache needs no engine.
    std::fs::remove_file(links.join("onnxruntime")).unwrap();
    std::fs::remove_dir_all(place.path("runs")).unwrap();
    let again = place.bench(&sets);
    assert_eq!(again.code, Some(0), "{}\n{}", again.out, again.err);
    place.fails(&[&sets[..], &["input.confidence=0.1"]].concat(), 5, &["mimus backend install onnxruntime"]);
}

#[test]
fn files_of_boxes_that_do_not_fit_are_named() {
    let place = Place::new();
    place.write("boxes/train.json", br#"{"other": {"0": [[0, 0, 9, 9]]}}"#);
    place.write("boxes/test.json", br#"{"b": {"0": [[0, 0, 9, 9]]}}"#);
    place.fails(&["input.regions=boxes"], 4, &["boxes/train.json", "video `a`", "has no boxes", "there are other"]);
    place.write("boxes/train.json", br#"{"a": {"3": [[0, 0, 49, 9]]}}"#);
    place.fails(&["input.regions=boxes"], 4, &["boxes/train.json", "video `a`", "frame `3`", "32 x 48 pixels"]);
}

#[test]
fn files_of_flow_that_do_not_fit_are_named() {
    let place = Place::new();
    let flow = |sides: [u32; 2]| {
        let values = vec![0_u8; 8 * (sides[0] * sides[1]) as usize];
        [b"PIEH".to_vec(), sides.map(u32::to_le_bytes).concat(), values].concat()
    };
    for frame in 0..FRAMES {
        place.write(&format!("flow/train/a/{frame:03}.flo"), &flow([WIDTH, HEIGHT]));
        place.write(&format!("flow/test/b/{frame:03}.flo"), &flow([WIDTH / 2, HEIGHT / 2]));
    }
    place.fails(&["input.flow=flow"], 4, &["flow/test/b/000.flo", "16 x 24 pixels", "32 x 48"]);
    std::fs::remove_file(place.path("flow/train/a/006.flo")).unwrap();
    place.fails(&["input.flow=flow"], 4, &["flow/train/a", "frame `6`", "has no file of flow"]);
}

#[test]
fn a_frame_that_cannot_be_decoded_leaves_no_flow_in_the_cache() {
    let place = Place::new();
    let frame = place.path("data/train/a/005.png");
    let bytes = std::fs::read(&frame).unwrap();
    std::fs::write(&frame, &bytes[..bytes.len() / 2]).unwrap();
    place.fails(&[], 4, &["data/train/a/005.png", "is cut short"]);
    assert_eq!(["regions", "flow"].map(|kind| place.cached(kind).len()), [0, 0]);
}
