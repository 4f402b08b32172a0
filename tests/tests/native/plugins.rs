//! Plugins whose native library is absent, half or wrong: each with its sentence, and no process dies of it.

use std::path::PathBuf;

use mimus_core::native::MANIFEST;
use mimus_tests::{Artifacts, Ended, mimus};

use crate::{compile, fake_libraries, manifest, torch};

/// A project with a plugin that needs `libtorch_cpu.so`, and with whatever lies in its native folder.
struct Project {
    folder: tempfile::TempDir,
}

/// What a user would see of a plugin that is refused because nothing is installed.
const ABSENT: &str = "needs libtorch_cpu.so (libtorch 2.11.0), which is not installed";

impl Project {
    /// The native folder is empty.
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        let plugins = project.path("plugins");
        std::fs::create_dir(&plugins).unwrap();
        // A library without content, which needs libtorch and a good plugin: the manifest is found in the latter.
        let libraries = project.path("for-linking");
        fake_libraries(&libraries, "");
        let good = Artifacts::of_workspace().unwrap().library("mimus-attention-sa").unwrap();
        let needs = format!("-L{}", libraries.display());
        let more = ["-Wl,--no-as-needed", &needs, "-ltorch_cpu", good.to_str().unwrap()];
        compile("", &plugins.join("libneedy.so"), &more);
        project
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Puts a whole libtorch, as it seems, into the project's native folder.
    fn install(&self) -> PathBuf {
        let folder = self.path(".mimus/native/torch");
        fake_libraries(&folder.join("lib"), "");
        manifest(&folder, torch().version);
        folder
    }

    /// Exit code and standard output.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let ended = Ended::of(mimus(self.folder.path()).unwrap().args(arguments)).unwrap();
        (ended.code, ended.out)
    }

    fn list(&self) -> String {
        let (code, listed) = self.run(&["plugin", "list"]);
        assert_eq!(code, Some(0), "{listed}");
        listed
    }

    #[track_caller]
    fn is_refused(&self, sentence: &str, hint: &str) {
        let listed = self.list();
        let (_, refused) =
            listed.split_once("\nrefused (project): ").unwrap_or_else(|| panic!("not refused: {listed}"));
        assert!(refused.contains("libneedy.so"), "{refused}");
        assert!(refused.contains(sentence) && refused.contains(hint), "{refused}");
    }

    #[track_caller]
    fn is_found(&self) {
        let listed = self.list();
        assert!(listed.contains("libneedy.so") && !listed.contains("refused (project)"), "{listed}");
    }
}

#[test]
fn a_plugin_finds_its_native_library_in_the_project_or_in_the_users_folder() {
    let project = Project::new();
    project.is_refused(ABSENT, "hint: run `mimus backend install torch`");
    let installed = project.install();
    project.is_found();
    let user = project.path("data/mimus/native");
    std::fs::create_dir_all(&user).unwrap();
    std::fs::rename(installed, user.join("torch")).unwrap();
    project.is_found();
    manifest(&user.join("torch"), "1.0.0");
    project.is_refused("is libtorch 1.0.0, expects libtorch", "hint: run `mimus backend install torch --user`");
}

#[test]
fn a_native_folder_that_is_half_or_wrong_is_refused_with_what_is_wrong() {
    let project = Project::new();
    let folder = project.install();
    let again = "hint: run `mimus backend install torch`";
    manifest(&folder, "2.10.0");
    project.is_refused("is libtorch 2.10.0, expects libtorch 2.11.0", again);
    std::fs::write(folder.join(MANIFEST), "name = \"torch\"\nversion").unwrap();
    project.is_refused("its native.toml is damaged: ", again);
    std::fs::write(folder.join(MANIFEST), "name = \"torsch\"\nversion = \"1\"\ncuda = false\n").unwrap();
    project.is_refused("its native.toml says that it is `torsch`", again);
    std::fs::remove_file(folder.join(MANIFEST)).unwrap();
    project.is_refused("its native.toml cannot be read: ", again);
    manifest(&folder, torch().version);

    for file in ["libtorch_cpu.so", "libcupti.so.13"] {
        let library = folder.join("lib").join(file);
        let whole = std::fs::read(&library).unwrap();
        std::fs::write(&library, &whole[..whole.len() / 2]).unwrap();
        project.is_refused(&format!("lib/{file} is truncated: "), again);
        std::fs::write(&library, "").unwrap();
        project.is_refused(&format!("lib/{file} is no shared library"), again);
        std::fs::remove_file(&library).unwrap();
        project.is_refused(&format!("is incomplete: lib/{file} is missing"), again);
        std::fs::write(&library, whole).unwrap();
    }
    project.is_found();

    let for_gpus = format!("name = \"torch\"\nversion = \"{}\"\ncuda = true\n", torch().version);
    std::fs::write(folder.join(MANIFEST), for_gpus).unwrap();
    let [first, ..] = torch().cuda else { panic!("libtorch has a half for NVIDIA GPUs") };
    project.is_refused(
        &format!("is incomplete: lib/{first} is missing"),
        "hint: run `mimus backend install torch --cuda`",
    );
    manifest(&folder, torch().version);

    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o646);
    std::fs::set_permissions(folder.join("lib/libc10.so"), open).unwrap();
    project.is_refused("its file is writable by everyone (mode 646)", "hint: chmod o-w ");
}

#[test]
fn a_verdict_does_not_outlive_a_change_of_the_native_library() {
    let project = Project::new();
    let folder = project.install();
    project.is_found();
    let verdicts = || std::fs::read_dir(project.path("cache/mimus/probed")).unwrap().count();
    let before = verdicts();
    project.is_found();
    assert_eq!(verdicts(), before, "what did not change is not tried again");
    let crash = "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }\n";
    compile(crash, &folder.join("lib/libtorch_cpu.so"), &[]);
    project.is_refused("killed the process that loaded it (signal 6 SIGABRT)", "hint: ");
}
