//! The plugin boundary: what a library exports, how one is opened without trusting it, and where libraries are looked for.
//!
//! This folder is the only place of the crate with `unsafe` and with types of `abi_stable`. A library goes through these steps, each
//! with its own error:
//!
//! 1. `permissions`: neither the file nor its folder is writable by everyone;
//! 2. `lock`: its SHA-256 is the one in the lock, where there is one;
//! 3. `elf`: it is a complete ELF object for this machine (a truncated one would kill the process);
//! 4. `native`: the native libraries that it needs are whole and of the right version, where they lie in a native folder;
//! 5. `probe`: a short-lived child process survives the following steps;
//! 6. `preload`: these native libraries are opened;
//! 7. `manifest`: one C symbol gives a static description before any Rust type crosses;
//! 8. `layout`: `abi_stable` compares the layout of the module;
//! 9. `self-test`: every component describes itself.
//!
//! Afterwards requests and replies cross as bytes (`message`), panics are contained on the plugin's side, and graphs are verified
//! on the host's. Libraries are never closed, so that nothing depends on the order in which things are dropped.

mod discovery;
mod export;
mod import;
mod library;
mod manifest;
mod message;
mod preload;
mod probe;
mod types;

pub use discovery::{Entry, Listed, Origin, Registry, Search};
pub use export::Component;
pub use library::Library;
pub use manifest::{ABI_EPOCH, ManifestInfo};
pub use probe::Prober;

#[doc(hidden)]
pub mod macro_support {
    //! What [`plugin!`](crate::plugin!) expands to; not for direct use.

    pub use super::export::dispatch;
    pub use super::manifest::{Manifest, Text};
    pub use super::types::{Call, LibHeader, Reply, RootModuleResult, header, module};
}

/// Exports components from a `cdylib`: `plugin! { Model(Memae), Attention(Sca) }`.
///
/// Each entry is a variant of [`Component`](crate::abi::Component) and a constant expression of a type that implements the trait of
/// that name. Use it once in a library, at the crate's root. The crate needs no dependency but `mimus-core` and may forbid unsafe code.
#[macro_export]
macro_rules! plugin {
    ($($kind:ident($component:expr)),+ $(,)?) => {
        const _: () = {
            static COMPONENTS: &[$crate::abi::Component] = &[$($crate::abi::Component::$kind(&$component)),+];

            static MANIFEST: $crate::abi::macro_support::Manifest = $crate::abi::macro_support::Manifest::new(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                concat!($(stringify!($kind), " "),+),
                if cfg!(panic = "unwind") { "unwind" } else { "abort" },
            );

            extern "C" fn call(
                component: u32,
                handle: u64,
                request: $crate::abi::macro_support::Call<'_>,
            ) -> $crate::abi::macro_support::Reply {
                $crate::abi::macro_support::dispatch(COMPONENTS, component, handle, request)
            }

            extern "C" fn constructor() -> $crate::abi::macro_support::RootModuleResult {
                $crate::abi::macro_support::module(call)
            }

            // SAFETY: the symbol's name is ours alone: nothing else in a plugin defines it.
            #[unsafe(no_mangle)]
            pub extern "C" fn mimus_plugin_manifest() -> *const $crate::abi::macro_support::Manifest {
                &raw const MANIFEST
            }

            // SAFETY: the name is the one that abi_stable =0.11.3 looks up, and nothing else in a plugin defines it.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi::macro_support::LibHeader =
                // SAFETY: `constructor` returns what `module` made.
                unsafe { $crate::abi::macro_support::header(constructor) };
        };
    };
}
