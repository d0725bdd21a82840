//! The command `decomcam`: parse, run, exit code.

mod cli;

use clap::Parser as _;
use std::io;
use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator; this allocator gives them back, and peaks a fifth lower than the system's with two threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `clap` exits with, and what options that contradict each other or have no effect exit with: usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref() {
                Some(decomcam::Error::Options(_)) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether the reader of our output went away, as `head` does: not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
