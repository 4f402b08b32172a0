//! The workspace's plugins through real library files: what crosses the boundary arrives as it left.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeSet;

use mimus_core::plugin::Kind;
use mimus_tests::{plugins, repository};

/// Names of the folders below `place`.
fn folders(place: &str) -> Vec<String> {
    let entries = std::fs::read_dir(repository().join(place)).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn every_folder_gives_a_component_of_its_kind_and_name() {
    let mut expected: BTreeSet<(Kind, String)> = BTreeSet::new();
    for folder in folders("plugins") {
        let (kind, name) = folder.split_once('-').unwrap();
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
        expected.insert((kind.unwrap_or_else(|| panic!("plugins/{folder} begins with no kind")), name.to_owned()));
    }
    expected.extend(folders("datasets").into_iter().map(|name| (Kind::Dataset, name)));
    expected.insert((Kind::Backend, "candle".to_owned()));
    let registry = plugins().unwrap();
    let listed: BTreeSet<_> =
        registry.list().iter().map(|l| (l.winner.info.kind, l.winner.info.name.clone())).collect();
    let missing: Vec<_> = expected.difference(&listed).collect();
    assert!(missing.is_empty(), "no library gives {missing:?}; there are {listed:?}");
}
