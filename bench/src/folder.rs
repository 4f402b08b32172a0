//! A run's folder: one process at a time, cells by key, and the leftovers of a killed process swept away.

use std::fs::File;
use std::path::{Path, PathBuf};

use mimus_core::{Error, Result};

use crate::config::Config;
use crate::files;

/// `<out>/<name>`.
pub(crate) struct Folder {
    root: PathBuf,
    /// Held until the process ends; `None` for a reader.
    _lock: Option<File>,
}

impl Folder {
    /// Creates or opens the folder and writes the resolved configuration into it.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let root = root(config);
        let failed = |error: std::io::Error| {
            Error::io("the run's folder cannot be written", &root, &error)
                .hint("choose another with --set run.out=FOLDER, or mend its permissions")
        };
        std::fs::create_dir_all(&root).map_err(failed)?;
        let lock = files::lock(&root.join(".lock")).map_err(failed)?.ok_or_else(|| {
            Error::config("another process works in this run's folder")
                .with("folder", root.display())
                .hint("wait for it, or give this run another name with --set run.name=NAME")
        })?;
        sweep(&root).map_err(failed)?;
        let text = toml::to_string(config).map_err(|error| Error::config(error.to_string()))?;
        files::write(&root.join("config.toml"), text.as_bytes())?;
        Ok(Self { root, _lock: Some(lock) })
    }

    /// Opens the folder of an earlier run as it is.
    pub(crate) fn existing(config: &Config) -> Result<Self> {
        let root = root(config);
        match root.is_dir() {
            true => Ok(Self { root, _lock: None }),
            false => Err(Error::config("the run has no folder yet")
                .with("folder", root.display())
                .hint("run `mimus bench` with this configuration first")),
        }
    }

    /// A file or folder below.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }
}

/// Where a run's folder is.
pub(crate) fn root(config: &Config) -> PathBuf {
    config.run.out.join(&config.run.name)
}

/// Removes what a killed process was writing.
fn sweep(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(files::UNFINISHED) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A text as part of a file name.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-+.=_".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_results_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cell = folder.path().join("cells/a");
        std::fs::create_dir_all(&cell).unwrap();
        std::fs::write(cell.join(format!("{}x", files::UNFINISHED)), "half").unwrap();
        std::fs::write(cell.join("scores.safetensors"), "whole").unwrap();
        sweep(folder.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(cell).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["scores.safetensors"]);
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        assert_eq!(plain("../a b/c"), ".._a_b_c");
    }
}
