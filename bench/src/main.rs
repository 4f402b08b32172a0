//! The command `mimus`.
fn main() {}
