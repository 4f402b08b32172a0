//! Rules of the repository that no compiler checks: who depends on whom, what every file opens with, where `unsafe` may stand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

mod documents;
mod manifests;
mod sources;

use std::path::{Path, PathBuf};

use mimus_tests::repository;

/// A text file of the repository, by its path below the root.
struct File {
    path: String,
    text: String,
}

impl File {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }
}

/// Every file of the checkout that is text, sorted; built things and hidden folders but for `.cargo` and `.ci` left out.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(repository(), &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let text = String::from_utf8(std::fs::read(&path).unwrap()).ok()?;
        let below = path.strip_prefix(repository()).unwrap();
        Some(File { path: below.to_str().unwrap().replace(std::path::MAIN_SEPARATOR, "/"), text })
    };
    files.into_iter().filter_map(read).collect()
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        let hidden = name.starts_with('.') && ![".cargo", ".ci"].contains(&name.as_str());
        let made =
            path.join("CACHEDIR.TAG").exists() || folder == repository() && ["runs", "target"].contains(&name.as_str());
        if kind.is_dir() && !hidden && !made {
            collect(&path, files);
        } else if kind.is_file() && name != ".git" {
            files.push(path);
        }
    }
}

/// Fails with all of what is wrong at once.
#[track_caller]
fn none(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}
