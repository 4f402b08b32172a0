//! Entries that are shared, damaged, left half or too large.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use mimus_core::{Error, Result};

use crate::cache::{Cache, Entry};

fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
    let place = tempfile::tempdir().unwrap();
    let cache = Cache::new(&place.path().join("frames"), limit);
    (place, cache)
}

/// Two files of 50 bytes each.
fn fill(folder: &Path) -> Result<()> {
    for name in ["000001.png", "000000.png"] {
        fs::write(folder.join(name), [b'x'; 50]).map_err(|error| Error::io("cannot be written", folder, &error))?;
    }
    Ok(())
}

fn never(_: &Path) -> Result<()> {
    Err(Error::data("is made once more"))
}

fn there(cache: &Cache, key: &str) -> bool {
    cache.entry(key, never).is_ok()
}

fn names(entry: &Entry) -> Vec<String> {
    entry.files("png").iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_entry_is_made_once_and_again_when_it_is_damaged() {
    let (_place, cache) = cache(1000);
    let entry = cache.entry("a", fill).unwrap();
    assert_eq!(names(&entry), ["000000.png", "000001.png"]);
    assert!(there(&cache, "a"));
    let folder = entry.folder().to_owned();
    drop(entry);
    for damage in [
        |folder: &Path| fs::write(folder.join("000000.png"), b"short").unwrap(),
        |folder: &Path| fs::remove_file(folder.join("000001.png")).unwrap(),
        |folder: &Path| fs::write(folder.join("manifest.json"), b"{").unwrap(),
        |folder: &Path| fs::remove_file(folder.join("manifest.json")).unwrap(),
    ] {
        damage(&folder);
        assert!(!there(&cache, "a"));
        assert_eq!(names(&cache.entry("a", fill).unwrap()).len(), 2);
    }
    assert!(cache.entry("a", never).unwrap().condemn());
    assert!(!there(&cache, "a"));
}

#[test]
fn what_fails_or_is_killed_half_way_leaves_no_entry() {
    let (_place, cache) = cache(1000);
    let failing = |folder: &Path| fill(folder).and_then(|()| never(folder));
    assert_eq!(cache.entry("a", failing).unwrap_err().message(), "is made once more");
    let folder = cache.entry("b", fill).unwrap().folder().with_file_name("a");
    assert!(!folder.exists() && !folder.with_extension("part").exists());
    // What a killed process leaves: a folder in the making, whose lock nobody holds.
    let part = folder.with_extension("part");
    fs::create_dir(&part).unwrap();
    fs::write(part.join("000007.png"), b"half").unwrap();
    assert_eq!(names(&cache.entry("a", fill).unwrap()).len(), 2);
    fs::create_dir(&part).unwrap();
    cache.entry("c", fill).unwrap();
    assert!(!part.exists(), "the next entry that is made clears it away");
}

#[test]
fn two_at_once_make_an_entry_once() {
    let (_place, cache) = cache(1000);
    let (made, start) = (AtomicUsize::new(0), Barrier::new(4));
    let make = |folder: &Path| {
        made.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(100));
        fill(folder)
    };
    std::thread::scope(|scope| {
        let both = || {
            start.wait();
            cache.entry("a", make).map(|entry| names(&entry).len())
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(both)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), 2);
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn what_was_used_longest_ago_goes_first_and_what_is_in_use_stays() {
    let (_place, cache) = cache(250);
    let used = cache.entry("a", fill).unwrap();
    cache.entry("b", fill).unwrap();
    cache.entry("c", fill).unwrap();
    assert!(there(&cache, "a") && !there(&cache, "b") && there(&cache, "c"));
    let also_used = cache.entry("c", never).unwrap();
    let error = cache.entry("d", fill).unwrap_err();
    assert!(error.message().starts_with("needs 1 GB for all that is in use, more than"), "{error}");
    assert!(error.next_step().unwrap().contains("MIMUS_CACHE_GB"), "{error}");
    drop((used, also_used));
    assert!(cache.entry("d", fill).is_ok() && !there(&cache, "a"));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), b"x").unwrap();
    let error = Cache::new(&place.path().join("file/frames"), 1000).entry("a", fill).unwrap_err();
    assert!(error.to_string().contains("MIMUS_CACHE"), "{error}");
}
