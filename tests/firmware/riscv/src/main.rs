//! The program on RISC-V: RV32 without a floating-point unit, RV64 with one.
#![no_std]
#![no_main]

use common::board;
use core::arch::asm;

#[riscv_rt::entry]
fn main() -> ! {
    board::main(instructions)
}

/// The cycle counter, which counts instructions under `-icount`. Its upper half may change while the lower half is read.
#[cfg(target_arch = "riscv64")]
fn instructions() -> u64 {
    let count;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, mcycle", out(reg) count, options(nomem, nostack)) };
    count
}

/// The same in two halves.
#[cfg(target_arch = "riscv32")]
fn instructions() -> u64 {
    loop {
        let (high, low, again): (u32, u32, u32);
        // SAFETY: reads registers.
        unsafe {
            asm!("csrr {}, mcycleh", "csrr {}, mcycle", "csrr {}, mcycleh",
                out(reg) high, out(reg) low, out(reg) again, options(nomem, nostack));
        }
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    board::exit(false)
}
