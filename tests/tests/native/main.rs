//! Native libraries: installing them, finding them, and plugins that need them; all with libraries that are made here.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test is a failed test with its place")]

mod install;
mod plugins;

use std::path::Path;
use std::process::Command;

use mimus_core::native::{Known, MANIFEST, known};

fn torch() -> &'static Known {
    known("torch").unwrap()
}

/// `code` as a shared library, with its file name as soname.
fn compile(code: &str, library: &Path, more: &[&str]) {
    let source = library.with_extension("c");
    std::fs::write(&source, code).unwrap();
    let name = format!("-Wl,-soname,{}", library.file_name().unwrap().to_str().unwrap());
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", &name, "-o"]).arg(library).arg(&source).args(more);
    assert!(command.status().unwrap().success());
    std::fs::remove_file(source).unwrap();
}

/// Libraries with the names of libtorch's; all hold `code`.
fn fake_libraries(folder: &Path, code: &str) {
    std::fs::create_dir_all(folder).unwrap();
    for file in torch().files(false) {
        compile(code, &folder.join(file), &[]);
    }
}

fn manifest(folder: &Path, version: &str) {
    let text = format!("name = \"torch\"\nversion = \"{version}\"\ncuda = false\n");
    std::fs::write(folder.join(MANIFEST), text).unwrap();
}
