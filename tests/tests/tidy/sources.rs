//! Source files: documentation, sizes, `unsafe`, layers.

use crate::{File, files, none, rust_files};

/// Lines, tests included.
const LONGEST_FILE: usize = 500;

/// The only files that may hold `unsafe`: the plugin boundary, engines of foreign functions, and the rogues that break its rules on purpose.
const UNSAFE: [&str; 7] = [
    "backends/torch/src/ffi.rs",
    "core/src/abi/library.rs",
    "core/src/abi/manifest.rs",
    "core/src/abi/mod.rs",
    "core/src/abi/preload.rs",
    "core/src/abi/types.rs",
    "tests/rogues/",
];

/// The modules of `core`: a module uses only those of its own and earlier lines.
const LAYERS: &[&[&str]] = &[
    &["error", "folders", "random"],
    &["synthesis"],
    &["tensor"],
    &["graph", "ops", "reference"],
    &["autodiff", "blocks", "passes", "train"],
    &["plugin"],
    &["boost"],
    &["native"],
    &["abi"],
];

#[test]
fn every_source_file_opens_with_why_it_exists() {
    let wrong = rust_files().into_iter().filter(|file| !file.text.starts_with("//! ")).map(|file| file.path);
    none("these files do not open with `//!` and a sentence", wrong.collect());
}

#[test]
fn no_source_file_is_too_long() {
    let lines = |file: &File| file.text.lines().count();
    let wrong = rust_files().into_iter().filter(|file| lines(file) > LONGEST_FILE);
    let wrong = wrong.map(|file| format!("{} has {} lines", file.path, lines(&file)));
    none(&format!("split these files: more than {LONGEST_FILE} lines"), wrong.collect());
}

#[test]
fn unsafe_stands_in_its_few_files_only() {
    let allowed = |file: &File| UNSAFE.iter().any(|place| file.path.starts_with(place));
    let wrong = rust_files()
        .into_iter()
        .filter(|file| !allowed(file) && code(&file.text).split(no_word).any(|word| word == concat!("un", "safe")));
    none("code that the compiler cannot check belongs into core/src/abi alone", wrong.map(|file| file.path).collect());
}

#[test]
fn plugins_and_data_sets_forbid_unsafe_code() {
    let roots = rust_files().into_iter().filter(|file| {
        (file.path.starts_with("plugins/") || file.path.starts_with("datasets/")) && file.path.ends_with("/src/lib.rs")
    });
    let wrong = roots.filter(|file| !file.text.contains("\n#![forbid(unsafe_code)]\n")).map(|file| file.path);
    none("these crates lack `#![forbid(unsafe_code)]`", wrong.collect());
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = ["work", "home", "root"].map(|folder| format!("/{folder}/"));
    let stands_alone = |text: &str, place: &str| {
        text.match_indices(place).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && !"_-.})>/".contains(c))
        })
    };
    let mut wrong = Vec::new();
    for file in files() {
        let found = places.iter().filter(|place| stands_alone(&file.text, place));
        wrong.extend(found.map(|place| format!("{} names {place}", file.path)));
    }
    none("absolute paths hold on one machine only", wrong);
}

#[test]
fn modules_of_core_use_only_the_layers_below() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    for file in rust_files() {
        let Some(path) = file.path.strip_prefix("core/src/") else { continue };
        let module = path.split(['/', '.']).next().unwrap();
        if ["lib", "metrics"].contains(&module) || ["tests.rs", "testing.rs"].contains(&file.name()) {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("module `{module}` is missing in LAYERS"));
        let code = code(file.text.split("#[cfg(test)]\nmod tests").next().unwrap());
        let used = code.split("crate::").skip(1).map(|rest| rest.split(no_word).next().unwrap());
        let above = used.filter(|used| layer(used).is_some_and(|layer| layer > own));
        wrong.extend(above.map(|used| format!("{} uses {used}", file.path)));
    }
    none("a module uses a layer above its own", wrong);
}

/// The text without comments.
fn code(text: &str) -> String {
    text.lines().filter_map(|line| line.split("//").next()).collect::<Vec<_>>().join("\n")
}

fn no_word(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}
