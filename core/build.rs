//! Records the compiler and the target, which every plugin's manifest states.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let version = if version.trim().is_empty() { "unknown rustc" } else { version.trim() };
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown target".to_owned());
    println!("cargo:rustc-env=MIMUS_RUSTC={version}");
    println!("cargo:rustc-env=MIMUS_TARGET={target}");
    println!("cargo:rerun-if-changed=build.rs");
}
