//! The program on Cortex-M, with or without a floating-point unit.
#![no_std]
#![no_main]

use common::board;

#[cortex_m_rt::entry]
fn main() -> ! {
    // The Cortex-M55's board has other timers: it shows the bits, and does not count.
    if cfg!(feature = "an547") {
        board::main(|| 0)
    }
    // SAFETY: registers of the timer; nothing else uses it.
    unsafe {
        TIMER_VALUE.write_volatile(u32::MAX);
        TIMER_RELOAD.write_volatile(u32::MAX);
        TIMER_CONTROL.write_volatile(1);
    }
    board::main(instructions)
}

/// The first timer of the CMSDK (Arm's Cortex-M System Design Kit), which counts down: its address, and nanoseconds a tick.
const TIMER: (usize, u64) = if cfg!(feature = "an505") { (0x5000_0000, 50) } else { (0x4000_0000, 40) };
const TIMER_CONTROL: *mut u32 = TIMER.0 as *mut u32;
const TIMER_VALUE: *mut u32 = (TIMER.0 + 4) as *mut u32;
const TIMER_RELOAD: *mut u32 = (TIMER.0 + 8) as *mut u32;

/// Under `-icount shift=0` an instruction takes one nanosecond: a tick is 40 or 50 of them, and it takes 171,000 million before the timer wraps.
fn instructions() -> u64 {
    // SAFETY: a register of the timer.
    let left = unsafe { TIMER_VALUE.read_volatile() };
    u64::from(u32::MAX - left) * TIMER.1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    board::exit(false)
}
