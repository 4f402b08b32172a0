//! Exports a good manifest and, under the right name, a module whose function takes other arguments.
#![allow(unsafe_code, unreachable_pub, missing_docs, reason = "abi_stable's derive writes such code")]

use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use mimus_core::abi::macro_support::Manifest;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
pub struct Module {
    #[sabi(last_prefix_field)]
    pub call: extern "C" fn(u64) -> u64,
}

impl RootModule for ModuleRef {
    abi_stable::declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "mimus_plugin";
    const NAME: &'static str = "mimus_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

extern "C" fn call(number: u64) -> u64 {
    number
}

extern "C" fn constructor() -> RootModuleResult {
    fn make() -> ModuleRef {
        Module { call }.leak_into_prefix()
    }
    __call_root_module_loader(make)
}

static MANIFEST: Manifest = Manifest::new("rogue-layout", "0.0.0", "Model ", "unwind");

// SAFETY: nothing else in this library has the name.
#[unsafe(no_mangle)]
pub extern "C" fn mimus_plugin_manifest() -> *const Manifest {
    &raw const MANIFEST
}

// SAFETY: nothing else in this library has the name.
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    // SAFETY: `constructor` makes a `ModuleRef`.
    unsafe { LibHeader::from_constructor::<ModuleRef>(constructor, CheckTypeLayout::Yes) };
