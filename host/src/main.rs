//! The command `decomcam`.

mod cli;

use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator. This allocator returns them to the system: with two threads the peak is a fifth lower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(cli::main(std::env::args_os()))
}
