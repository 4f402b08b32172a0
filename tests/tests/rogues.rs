//! Libraries that lie, break or crash: each is refused or contained with a sentence that says what, why and what to do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mimus_core::abi::{ABI_EPOCH, Origin, Registry, Search};
use mimus_core::plugin::{Batch, FeatureRequest, ModelRequest, Options};
use mimus_core::{Error, ErrorKind, Phase};
use mimus_tests::{Artifacts, Ended, mimus, prober};

/// A folder with one rogue beside two good libraries.
struct Place {
    folder: tempfile::TempDir,
    rogue: PathBuf,
}

/// Of `mimus-core` and of all plugins here: they are one workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const GOOD: [&str; 2] = ["mimus-attention-ca", "mimus-head-mse"];

impl Place {
    /// The rogue's file holds `content`.
    fn of(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for package in GOOD {
            let library = good(package);
            std::fs::copy(library, folder.path().join(library.file_name().unwrap())).unwrap();
        }
        let rogue = folder.path().join("librogue.so");
        std::fs::write(&rogue, content).unwrap();
        Self { folder, rogue }
    }

    fn of_rogue(package: &str) -> Self {
        Self::of(&std::fs::read(Artifacts::of_rogues().unwrap().library(package).unwrap()).unwrap())
    }

    fn registry(&self) -> Registry {
        let places = vec![(Origin::CommandLine, self.folder.path().to_owned())];
        Registry::discover(&Search { places, lock: None, prober: prober().unwrap() }, &[]).unwrap()
    }

    /// Why the rogue is refused, and that it costs itself alone.
    #[track_caller]
    fn refusal(&self) -> Error {
        let registry = self.registry();
        assert_eq!(registry.list().len(), GOOD.len(), "the good libraries are there");
        let [(Origin::CommandLine, path, error)] = &registry.refused[..] else {
            panic!("one file is refused, not {:?}", registry.refused)
        };
        assert_eq!(path, &self.rogue);
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(error.context_value("file"), Some(self.rogue.canonicalize().unwrap().to_str().unwrap()));
        error.clone()
    }
}

fn good(package: &str) -> &'static Path {
    Artifacts::of_workspace().unwrap().library(package).unwrap()
}

/// `bytes` with every `old` made `new`, of the same length.
fn patched(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let places: Vec<usize> = (0..=bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "nothing to patch");
    let mut patched = bytes.to_vec();
    for at in places {
        patched[at..at + new.len()].copy_from_slice(new);
    }
    patched
}

/// The feature that an attention module is asked for.
fn feature(options: Options) -> FeatureRequest {
    FeatureRequest { options, student: vec![1, 2, 8, 8], teacher: vec![1, 2, 8, 8], phase: Phase::Eval }
}

const REBUILD: Option<&str> = Some("rebuild the plugin with the mimus-core of this Mimus");
const BUG: Option<&str> = Some("this is a bug of the plugin; its panic was contained");

#[test]
fn a_text_file_is_refused_with_what_it_begins_with() {
    let error = Place::of(b"[run]\nname = \"bottle\"\n").refusal();
    let expected = "is no shared library: an ELF file begins with \\x7fELF, this begins with \"[run]\\nna\"";
    assert_eq!(error.message(), expected);
    assert!(error.next_step().unwrap().starts_with("give the file that `cargo build` made"));
}

#[test]
fn a_truncated_library_is_refused_with_both_lengths() {
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    let error = Place::of(&whole[..whole.len() / 2]).refusal();
    assert!(error.message().starts_with("is truncated: "), "{error}");
    assert!(error.message().ends_with(&format!("the file at byte {}", whole.len() / 2)), "{error}");
    assert_eq!(error.next_step(), Some("copy or build the file again: it was cut off or damaged"));
}

#[test]
fn who_asks_for_a_plugin_whose_library_is_refused_hears_why() {
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    let place = Place::of(b"hello");
    std::fs::write(place.folder.path().join("libmimus_attention_sa.so"), &whole[..whole.len() / 2]).unwrap();
    let error = place.registry().attention("sa").err().unwrap();
    assert!(error.message().starts_with("is truncated: "), "{error}");
    assert_eq!(error.context_value("attention"), Some("sa"));
    let other = place.registry().attention("cb").err().unwrap();
    assert_eq!(other.message(), "there is no attention plugin `cb`");
}

#[test]
fn a_library_without_manifest_is_refused_with_the_missing_symbol() {
    let error = Place::of_rogue("rogue-silent").refusal();
    let expected = "is a shared library without a Mimus manifest (no symbol `mimus_plugin_manifest`)";
    assert_eq!(error.message(), expected);
    assert!(error.next_step().unwrap().starts_with("export components with mimus_core::plugin!"));
}

#[test]
fn another_abi_epoch_is_refused_with_both_epochs() {
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    let manifest = |epoch: u32| [b"MIMUS\0\x01\n".as_slice(), &epoch.to_le_bytes()].concat();
    let error = Place::of(&patched(&whole, &manifest(ABI_EPOCH), &manifest(999))).refusal();
    assert_eq!(error.message(), format!("it was built for ABI epoch 999, this Mimus has ABI epoch {ABI_EPOCH}"));
    assert_eq!(error.next_step(), REBUILD);
}

#[test]
fn another_layout_is_refused_with_what_differs() {
    let error = Place::of_rogue("rogue-layout").refusal();
    let expected = "the layout of its module is not the one that this Mimus expects: \
        mismatched package, expected mimus-core, found rogue-layout";
    assert_eq!(error.message(), expected);
    assert_eq!(error.next_step(), REBUILD);
}

#[test]
fn an_abort_at_loading_ends_the_child_alone() {
    let error = Place::of_rogue("rogue-aborting").refusal();
    assert_eq!(error.message(), "killed the process that loaded it (signal 6 SIGABRT)");
    assert!(error.next_step().unwrap().starts_with("the library crashes while it is loaded"));
}

#[cfg(unix)]
#[test]
fn a_file_or_folder_that_everyone_may_write_is_refused_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    let place = Place::of(&whole);
    std::fs::set_permissions(&place.rogue, std::fs::Permissions::from_mode(0o646)).unwrap();
    let error = place.refusal();
    assert_eq!(error.message(), "its file is writable by everyone (mode 646), so that anyone could replace it");
    let rogue = place.rogue.canonicalize().unwrap();
    assert_eq!(error.next_step(), Some(format!("chmod o-w {}", rogue.display()).as_str()));

    std::fs::set_permissions(place.folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let registry = place.registry();
    assert_eq!((registry.list().len(), registry.refused.len()), (0, GOOD.len() + 1), "everything in it is refused");
    let expected = "its folder is writable by everyone (mode 777), so that anyone could replace it";
    assert_eq!(registry.refused[0].2.message(), expected);
}

#[test]
fn a_panic_in_describe_is_an_error_with_its_place() {
    let registry = Place::of_rogue("rogue-components").registry();
    let rogue = registry.attention("panics-in-describe").unwrap();
    let error = rogue.describe(&feature(Options::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let place = "plugin `rogue-components`: attention `panics-in-describe`: method `describe`: panicked at ";
    assert!(error.one_line().starts_with(place), "{error}");
    assert!(error.message().ends_with(": out of ideas"), "{error}");
    assert_eq!(error.next_step(), BUG);
    assert!(rogue.describe(&feature(Options::default())).is_err(), "it can be asked again");
}

#[test]
fn a_panic_in_prepare_is_an_error_with_its_place() {
    let registry = Place::of_rogue("rogue-components").registry();
    let rogue = registry.model("panics-in-prepare").unwrap();
    let request = ModelRequest { options: Options::default(), batch: 1, height: 8, width: 8 };
    assert!(rogue.describe(&request).unwrap().prepares);
    let error = rogue.prepare(&request, Batch::new(), 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    let place = "plugin `rogue-components`: model `panics-in-prepare`: method `prepare`: panicked at ";
    assert!(error.one_line().starts_with(place), "{error}");
    assert!(error.message().ends_with(": no defect for seed 3 and 0 inputs"), "{error}");
    assert_eq!(error.next_step(), BUG);
}

#[test]
fn a_graph_with_wrong_shapes_is_refused_with_both_shapes() {
    let registry = Place::of_rogue("rogue-components").registry();
    let rogue = registry.attention("wrong-shapes").unwrap();
    let error = rogue.describe(&feature(Options::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert_eq!(
        error.one_line(),
        format!(
            "plugin `rogue-components`: attention `wrong-shapes`: described `fragment`: built with mimus-core `{VERSION}`: \
             graph `wrong-shapes`: node 1 (sigmoid \"\"): V3: declares f32[1, 3, 8, 8], infers f32[1, 2, 8, 8]"
        )
    );
    assert_eq!(error.next_step(), Some("this is a bug of the plugin: what it describes is not well formed"));
}

#[test]
fn a_graph_with_an_unknown_operator_is_refused_with_both_versions() {
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    let registry = Place::of(&patched(&whole, b"sigmoid", b"sigmund")).registry();
    let rogue = registry.attention("sa").unwrap();
    let options = Options::resolve(&rogue.info().options, BTreeMap::new()).unwrap();
    let error = rogue.describe(&feature(options)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert_eq!(error.context_value("built with mimus-core"), Some(VERSION));
    let expected = format!("there is no operator `sigmund` in mimus-core {VERSION}");
    assert!(error.message().ends_with(&expected), "{error}");
    assert!(error.next_step().unwrap().ends_with("rebuild the older one"), "{error}");
}

/// Two models and four attention modules; what is a rogue fails alone.
const SWEEP: &str = r#"
[run]
name = "sweep"
[dataset]
plugin = "synthetic"
groups = ["weave"]
size = 32
train = 8
test_good = 2
test_per_defect = 1
[input]
height = 32
width = 32
[[model]]
plugin = "autoencoder"
width = 4
depth = 2
[[model]]
plugin = "panics-in-prepare"
[boost]
attention = ["none", "panics-in-describe", "wrong-shapes", "sa"]
[train]
epochs = 1
"#;

#[test]
fn a_sweep_with_rogues_finishes_all_other_cells() {
    let place = Place::of_rogue("rogue-components");
    let folder = place.folder.path();
    let whole = std::fs::read(good("mimus-attention-sa")).unwrap();
    std::fs::write(folder.join("libunknown_operator.so"), patched(&whole, b"sigmoid", b"sigmund")).unwrap();
    std::fs::write(folder.join("libtruncated.so"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(folder.join("libtext.so"), "hello").unwrap();
    std::fs::write(folder.join("sweep.toml"), SWEEP).unwrap();
    let Ended { code, out: table, err: progress } = run(folder, &["bench", "sweep.toml", "--plugin-dir", "."]);
    assert_eq!(code, Some(1), "{table}\n{progress}");
    for sentence in ["out of ideas", "V3: declares", "no operator `sigmund`", "no defect for seed"] {
        assert!(progress.contains(sentence) && table.contains(sentence), "{sentence}: {table}\n{progress}");
    }
    let results = std::fs::read_to_string(folder.join("runs/sweep/results.csv")).unwrap();
    let finished: BTreeSet<String> = results.lines().skip(1).map(|row| row.split(',').take(3).collect()).collect();
    assert_eq!(Vec::from_iter(finished), ["autoencoderweavebaseline", "autoencoderweavenone"]);

    let Ended { code, out: listed, .. } = run(folder, &["plugin", "list", "--plugin-dir", "."]);
    assert_eq!(code, Some(0));
    for (file, sentence) in [("libtext.so", "is no shared library"), ("libtruncated.so", "is truncated")] {
        let refused =
            |line: &str| line.starts_with("refused (--plugin-dir): ") && line.contains(file) && line.contains(sentence);
        assert!(listed.lines().any(refused), "{file}: {listed}");
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    Ended::of(mimus(folder).unwrap().args(arguments)).unwrap()
}
