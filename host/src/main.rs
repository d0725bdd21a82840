//! The command `decomcam`: parse, run, exit code.

mod cli;

use clap::Parser as _;
use std::io;
use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator. This allocator returns them to the system: with two threads the peak is a fifth lower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of wrong usage: what `clap` refuses, and options that contradict each other or have no effect.
const USAGE: u8 = 2;

fn main() -> ExitCode {
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
