//! Programs in place of ffmpeg: what is asked of them, and how each of them fails.
#![cfg(unix)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mimus_core::{Error, Result};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::ffmpeg::extract;

struct Place {
    folder: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("100% frames"), 1 << 20);
        Self { folder, cache }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Extracts with a script in place of the program.
    fn run(&self, script: &str, video: &[u8]) -> Result<Vec<PathBuf>> {
        // Written by another process: one that this process has open for writing, and so its children, cannot be started.
        let program = self.folder.path().join("program");
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = Command::new("sh").args(["-c", write]).arg(&program).arg(script).status().unwrap();
        assert!(written.success());
        let video = self.file("a.avi", video);
        let entry = self.cache.entry("a", |folder| extract(&program, &video, folder))?;
        Ok(entry.files("png"))
    }

    fn left(&self) -> Vec<String> {
        let listed = fs::read_dir(self.folder.path().join("100% frames")).unwrap();
        let mut names: Vec<String> =
            listed.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn message(result: Result<Vec<PathBuf>>) -> String {
    let error: Error = result.unwrap_err();
    assert!(error.context_value("file").is_some_and(|file| file.ends_with("a.avi")), "{error}");
    assert!(error.next_step().is_some(), "{error}");
    error.message().to_owned()
}

#[test]
fn frames_are_asked_for_once_each_and_kept() {
    let place = Place::new();
    let frames = place.run("echo \"$@\" > ../asked; touch 000000.png 000001.png", b"x").unwrap();
    assert_eq!(frames.len(), 2);
    let asked = fs::read_to_string(place.folder.path().join("100% frames/asked")).unwrap();
    for part in
        ["-xerror -err_detect explode", "-fps_mode passthrough", "-pix_fmt rgb24", "a.avi -map 0:v:0", "%06d.png"]
    {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert_eq!(place.run("exit 1", b"x").unwrap(), frames, "the program is not started again");
}

#[test]
fn a_program_that_fails_complains_or_dies_leaves_nothing() {
    let place = Place::new();
    let fails = |script: &str| {
        let said = message(place.run(&format!("touch 000000.png; {script}"), b"x"));
        assert_eq!(place.left(), ["a.lock"], "{script}");
        said
    };
    assert!(fails("exit 3").contains("exit status: 3"));
    assert!(fails("echo Error at MB: 545 >&2").contains("Error at MB: 545"));
    assert!(fails("kill -9 $$").contains("signal: 9"));
    let full = place.run("echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1", b"x").unwrap_err();
    assert!(full.next_step().unwrap().contains("make room"), "{full}");
}

#[test]
fn an_empty_file_and_one_that_ends_before_its_length_are_refused() {
    let place = Place::new();
    let touch = "touch 000000.png";
    assert_eq!(message(place.run(touch, b"")), "is an empty file");
    let cut = message(place.run(touch, b"RIFF\x64\0\0\0AVI "));
    assert_eq!(cut, "is cut short: has 12 bytes, and its header says 108");
    assert_eq!(place.run(touch, b"RIFF\x04\0\0\0AVI ").unwrap().len(), 1);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let place = Place::new();
    let video = place.file("a.avi", b"x");
    let error = extract(&place.folder.path().join("none"), &video, place.folder.path()).unwrap_err();
    assert!(error.message().contains("none cannot be started"), "{error}");
    assert!(error.next_step().unwrap().contains("MIMUS_FFMPEG"), "{error}");
}
