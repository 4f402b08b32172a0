//! Documents: what a repository must hold for its readers, and that what they name exists.

use mimus_tests::repository;

#[test]
fn both_licences_and_the_changelog_are_there() {
    for (file, begins) in
        [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License"), ("CHANGELOG.md", "# Changelog")]
    {
        let text = std::fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.trim_start().starts_with(begins), "{file} does not begin with {begins:?}");
    }
}
