//! The program on AArch64 without an operating system: QEMU's "virt" board, Cortex-A53.
#![no_std]
#![no_main]

use common::board;
use core::arch::{asm, global_asm};

// The floating-point unit is off at first, and the memory behind the image is zero.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "mov x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "isb",
    "ldr x0, =_stack_top",
    "mov sp, x0",
    "b {main}",
    main = sym main,
);

extern "C" fn main() -> ! {
    board::main(instructions)
}

/// The generic timer. Under `-icount shift=0` an instruction takes one nanosecond, and a tick of 62.5 MHz sixteen.
fn instructions() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks * 16
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    board::exit(false)
}
