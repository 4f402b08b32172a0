//! Whether a file is a complete shared library for this machine, and which others it needs, from its headers alone.
//!
//! `dlopen` maps what the headers promise; in a truncated file the first access behind its end kills the process with SIGBUS.

use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_RISCV, EM_X86_64, ET_DYN, FileHeader64, Machine, PT_LOAD};
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use crate::error::{Error, Result};

/// Checks a whole file, in memory or read piece by piece, and gives the names of the libraries that it needs (`DT_NEEDED`).
///
/// # Errors
/// If it is no shared library for this machine, or not complete.
pub(crate) fn examine<'d, R: ReadRef<'d>>(data: R) -> Result<Vec<String>> {
    let length = data.len().map_err(|()| Error::plugin("cannot be read"))?;
    let first = data.read_bytes_at(0, length.min(8)).map_err(|()| Error::plugin("cannot be read"))?;
    if !first.starts_with(b"\x7fELF") {
        let shown: String = first.iter().map(|byte| byte.escape_ascii().to_string()).collect();
        return Err(Error::plugin(format!(
            "is no shared library: an ELF file begins with \\x7fELF, this begins with \"{shown}\""
        ))
        .hint("give the file that `cargo build` made for a crate with crate-type = [\"cdylib\"]"));
    }
    parse(data, length).map_err(|error| error.hint("copy or build the file again: it was cut off or damaged"))
}

fn parse<'d, R: ReadRef<'d>>(data: R, length: u64) -> Result<Vec<String>> {
    let damaged = |error: object::Error| Error::plugin(format!("its ELF headers cannot be read: {error}"));
    let header = FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    if header.e_type(endian) != ET_DYN {
        let found = header.e_type(endian);
        return Err(Error::plugin(format!("is an ELF file of type {found:?}, expects {ET_DYN:?} (a shared library)")));
    }
    let machine = header.e_machine(endian);
    let expected = own_machine();
    if expected.is_some_and(|expected| machine != expected) {
        return Err(Error::plugin(format!("is for ELF machine {machine:?}, expects {expected:?}"))
            .hint("build the plugin for this machine"));
    }
    let complete = |what: &str, offset: u64, size: u64| match offset.checked_add(size) {
        Some(end) if end <= length => Ok(()),
        end => Err(Error::plugin(format!(
            "is truncated: {what} ends at byte {}, the file at byte {length}",
            end.map_or("beyond 2^64".to_owned(), |end| end.to_string())
        ))),
    };
    for (i, segment) in header.program_headers(endian, data).map_err(damaged)?.iter().enumerate() {
        if segment.p_type(endian) == PT_LOAD {
            complete(&format!("segment {i}"), segment.p_offset(endian), segment.p_filesz(endian))?;
        }
    }
    let sections = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    complete("the section table", header.e_shoff(endian), sections)?;
    let sections = header.sections(endian, data).map_err(damaged)?;
    for (i, section) in sections.iter().enumerate() {
        if let Some((offset, size)) = section.file_range(endian) {
            complete(&format!("section {i}"), offset, size)?;
        }
    }
    let dynamic = sections.dynamic_table(endian, data).map_err(damaged)?;
    let needed = dynamic.iter().filter(|entry| entry.tag == DT_NEEDED).map(|entry| {
        let name = dynamic.string(entry).map_err(damaged)?;
        Ok(String::from_utf8_lossy(name).into_owned())
    });
    needed.collect()
}

/// `None` on a machine that is not in the table: then only completeness is checked.
fn own_machine() -> Option<Machine> {
    match std::env::consts::ARCH {
        "x86_64" => Some(EM_X86_64),
        "aarch64" => Some(EM_AARCH64),
        "riscv64" => Some(EM_RISCV),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_binary() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_text_file_is_refused_with_what_it_begins_with() {
        assert!(examine(&b"hello, world"[..]).unwrap_err().message().ends_with("this begins with \"hello, w\""));
        assert!(examine(&b""[..]).is_err());
    }

    #[test]
    fn a_complete_file_passes_and_every_truncation_of_it_is_refused() {
        let data = own_binary();
        let needed = examine(&data[..]).unwrap();
        assert!(!cfg!(target_os = "linux") || needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
        for length in [16, 63, 64, 1000, data.len() / 2, data.len() - 1] {
            assert!(examine(&data[..length]).is_err(), "a prefix of {length} bytes passes");
        }
    }

    #[test]
    fn another_machine_is_refused() {
        let mut data = own_binary();
        data[18] = data[18].wrapping_add(1);
        assert!(examine(&data[..]).unwrap_err().message().starts_with("is for ELF machine"));
    }
}
