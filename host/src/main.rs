//! The command `decomcam`.

mod cli;
mod heap;

use std::process::ExitCode;

#[global_allocator]
static HEAP: heap::Heap = heap::Heap;

fn main() -> ExitCode {
    heap::keep_freed_memory_a_while();
    cli::GIVE_MEMORY_BACK.set(heap::give_memory_back).ok();
    ExitCode::from(cli::main(std::env::args_os()))
}
