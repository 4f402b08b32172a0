//! The first thing that is read of a library: a static C structure, before any Rust type crosses.
#![allow(unsafe_code, reason = "a foreign library hands over a raw pointer")]

use std::fmt;

use crate::error::{Error, Result};

/// Raised whenever something in this folder changes so that libraries of before cannot be used.
pub const ABI_EPOCH: u32 = 1;

/// First bytes of every manifest.
const MAGIC: [u8; 8] = *b"MIMUS\0\x01\n";

/// Longer texts are taken for garbage.
const LONGEST_TEXT: usize = 4096;

/// A text in the library's static memory, UTF-8, without terminator.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    start: *const u8,
    length: usize,
}

impl Text {
    const fn new(text: &'static str) -> Self {
        Self { start: text.as_ptr(), length: text.len() }
    }
}

/// What the C function `mimus_plugin_manifest` returns a pointer to. Lives as long as the library; anyone may read it.
///
/// Frozen: magic, epoch and size keep their places in every epoch; other fields may change with the epoch.
#[repr(C)]
pub struct Manifest {
    magic: [u8; 8],
    epoch: u32,
    size: u32,
    name: Text,
    version: Text,
    kinds: Text,
    rustc: Text,
    target: Text,
    core: Text,
    panic: Text,
}

// SAFETY: all pointers lead to immutable static texts.
unsafe impl Sync for Manifest {}

impl Manifest {
    /// The manifest of a library that is compiled now: `panic` is the strategy of its panics, `unwind` or `abort`.
    pub const fn new(name: &'static str, version: &'static str, kinds: &'static str, panic: &'static str) -> Self {
        Self {
            magic: MAGIC,
            epoch: ABI_EPOCH,
            size: size_of::<Self>() as u32,
            name: Text::new(name),
            version: Text::new(version),
            kinds: Text::new(kinds),
            rustc: Text::new(env!("MIMUS_RUSTC")),
            target: Text::new(env!("MIMUS_TARGET")),
            core: Text::new(env!("CARGO_PKG_VERSION")),
            panic: Text::new(panic),
        }
    }
}

/// The manifest of an opened library, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    /// The plugin's package name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Kinds of its components, separated by spaces.
    pub kinds: String,
    /// The compiler that built it.
    pub rustc: String,
    /// The target that it was built for.
    pub target: String,
    /// The version of `mimus-core` that it was built with.
    pub core: String,
}

impl fmt::Display for ManifestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (mimus-core {}, {}, {})", self.name, self.version, self.core, self.rustc, self.target)
    }
}

/// Reads and judges the manifest behind `pointer`.
///
/// # Safety
/// `pointer` is null, or what a library's `mimus_plugin_manifest` returned while the library stays open.
///
/// # Errors
/// A sentence with the value found and the value expected.
pub(super) unsafe fn read(pointer: *const Manifest) -> Result<ManifestInfo> {
    if pointer.is_null() {
        return Err(Error::plugin("its manifest is a null pointer").hint("export components with mimus_core::plugin!"));
    }
    // SAFETY: by contract the pointer leads to at least the frozen head, which every epoch has.
    let (magic, epoch, size) = unsafe { ((*pointer).magic, (*pointer).epoch, (*pointer).size) };
    if magic != MAGIC {
        return Err(Error::plugin(format!("its manifest begins with {magic:?}, expects {MAGIC:?}")));
    }
    if epoch != ABI_EPOCH {
        let message = format!("it was built for ABI epoch {epoch}, this Mimus has ABI epoch {ABI_EPOCH}");
        return Err(Error::plugin(message).hint("rebuild the plugin with the mimus-core of this Mimus"));
    }
    let expected = size_of::<Manifest>() as u32;
    if size != expected {
        return Err(Error::plugin(format!("its manifest has {size} bytes, expects {expected}"))
            .hint("rebuild the plugin with the mimus-core of this Mimus"));
    }
    // SAFETY: same epoch and size, so that it is our structure; it is static and immutable.
    let manifest = unsafe { &*pointer };
    let panic = text("panic", manifest.panic)?;
    if panic != "unwind" {
        let message = format!("it was built with panic = \"{panic}\", expects \"unwind\": one panic would end the run");
        return Err(Error::plugin(message).hint("remove `panic = \"abort\"` from the plugin's profile and rebuild it"));
    }
    let info = ManifestInfo {
        name: text("name", manifest.name)?,
        version: text("version", manifest.version)?,
        kinds: text("kinds", manifest.kinds)?.trim().to_lowercase(),
        rustc: text("rustc", manifest.rustc)?,
        target: text("target", manifest.target)?,
        core: text("core", manifest.core)?,
    };
    if info.target != env!("MIMUS_TARGET") {
        let message = format!("it was built for {}, this Mimus runs on {}", info.target, env!("MIMUS_TARGET"));
        return Err(Error::plugin(message).hint("rebuild the plugin for this target"));
    }
    Ok(info)
}

fn text(field: &str, text: Text) -> Result<String> {
    if text.start.is_null() || text.length > LONGEST_TEXT {
        return Err(Error::plugin(format!("its manifest's field `{field}` is no text")));
    }
    // SAFETY: not null, and the epoch's contract says that `length` bytes of static memory follow.
    let bytes = unsafe { std::slice::from_raw_parts(text.start, text.length) };
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::plugin(format!("its manifest's field `{field}` is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn read_static(manifest: &'static Manifest) -> Result<ManifestInfo> {
        // SAFETY: a static of our own.
        unsafe { read(manifest) }
    }

    #[test]
    fn the_layout_of_this_epoch_is_frozen() {
        let offsets = [
            offset_of!(Manifest, magic),
            offset_of!(Manifest, epoch),
            offset_of!(Manifest, size),
            offset_of!(Manifest, name),
            offset_of!(Manifest, version),
            offset_of!(Manifest, kinds),
            offset_of!(Manifest, rustc),
            offset_of!(Manifest, target),
            offset_of!(Manifest, core),
            offset_of!(Manifest, panic),
            size_of::<Manifest>(),
        ];
        assert_eq!(ABI_EPOCH, 1, "a new epoch: write its layout below");
        assert_eq!(offsets, [0, 8, 12, 16, 32, 48, 64, 80, 96, 112, 128]);
    }

    #[test]
    fn another_epoch_is_refused_with_both_numbers() {
        static FOREIGN: Manifest = Manifest { epoch: 999, ..Manifest::new("a", "1", "Model ", "unwind") };
        let error = read_static(&FOREIGN).unwrap_err();
        assert_eq!(error.message(), "it was built for ABI epoch 999, this Mimus has ABI epoch 1");
    }

    #[test]
    fn aborting_panics_are_refused_and_a_good_manifest_is_read() {
        static ABORTS: Manifest = Manifest::new("a", "1", "Model ", "abort");
        assert!(read_static(&ABORTS).unwrap_err().message().contains("panic = \"abort\""));
        static GOOD: Manifest = Manifest::new("a", "1", "Model Head ", "unwind");
        assert_eq!(read_static(&GOOD).unwrap().kinds, "model head");
    }
}
