//! Turns a tree of folders into groups of samples, without opening a file.

use std::path::{Path, PathBuf};

use mimus_core::plugin::{Group, Options, SampleInfo, Split, selected_groups};
use mimus_core::{Context, Error, Result};
use mimus_decode::{Entry, ImageFile, MaskPolicy};

use crate::folder;
use crate::masks;

const LAYOUT: &str =
    "expected <category>/train/good, <category>/test/<defect> and, for masks, <category>/ground_truth/<defect>";
const PARTS: [&str; 3] = ["train", "test", masks::FOLDER];

/// The label of normal samples, whatever their folder's name.
const NORMAL: &str = "good";

/// The groups below `root` that the options ask for.
///
/// # Errors
/// If something that the layout promises is missing, or something is there that it does not know.
pub(crate) fn groups(root: &Path, options: &Options) -> Result<Vec<Group>> {
    let normal = options.texts("normal")?;
    if normal.is_empty() {
        return Err(Error::config("is empty")
            .with("key", "normal")
            .hint("name the folder of normal images, such as \"good\""));
    }
    let policy = MaskPolicy::of(options)?;
    let categories = categories(root)?;
    let wanted = selected_groups(options, categories.iter().map(|category| category.name.clone()).collect())?;
    let wanted = categories.into_iter().filter(|category| wanted.contains(&category.name));
    wanted.map(|Category { name, path }| group(&name, &path, normal, policy).context("group", name)).collect()
}

struct Category {
    name: String,
    path: PathBuf,
}

/// `root` itself if it looks like a category, else every folder in it.
fn categories(root: &Path) -> Result<Vec<Category>> {
    let folders = mimus_decode::folders(root)?;
    if folders.is_empty() {
        return Err(Error::data("holds no category").with("folder", root.display()).hint(LAYOUT));
    }
    if folders.iter().any(|folder| PARTS.contains(&folder.name.as_str())) {
        return Ok(vec![Category { name: mimus_decode::folder_name(root)?, path: root.to_owned() }]);
    }
    Ok(folders.into_iter().map(|Entry { name, path, .. }| Category { name, path }).collect())
}

fn group(name: &str, category: &Path, normal: &[String], policy: MaskPolicy) -> Result<Group> {
    check_parts(category)?;
    let mut train = Vec::new();
    for folder in only_part(category, "train")? {
        if !normal.contains(&folder.name) {
            return Err(Error::data("does not hold normal images, by its name")
                .with("folder", folder.path.display())
                .hint(format!(
                    "train on normal images only: move it, or set `normal` (now {normal:?}) if it holds them"
                )));
        }
        train.extend(samples(Split::Train, &folder, false)?);
    }
    if train.is_empty() {
        return Err(Error::data("holds no folder of normal images")
            .with("folder", category.join("train").display())
            .hint(format!("put normal images into train/{}", normal[0])));
    }
    let mut test = Vec::new();
    for folder in only_part(category, "test")? {
        test.extend(samples(Split::Test, &folder, !normal.contains(&folder.name))?);
    }
    if test.is_empty() {
        let hint = format!("put normal images into test/{} and anomalous ones into test/<defect>", normal[0]);
        return Err(Error::data("holds no folder of images")
            .with("folder", category.join("test").display())
            .hint(hint));
    }
    let has_masks = masks::assign(category, &mut test, policy)?;
    Ok(Group { name: name.to_owned(), train, test, has_masks })
}

/// A folder that the layout does not know may be a misspelt one, whose images would be missed silently.
fn check_parts(category: &Path) -> Result<()> {
    let folders = mimus_decode::folders(category)?;
    for part in ["train", "test"] {
        if !folders.iter().any(|folder| folder.name == part) {
            return Err(Error::data(format!("has no folder `{part}`"))
                .with("folder", category.display())
                .hint(format!("{LAYOUT}; if this is no category, list the wanted ones in `groups`")));
        }
    }
    match folders.iter().find(|folder| !PARTS.contains(&folder.name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::data("is no folder that the layout knows")
            .with("folder", unknown.path.display())
            .hint(format!("rename it to one of {}, or move it elsewhere", PARTS.join(", ")))),
    }
}

fn only_part(category: &Path, part: &str) -> Result<Vec<Entry>> {
    folder::only_folders(&category.join(part))
}

fn samples(split: Split, folder: &Entry, anomalous: bool) -> Result<Vec<SampleInfo>> {
    let part = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let sample = |ImageFile { stem, path }| SampleInfo {
        id: format!("{part}/{}/{stem}", folder.name),
        path,
        defect: if anomalous { folder.name.clone() } else { NORMAL.to_owned() },
        anomalous,
        mask: None,
        frame: None,
    };
    Ok(mimus_decode::images(&folder.path)?.into_iter().map(sample).collect())
}
