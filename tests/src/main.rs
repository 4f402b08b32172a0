//! The chores behind the cargo aliases: `cargo demo` and `cargo verify`.
#![allow(clippy::print_stderr, reason = "a program that reports to a terminal")]

mod demo;
mod verify;

use std::process::ExitCode;

use mimus_core::Error;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo", further @ ..] => demo::run(further),
        ["verify"] => verify::run(),
        other => Err(Error::config(format!("`{}` is no chore", other.join(" "))).hint("the chores are: demo, verify")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
