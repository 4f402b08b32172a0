//! Ends the process while the loader runs its initialisers, before anything of it can be called.
#![allow(unsafe_code, reason = "an initialiser is placed by its section")]

// SAFETY: the loader calls the functions of this section once, without arguments that this one would read.
#[unsafe(link_section = ".init_array")]
#[used]
static AT_LOAD: extern "C" fn() = abort;

extern "C" fn abort() {
    std::process::abort();
}
