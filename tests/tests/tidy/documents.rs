//! Documents: what a repository must hold for its readers, and that what they name exists.

use crate::{files, none, rust_files};

fn document(path: &str) -> String {
    let file = files().into_iter().find(|file| file.path == path);
    file.unwrap_or_else(|| panic!("{path} is missing")).text
}

#[test]
fn both_licences_and_the_changelog_are_there() {
    for (path, begins) in
        [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License"), ("CHANGELOG.md", "# Changelog")]
    {
        assert!(document(path).trim_start().starts_with(begins), "{path} does not begin with {begins:?}");
    }
}

#[test]
fn every_invariant_of_the_architecture_names_tests_that_exist() {
    let text = document("ARCHITECTURE.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Invariants\n")).unwrap();
    let sources = rust_files();
    let exists = |test: &str| sources.iter().any(|file| file.text.contains(&format!("fn {test}(")));
    let mut wrong = Vec::new();
    for invariant in section.split("\n- ").skip(1) {
        let words = invariant.split('`').skip(1).step_by(2);
        let tests: Vec<&str> = words.filter(|word| word.matches('_').count() > 1).collect();
        if tests.is_empty() {
            wrong.push(format!("no test guards: {invariant}"));
        }
        wrong.extend(tests.into_iter().filter(|test| !exists(test)).map(|test| format!("there is no test {test}")));
    }
    none("ARCHITECTURE.md and the tests disagree", wrong);
}

#[test]
fn every_path_in_the_documents_leads_somewhere() {
    let root = mimus_tests::repository();
    let mut wrong = Vec::new();
    for path in ["ARCHITECTURE.md", "README.md"] {
        let text = document(path);
        let begins = ["core/", "plugins/", "backends/", "datasets/", "bench/", "tests/"];
        let code = text.split('`').skip(1).step_by(2).filter(|word| begins.iter().any(|begin| word.starts_with(begin)));
        let links =
            text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"));
        let named = code.filter(|word| !word.contains(['*', '<', ' '])).chain(links);
        let missing = named.filter(|named| !root.join(named.split('#').next().unwrap()).exists());
        wrong.extend(missing.map(|named| format!("{path}: {named}")));
    }
    none("these paths do not exist", wrong);
}
