//! `mimus backend install` and `remove` with a pip that is a script: what works, and every way in which it can fail.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mimus_tests::{Ended, mimus};

use crate::{compile, fake_libraries, manifest, torch};

/// A project, and a folder `bin` with a `python3` of our own.
struct Project {
    folder: tempfile::TempDir,
}

const INSTALL: [&str; 3] = ["backend", "install", "onnxruntime"];
const WHEEL: &str = "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl";

/// Gives the wheel that lies beside the script.
const GIVE: &str = "cp \"$(dirname \"$0\")\"/*.whl \"$dest\"";

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(project.path("bin")).unwrap();
        project
    }

    /// With a pip that gives a wheel.
    fn working() -> Self {
        let project = Self::new();
        let library = project.path("libonnxruntime.so");
        compile("int answer(void) { return 42; }", &library, &[]);
        project.wheel(&std::fs::read(library).unwrap());
        project.python(GIVE);
        project
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn library(&self) -> PathBuf {
        self.path(".mimus/native/onnxruntime/lib/libonnxruntime.so")
    }

    /// What `python3 -m pip download` does; `$dest` is where the wheels should go.
    fn python(&self, does: &str) {
        let script = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n\
             case $1 in --dest) dest=$2;; --requirement) cp \"$2\" \"$(dirname \"$0\")/asked\";; esac\nshift\ndone\n{does}\n"
        );
        std::fs::write(self.path("bin/python3"), script).unwrap();
        std::fs::set_permissions(self.path("bin/python3"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The wheel, with `library` in it.
    fn wheel(&self, library: &[u8]) {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(self.path("bin").join(WHEEL)).unwrap());
        let files = [
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", library),
            ("onnxruntime/capi/not-needed.py", b"".as_slice()),
            ("onnxruntime/LICENSE", b"may be used".as_slice()),
            ("onnxruntime/ThirdPartyNotices.txt", b"others".as_slice()),
        ];
        for (name, content) in files {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Ended::of(mimus(self.folder.path()).unwrap().env("PATH", path).args(arguments)).unwrap()
    }

    /// The install fails with a sentence and a hint, and leaves nothing.
    #[track_caller]
    fn fails(&self, sentence: &str, hint: &str) {
        let said = self.run(&INSTALL);
        assert_eq!(said.code, Some(5), "{}", said.err);
        let (_, error) = said.err.split_once("error: ").unwrap();
        assert!(error.contains(sentence) && error.contains(hint), "{error}");
        assert_eq!(self.left(), [".lock"]);
    }

    /// Names in the native folder.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(".mimus/native")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn an_install_keeps_what_is_needed_and_a_second_one_changes_nothing() {
    let project = Project::working();
    let said = project.run(&INSTALL);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("ONNX Runtime 1.31.1 is installed in "), "{}", said.out);
    assert!(said.err.contains("downloads 24 MB with pip"), "{}", said.err);
    let asked = std::fs::read_to_string(project.path("bin/asked")).unwrap();
    assert!(asked.starts_with("onnxruntime==1.31.1 --hash=sha256:") && asked.lines().count() == 1, "{asked}");
    let files = walk(&project.path(".mimus/native/onnxruntime"));
    let kept = ["LICENSE", "ThirdPartyNotices.txt", "libonnxruntime.so", "native.toml"];
    assert_eq!(files, kept);

    project.python("exit 1");
    let again = project.run(&INSTALL);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.starts_with("ONNX Runtime 1.31.1 is installed already in "), "{}", again.out);
    assert_eq!(project.left(), [".lock", "onnxruntime"]);
}

/// File names below a folder, sorted.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => names.extend(walk(&entry.path())),
            false => names.push(entry.file_name().into_string().unwrap()),
        }
    }
    names.sort();
    names
}

#[test]
fn a_wrong_or_truncated_library_is_a_problem_that_installing_again_mends() {
    let project = Project::working();
    let doctor = project.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "absent native libraries are no problem: {}", doctor.out);
    assert!(doctor.out.contains("is not installed, expects ONNX Runtime 1.31.1"), "{}", doctor.out);
    project.run(&INSTALL);
    let whole = std::fs::read(project.library()).unwrap();
    std::fs::write(project.library(), &whole[..whole.len() / 2]).unwrap();
    let doctor = project.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    let line = doctor.out.lines().find(|line| line.contains("native library onnxruntime (project)")).unwrap();
    assert!(line.contains("PROBLEM: lib/libonnxruntime.so is truncated"), "{line}");
    assert!(line.contains("run `mimus backend install onnxruntime`"), "{line}");
    let said = project.run(&INSTALL);
    assert!(said.err.contains("replaces what is there: lib/libonnxruntime.so is truncated"), "{}", said.err);
    assert_eq!(std::fs::read(project.library()).unwrap(), whole);

    let folder = project.path(".mimus/native/torch");
    fake_libraries(&folder.join("lib"), "");
    manifest(&folder, "2.10.0");
    let list = project.run(&["backend", "list"]);
    assert_eq!(list.code, Some(0));
    assert!(list.out.contains("PROBLEM: is libtorch 2.10.0, expects libtorch 2.11.0"), "{}", list.out);
    manifest(&folder, torch().version);
    // Of this line alone: a backend that was built for the real library may lie beside the command, and cannot use this one.
    let doctor = project.run(&["doctor"]).out;
    let line = doctor.lines().find(|line| line.contains("native library torch (project)")).unwrap();
    assert!(line.contains("2.11.0 for CPU in ") && !line.contains("PROBLEM"), "{line}");
}

#[test]
fn a_failed_download_leaves_nothing_and_says_what_to_do() {
    let project = Project::new();
    let pip = "pip could not download the wheels (exit status: 1): ";
    let fails = |says: &str, sentence: &str, hint: &str| {
        project.python(&format!("echo half > \"$dest/{WHEEL}\"\necho '{says}' >&2\nexit 1"));
        project.fails(sentence, hint);
    };
    fails(
        "python3: No module named pip",
        &format!("{pip}python3: No module named pip"),
        "hint: install Python 3 with pip",
    );
    let full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device";
    fails(full, &format!("{pip}Could not install packages"), "hint: the disk is full: free space, or install into");
    let hash = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.";
    fails(hash, &format!("{pip}THESE PACKAGES"), "hint: the index of pip gives another file");
    let none = "ERROR: No matching distribution found for onnxruntime==1.31.1";
    fails(none, &format!("{pip}No matching distribution"), "hint: pip's index must have it: check the network");
    fails("something else", &format!("{pip}something else"), "hint: mend what pip says above");
    project.python("exit 0");
    project.fails("pip gave no file onnxruntime-1.31.1-*.whl, although it succeeded", "");

    let error = Ended::of(mimus(project.folder.path()).unwrap().env("PATH", "").args(INSTALL)).unwrap().err;
    assert!(
        error.contains("python3 cannot be started") && error.contains("hint: install Python 3 with pip"),
        "{error}"
    );
    assert_eq!(project.left(), [".lock"]);
}

#[test]
fn a_wheel_that_is_half_or_holds_half_a_library_is_not_installed() {
    let project = Project::working();
    let wheel = project.path("bin").join(WHEEL);
    let whole = std::fs::read(&wheel).unwrap();
    std::fs::write(&wheel, &whole[..whole.len() / 2]).unwrap();
    project.fails("cannot be unpacked", "hint: it was cut off or damaged");
    let library = std::fs::read(project.path("libonnxruntime.so")).unwrap();
    project.wheel(&library[..library.len() / 2]);
    project.fails("lib/libonnxruntime.so is truncated", "");
}

#[test]
fn a_killed_install_leaves_nothing_that_counts_and_the_next_one_sweeps() {
    let project = Project::working();
    project.python(&format!("echo half > \"$dest/{WHEEL}\"\nkill -9 $PPID"));
    assert_eq!(project.run(&INSTALL).code, None, "it was killed");
    let left = project.left();
    assert!(left.len() == 2 && left[1].starts_with(".unfinished-"), "{left:?}");
    assert!(project.run(&["backend", "list"]).out.contains("is not installed, expects ONNX Runtime"));
    project.python(GIVE);
    assert_eq!(project.run(&INSTALL).code, Some(0));
    assert_eq!(project.left(), [".lock", "onnxruntime"]);
}

#[test]
fn remove_takes_one_place_and_names_the_other() {
    let project = Project::working();
    let removal = ["backend", "remove", "onnxruntime"];
    let said = project.run(&removal);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("ONNX Runtime is not installed here"), "{}", said.err);
    assert_eq!(project.run(&[&INSTALL[..], &["--user"]].concat()).code, Some(0));
    assert!(project.path("data/mimus/native/onnxruntime/native.toml").exists());
    assert_eq!(project.run(&removal).code, Some(2), "it is not in the project");
    let said = project.run(&[&removal[..], &["--user"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!project.path("data/mimus/native/onnxruntime").exists());
}

#[test]
fn what_cannot_be_installed_is_refused_before_anything_is_downloaded() {
    let project = Project::working();
    project.python("touch \"$(dirname \"$0\")/called\"");
    let said = project.run(&["backend", "install", "torsh"]);
    assert!(said.code == Some(2) && said.err.contains("hint: did you mean `torch`?"), "{}", said.err);
    let said = project.run(&["backend", "install", "ffmpeg", "--cuda"]);
    assert!(said.code == Some(2) && said.err.contains("for NVIDIA GPUs is known"), "{}", said.err);
    assert!(!project.path("bin/called").exists());
}
