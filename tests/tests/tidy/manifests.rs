//! Manifests: who may depend on whom, and that versions and lints stand in one place.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{File, files, none, rust_files};

/// What the members below a folder may depend on.
struct Rule {
    folder: &'static str,
    /// Other members.
    members: &'static [&'static str],
    /// Crates from elsewhere, for other things than tests; `None` if any.
    outside: Option<&'static [&'static str]>,
}

/// Dependencies point downwards only. A folder's first rule counts.
const RULES: &[Rule] = &[
    Rule {
        folder: "core",
        members: &[],
        outside: Some(&[
            "abi_stable",
            "ciborium",
            "libloading",
            "object",
            "rayon",
            "serde",
            "serde_bytes",
            "sha2",
            "strsim",
            "tempfile",
            "thiserror",
            "toml",
        ]),
    },
    Rule { folder: "plugins/", members: &["mimus-core"], outside: Some(&[]) },
    Rule { folder: "backends/", members: &["mimus-core"], outside: None },
    Rule {
        folder: "datasets/decode",
        members: &["mimus-core"],
        outside: Some(&["alphanumeric-sort", "image", "npyz", "serde_bytes", "sha2", "tiff"]),
    },
    Rule { folder: "datasets/drawing", members: &["mimus-core"], outside: Some(&[]) },
    Rule {
        folder: "datasets/motion",
        members: &["mimus-core", "mimus-dataset-synthetic-video", "mimus-decode"],
        outside: Some(&["rayon", "serde", "serde_json", "wide"]),
    },
    Rule {
        folder: "datasets/",
        members: &["mimus-core", "mimus-decode", "mimus-drawing", "mimus-video"],
        outside: None,
    },
    Rule { folder: "bench", members: &["mimus-candle", "mimus-core", "mimus-decode", "mimus-motion"], outside: None },
    Rule { folder: "tests/rogues/", members: &["mimus-core"], outside: Some(&["abi_stable"]) },
    Rule { folder: "tests", members: &["mimus-core"], outside: None },
];

/// A member's folder and manifest.
struct Member {
    folder: String,
    manifest: Table,
}

impl Member {
    fn package(&self) -> &str {
        self.manifest["package"]["name"].as_str().unwrap()
    }

    /// Name and declaration of every dependency, and whether it is for tests only.
    fn dependencies(&self) -> Vec<(&str, &Value, bool)> {
        let of = |key: &str, tests: bool| {
            let table = self.manifest.get(key).and_then(Value::as_table);
            let all = table.into_iter().flatten().map(move |(name, value)| (name.as_str(), value, tests));
            all.collect::<Vec<_>>()
        };
        [of("dependencies", false), of("build-dependencies", false), of("dev-dependencies", true)].concat()
    }
}

fn manifest(file: &File) -> Table {
    file.text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path))
}

fn members() -> Vec<Member> {
    let manifests = files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    let member = |file: File| Member { folder: file.path.replace("/Cargo.toml", ""), manifest: manifest(&file) };
    manifests.map(member).collect()
}

#[test]
fn members_depend_on_what_their_folder_may() {
    let members = members();
    let packages: BTreeSet<&str> = members.iter().map(Member::package).collect();
    let mut wrong = Vec::new();
    for member in &members {
        let rule = RULES.iter().find(|rule| member.folder.starts_with(rule.folder));
        let rule = rule.unwrap_or_else(|| panic!("{}: no rule for this folder", member.folder));
        for (name, _, tests) in member.dependencies() {
            let allowed = if packages.contains(name) {
                rule.members.contains(&name)
            } else {
                tests || rule.outside.is_none_or(|allowed| allowed.contains(&name))
            };
            if !allowed {
                wrong.push(format!("{} depends on {name}", member.folder));
            }
        }
    }
    none("a member depends on what its folder may not know", wrong);
}

#[test]
fn versions_and_lints_stand_in_the_root_manifest_alone() {
    let mut wrong = Vec::new();
    for member in members() {
        let inherits = |value: Option<&Value>| {
            value.is_some_and(|value| value.get("workspace").and_then(Value::as_bool) == Some(true))
        };
        let own = member.dependencies().into_iter().filter(|(_, value, _)| !inherits(Some(value)));
        wrong.extend(own.map(|(name, ..)| format!("{} gives {name} a version of its own", member.folder)));
        if !inherits(member.manifest.get("lints")) {
            wrong.push(format!("{} lacks `[lints] workspace = true`", member.folder));
        }
        for key in ["version", "edition", "license"] {
            if !inherits(member.manifest["package"].get(key)) {
                wrong.push(format!("{} has a {key} of its own", member.folder));
            }
        }
    }
    none("write `workspace = true`", wrong);
}

#[test]
fn every_dependency_is_used() {
    let sources = rust_files();
    let mut used_by_any = BTreeSet::new();
    let mut wrong = Vec::new();
    for member in members() {
        let own = |file: &&File| file.path.starts_with(&format!("{}/", member.folder));
        for (name, ..) in member.dependencies() {
            used_by_any.insert(name.to_owned());
            if !sources.iter().filter(own).any(|file| file.text.contains(&name.replace('-', "_"))) {
                wrong.push(format!("{} does not use {name}", member.folder));
            }
        }
    }
    let root: Table = files().iter().find(|file| file.path == "Cargo.toml").map(manifest).unwrap();
    let declared = root["workspace"]["dependencies"].as_table().unwrap().clone();
    let unused = declared.keys().filter(|name| !used_by_any.contains(*name));
    wrong.extend(unused.map(|name| format!("no member depends on {name}")));
    none("remove these dependencies", wrong);
}

#[test]
fn a_plugin_is_called_after_its_folder() {
    let mut wrong = Vec::new();
    let is_plugin = |member: &Member| {
        let types = member.manifest.get("lib").and_then(|library| library.get("crate-type")).and_then(Value::as_array);
        types.is_some_and(|types| types.contains(&"cdylib".into()))
    };
    for member in members().into_iter().filter(is_plugin) {
        let prefixes = [("plugins/", "mimus-"), ("datasets/", "mimus-dataset-"), ("backends/", "mimus-")];
        for (folder, prefix) in prefixes {
            let Some(name) = member.folder.strip_prefix(folder) else { continue };
            if member.package() != format!("{prefix}{name}") {
                wrong.push(format!("{} is called {}", member.folder, member.package()));
            }
        }
    }
    none("a package is called after its folder", wrong);
}
