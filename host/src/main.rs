//! The command `decomcam`.

mod cli;

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator. This allocator returns them to the system: with two threads the peak is a fifth lower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds for which freed memory is kept, as long as `MIMALLOC_PURGE_DELAY` says nothing else. A pass of the network frees and takes tens of megabytes,
/// some ten times a second: to fetch each page from the system anew took a fifth of the pass.
const PURGE_DELAY: c_long = 500;

/// Tells the allocator so.
#[allow(unsafe_code, reason = "mimalloc's options are functions of C")]
fn keep_freed_memory_a_while() {
    unsafe extern "C" {
        fn mi_option_set_default(option: c_int, value: c_long);
    }
    /// `mi_option_purge_delay` of mimalloc's header, version 2.
    const OPTION: c_int = 15;
    // SAFETY: the allocator that is linked has this function, which stores a number and may be called at any time.
    unsafe { mi_option_set_default(OPTION, PURGE_DELAY) }
}

/// Gives freed memory back to the system now.
#[allow(unsafe_code, reason = "mimalloc has no safe interface for this")]
fn give_memory_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: the allocator that is linked has this function, which may be called at any time and by any thread.
    unsafe { mi_collect(true) }
}

fn main() -> ExitCode {
    keep_freed_memory_a_while();
    cli::GIVE_MEMORY_BACK.set(give_memory_back).ok();
    ExitCode::from(cli::main(std::env::args_os()))
}
