//! The command `decomcam`: parse, run, exit code.

mod cli;

use clap::Parser as _;
use std::ffi::{c_int, c_long};
use std::io;
use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator. This allocator returns them to the system: with two threads the peak is a fifth lower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of wrong usage: what `clap` refuses, and options that contradict each other or have no effect.
const USAGE: u8 = 2;

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

fn main() -> ExitCode {
    keep_freed_memory_a_while();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(usage) = error.downcast_ref::<clap::Error>() {
                usage.exit();
            }
            cli::complain(&error);
            match error.downcast_ref() {
                Some(decomcam::Error::Options(_)) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether the reader of our output stopped reading, as `head` does. That is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
