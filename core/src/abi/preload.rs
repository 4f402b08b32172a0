//! Opens the native libraries of a plugin before it, by their absolute paths: so it needs no search path, and gets those that were checked.
#![allow(unsafe_code, reason = "opening a library runs its code")]

use crate::error::{Error, Result, innermost};
use crate::native::{self, Found, KNOWN, Known};

/// The native libraries in native folders that a plugin with these `needed` libraries opens, checked. One that lies in no native folder is
/// left to the system's search.
pub(super) fn natives(needed: &[String]) -> Result<Vec<Found>> {
    let mut natives = Vec::new();
    for known in KNOWN.iter().filter(|known| known.own.iter().any(|own| needed.iter().any(|name| name == own))) {
        if let Some(found) = native::find(known.name)? {
            found.check()?;
            natives.push(found);
        }
    }
    Ok(natives)
}

/// Opens them for good and for all, since the names in a plugin are resolved among what is open already.
#[cfg(unix)]
pub(super) fn open(natives: &[Found]) -> Result<()> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    for (found, file) in natives.iter().flat_map(|found| found.known.own.iter().map(move |file| (found, file))) {
        // SAFETY: initialisers of the library run. It is whole, of the version that is pinned, and not writable by others.
        let library = unsafe { Library::open(Some(found.path(file)), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| {
            Error::backend(format!("lib/{file} cannot be opened: {}", innermost(&error)))
                .with("native library", found.folder.display())
                .hint("a library that it needs may be missing: `ldd` lists them")
        })?;
        std::mem::forget(library);
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn open(_: &[Found]) -> Result<()> {
    Ok(())
}

/// The sentence for a plugin that could not be opened because of an absent native library; `None` if `reason`, the text of `dlopen`,
/// gives another cause.
pub(super) fn missing(reason: &str) -> Option<Error> {
    let names = |known: &&Known| {
        known.own.iter().any(|own| reason.starts_with(&format!("{own}: cannot open shared object file")))
    };
    KNOWN.iter().find(names).map(Known::missing)
}
