//! The chores behind `cargo demo` and `cargo verify`.
fn main() {}
