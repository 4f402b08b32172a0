//! Everything of `abi_stable` that crosses: one module with two functions, of which the layout is checked at loading.
#![allow(unsafe_code, unreachable_pub, missing_docs, reason = "abi_stable's derive writes such code")]

use abi_stable::StableAbi;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, RootModule};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RSlice, RVec};

pub use abi_stable::library::{LibHeader, RootModuleResult};

/// The request's bytes. They belong to the caller and live as long as the call.
pub type Call<'a> = RSlice<'a, u8>;

/// The reply. Its bytes are freed by the library that allocated them, wherever it is dropped.
#[repr(C)]
#[derive(StableAbi)]
pub struct Reply {
    /// Whether `bytes` hold the result; otherwise they hold an error.
    pub ok: bool,
    /// An encoded result or an encoded [`crate::Error`].
    pub bytes: RVec<u8>,
}

/// `call(component, handle, request)`: any thread may call, at any time, several at once. Never unwinds.
pub type CallFn = extern "C" fn(u32, u64, Call<'_>) -> Reply;

/// What a library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
pub struct Module {
    #[sabi(last_prefix_field)]
    // Spelt out: the derive looks through no alias.
    pub call: extern "C" fn(u32, u64, RSlice<'_, u8>) -> Reply,
}

impl RootModule for ModuleRef {
    abi_stable::declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "mimus_plugin";
    const NAME: &'static str = "mimus_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// The module around `call`, made once in the life of a library.
pub fn module(call: CallFn) -> RootModuleResult {
    // The loader wants a function pointer without captures: the pointer to `call` is handed over through a static.
    static CALL: std::sync::OnceLock<CallFn> = std::sync::OnceLock::new();
    CALL.get_or_init(|| call);
    fn make() -> ModuleRef {
        Module { call: CALL.get().copied().unwrap_or(missing) }.leak_into_prefix()
    }
    super::export::keep_panics_quiet();
    __call_root_module_loader(make)
}

extern "C" fn missing(_: u32, _: u64, _: Call<'_>) -> Reply {
    Reply { ok: false, bytes: RVec::new() }
}

/// The header that `abi_stable` looks up.
///
/// # Safety
/// `constructor` returns what [`module`] returned.
pub const unsafe fn header(constructor: extern "C" fn() -> RootModuleResult) -> LibHeader {
    // SAFETY: `module` erases a `ModuleRef`, by the contract of this function.
    unsafe { LibHeader::from_constructor::<ModuleRef>(constructor, CheckTypeLayout::Yes) }
}
