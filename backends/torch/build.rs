//! Lets this crate's tests find libtorch where the checkout has it; the library itself is opened by a host that has opened libtorch before.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-tests=-Wl,-rpath,$ORIGIN/../../../.mimus/native/torch/lib");
}
