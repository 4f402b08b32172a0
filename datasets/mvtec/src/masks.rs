//! Pairs masks with images, and reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimus_core::plugin::{Pixels, SampleInfo};
use mimus_core::{Error, Result};
use mimus_decode::MaskPolicy;
use serde_bytes::ByteBuf;

use crate::folder;
/// The folder of a category that holds masks, a folder a defect.
pub(crate) const FOLDER: &str = "ground_truth";
/// What MVTec appends to an image's stem; others append nothing.
const SUFFIX: &str = "_mask";
/// How many files an error names before it only counts.
const NAMED: usize = 5;

/// Gives every test sample its mask; returns whether the category has masks.
///
/// # Errors
/// If an anomalous image lacks its mask, a mask its image, or an image has two.
pub(crate) fn assign(category: &Path, test: &mut [SampleInfo], policy: MaskPolicy) -> Result<bool> {
    let masks = match policy {
        MaskPolicy::Ignore => return Ok(false),
        MaskPolicy::Auto | MaskPolicy::Required => list(&category.join(FOLDER))?,
    };
    if masks.is_empty() && policy == MaskPolicy::Auto {
        return Ok(false);
    }
    let positions: BTreeMap<String, usize> =
        test.iter().enumerate().map(|(i, sample)| (sample.id.clone(), i)).collect();
    let mut orphans = Vec::new();
    for mask in masks {
        let id = format!("test/{}", mask.name);
        let stem = id.strip_suffix(SUFFIX).unwrap_or(&id);
        match positions.get(&id).or_else(|| positions.get(stem)).and_then(|i| test.get_mut(*i)) {
            None => orphans.push(mask.path),
            Some(sample) => give(sample, mask.path)?,
        }
    }
    let bare = test.iter().filter(|sample| sample.anomalous && sample.mask.is_none());
    complete(category, bare.map(|sample| sample.path.clone()).collect(), orphans)?;
    Ok(test.iter().any(|sample| sample.anomalous))
}

struct MaskFile {
    /// `defect/stem`, suffix included.
    name: String,
    path: PathBuf,
}

fn list(folder: &Path) -> Result<Vec<MaskFile>> {
    let mut masks = Vec::new();
    if folder.exists() {
        for defect in folder::only_folders(folder)? {
            let files = mimus_decode::images(&defect.path)?.into_iter();
            masks
                .extend(files.map(|file| MaskFile { name: format!("{}/{}", defect.name, file.stem), path: file.path }));
        }
    }
    Ok(masks)
}

fn give(sample: &mut SampleInfo, mask: PathBuf) -> Result<()> {
    match sample.mask.replace(mask) {
        None => Ok(()),
        Some(first) => Err(Error::data("has two masks").with("file", sample.path.display()).hint(format!(
            "remove {} or {}",
            first.display(),
            sample.mask.as_deref().unwrap_or(Path::new("the other")).display()
        ))),
    }
}

fn complete(category: &Path, bare: Vec<PathBuf>, orphans: Vec<PathBuf>) -> Result<()> {
    let problems: Vec<String> = [("without a mask", bare, "image"), ("without an image", orphans, "mask")]
        .into_iter()
        .filter(|(_, files, _)| !files.is_empty())
        .map(|(lack, files, what)| format!("{} {what}(s) {lack}: {}", files.len(), named(category, &files)))
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::data(problems.join("; ")).with("folder", category.display()).hint(format!(
        "add or remove files so that each anomalous image has its mask in {FOLDER}/<defect>, or set masks = \"ignore\" for image-level metrics only"
    )))
}

/// The first few files, below the category's folder, and how many more there are.
fn named(category: &Path, files: &[PathBuf]) -> String {
    let names = files.iter().take(NAMED).map(|file| file.strip_prefix(category).unwrap_or(file).display().to_string());
    let names = names.collect::<Vec<_>>().join(", ");
    match files.len().saturating_sub(NAMED) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Decodes a mask: one byte a pixel, 1 where anomalous.
///
/// # Errors
/// If it cannot be decoded, has another size than its image, or marks something on a normal image.
pub(crate) fn read(path: &Path, sample: &SampleInfo, pixels: &Pixels) -> Result<ByteBuf> {
    let mask = mimus_decode::mask(path, &sample.path, pixels)?;
    if !sample.anomalous && mask.contains(&1) {
        return Err(Error::data("marks anomalous pixels on a normal image")
            .with("file", path.display())
            .hint(format!("remove the mask, or move {} to the folder of a defect", sample.path.display())));
    }
    Ok(mask)
}
