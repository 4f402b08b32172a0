//! What users get wrong, and what breaks below them: each ends in an error that names the file or key, and leaves no results.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::path::{Path, PathBuf};
use std::process::Command;

use image::{GrayImage, ImageBuffer, Luma, RgbImage};
use mimus_tests::{Ended, mimus};

const RUN: &str = r#"
[run]
name = "bad"
[dataset]
plugin = "mvtec"
root = "data"
[input]
height = 16
width = 16
[model]
plugin = "autoencoder"
width = 4
depth = 2
[boost]
attention = ["sca"]
[train]
epochs = 2
batch = 2
"#;

const SIZE: [u32; 2] = [24, 20];

/// A folder with a configuration and a sound data set of one category, `data/nut`.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(place.path("run.toml"), RUN).unwrap();
        for (split, n) in [("train/good", 6), ("test/good", 3), ("test/scratch", 3)] {
            for i in 0..n {
                place.picture(&format!("data/nut/{split}/00{i}.png"), i);
            }
        }
        (0..3).for_each(|i| place.mask(&format!("data/nut/ground_truth/scratch/00{i}_mask.png"), SIZE));
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn writable(&self, below: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn picture(&self, below: &str, seed: u32) {
        let pixel =
            |x: u32, y: u32| image::Rgb([x * 7 + seed, y * 9, (x * y + seed * 31) % 256].map(|value| value as u8));
        RgbImage::from_fn(SIZE[0], SIZE[1], pixel).save(self.writable(below)).unwrap();
    }

    fn mask(&self, below: &str, [width, height]: [u32; 2]) {
        let inside = |x: u32, y: u32| Luma([if (3..8).contains(&x) && (4..9).contains(&y) { 255 } else { 0 }]);
        GrayImage::from_fn(width, height, inside).save(self.writable(below)).unwrap();
    }

    fn bench(&self, sets: &[&str]) -> Ended {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        Ended::of(mimus(self.folder.path()).unwrap().args(["bench", "run.toml"]).args(sets)).unwrap()
    }

    /// The exit code, every part of the message, and that neither results nor half-written files are left.
    #[track_caller]
    fn fails(&self, sets: &[&str], code: i32, parts: &[&str]) {
        self.ended(self.bench(sets), code, parts);
    }

    #[track_caller]
    fn ended(&self, ended: Ended, code: i32, parts: &[&str]) {
        assert_eq!(ended.code, Some(code), "{}\n{}", ended.out, ended.err);
        for part in parts {
            assert!(ended.err.contains(part), "{part:?} is not in: {}", ended.err);
        }
        assert!(ended.err.contains("hint: "), "no next step: {}", ended.err);
        let partial = files(&self.path("runs")).into_iter().filter(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            name.starts_with("results") || name.starts_with("predictions") || name.starts_with(".unfinished")
        });
        assert_eq!(Vec::from_iter(partial), [] as [PathBuf; 0]);
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

// The exit codes of the command.
const CONFIG: i32 = 2;
const PLUGIN: i32 = 3;
const DATA: i32 = 4;

#[test]
fn sound_data_gives_results() {
    let place = Place::new();
    let ended = place.bench(&[]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(place.path("runs/bad/results.md").is_file());
}

#[test]
fn a_missing_root_is_named() {
    Place::new().fails(&["dataset.root=nowhere"], DATA, &["`nowhere`", "does not exist", "key `root`"]);
}

#[test]
fn an_empty_category_is_named() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("data/bolt")).unwrap();
    place.fails(&[], DATA, &["group `bolt`", "data/bolt", "has no folder `train`"]);
}

#[test]
fn a_truncated_picture_is_named() {
    let place = Place::new();
    let path = place.path("data/nut/test/good/001.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    place.fails(&[], DATA, &["data/nut/test/good/001.png", "is cut short"]);
}

#[test]
fn sixteen_bits_are_refused_with_the_file() {
    let place = Place::new();
    let deep = ImageBuffer::from_fn(SIZE[0], SIZE[1], |x, y| Luma([(x * y * 100) as u16]));
    deep.save(place.path("data/nut/train/good/002.png")).unwrap();
    place.fails(&[], DATA, &["data/nut/train/good/002.png", "has 16 bits a channel, expects 8"]);
}

#[test]
fn a_mask_of_another_size_is_named_with_both_sizes() {
    let place = Place::new();
    place.mask("data/nut/ground_truth/scratch/001_mask.png", [10, 12]);
    place.fails(&[], DATA, &["ground_truth/scratch/001_mask.png", "10x12", "24x20", "test/scratch/001.png"]);
}

#[test]
fn a_mask_without_image_and_an_image_without_mask_are_named() {
    let place = Place::new();
    std::fs::remove_file(place.path("data/nut/test/scratch/001.png")).unwrap();
    std::fs::remove_file(place.path("data/nut/ground_truth/scratch/002_mask.png")).unwrap();
    let parts = [
        "1 image(s) without a mask: test/scratch/002.png",
        "1 mask(s) without an image: ground_truth/scratch/001_mask.png",
    ];
    place.fails(&[], DATA, &parts);
}

#[test]
fn duplicate_names_are_named_both() {
    let place = Place::new();
    place.picture("data/nut/train/good/003.bmp", 9);
    place.fails(&[], DATA, &["two images share the name 003", "003.bmp", "003.png"]);
}

#[test]
fn a_loss_that_is_no_number_names_step_layer_and_files() {
    let parts = ["the loss is ", "step `", "layer `", "data/nut/train/good/00", "train.learning_rate"];
    Place::new().fails(&["train.learning_rate=1e30"], 1, &parts);
}

#[test]
fn a_misspelt_key_or_plugin_is_suggested() {
    let place = Place::new();
    place.fails(&["train.epoch=3"], CONFIG, &["`epoch`", "did you mean `epochs`?"]);
    place.fails(&["model.widht=3"], CONFIG, &["model `autoencoder`", "`widht`", "did you mean `width`?"]);
    place.fails(&["model.plugin=autoencodr"], PLUGIN, &["model.plugin", "did you mean `autoencoder`?"]);
    place.fails(&["boost.attention=[\"scca\"]"], PLUGIN, &["boost.attention", "did you mean `sca`?"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::new();
    std::fs::write(place.path("runs"), "a file").unwrap();
    place.fails(&[], 1, &["`runs/bad`", "cannot be written", "run.out"]);
}

/// The disk is a file system in memory of a few pages, in a mount namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_no_data_and_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.path("runs")).unwrap();
    let program = mimus(place.folder.path()).unwrap();
    let mounted = |size: &str| {
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs runs && \"$0\" bench run.toml; code=$?; ls -aR runs; exit $code"
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(program.get_program());
        Ended::of(command.current_dir(place.folder.path()).envs(program.get_envs().filter_map(|(k, v)| Some((k, v?)))))
            .unwrap()
    };
    let full = mounted("100k");
    if ["unshare:", "mount:"].iter().any(|program| full.err.contains(program)) {
        assert!(std::env::var_os("CI").is_none(), "no namespace to mount a small disk in: {}", full.err);
        println!("skipped: this system gives no namespace to mount a small disk in: {}", full.err);
        return;
    }
    assert_eq!(full.code, Some(1), "{}\n{}", full.out, full.err);
    for part in ["checkpoint.safetensors", "No space left on device", "free space"] {
        assert!(full.err.contains(part), "{part:?} is not in: {}", full.err);
    }
    assert!(!full.out.contains("results") && !full.out.contains(".unfinished"), "{}", full.out);
    let enough = mounted("20m");
    assert_eq!(enough.code, Some(0), "{}\n{}", enough.out, enough.err);
}
