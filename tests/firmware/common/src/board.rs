//! What a microcontroller needs to run the program under a debugger or QEMU: semihosting, and the cost of a stage.

use crate::{Cost, Memory, Target, run};
use core::arch::asm;
use core::ffi::CStr;

/// Runs all cases and ends the emulator, with success if the core refused nothing. `clock` counts instructions.
pub fn main(clock: fn() -> u64) -> ! {
    let mut board = Board { lines: File::create(c"lines"), values: File::create(c"values"), clock };
    let done = finds_other_modes() && run(&mut Memory::new(), &mut board).is_ok();
    board.lines.close();
    board.values.close();
    exit(done)
}

/// Whether a floating-point unit in another mode is found: flushing subnormal numbers to zero, or rounding otherwise.
#[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
fn finds_other_modes() -> bool {
    let mut found = true;
    for change in [1_u32 << 24, 1 << 22, 2 << 22, 3 << 22] {
        let mode: u32;
        // SAFETY: the register is put back before anything else computes.
        unsafe {
            asm!("vmrs {}, fpscr", out(reg) mode);
            asm!("vmsr fpscr, {}", in(reg) mode | change);
        }
        found &= !decomcam_core::environment_ok();
        // SAFETY: as above.
        unsafe { asm!("vmsr fpscr, {}", in(reg) mode) };
    }
    found
}

#[cfg(not(all(target_arch = "arm", target_abi = "eabihf")))]
fn finds_other_modes() -> bool {
    true
}

struct Board {
    lines: File,
    values: File,
    clock: fn() -> u64,
}

impl Target for Board {
    fn line(&mut self, text: &[u8]) {
        self.lines.write(text);
    }

    fn values(&mut self, bytes: &[u8]) {
        self.values.write(bytes);
    }

    #[inline(never)]
    fn measured<T>(&mut self, stage: impl FnOnce() -> T) -> (T, Cost) {
        let top = stack_pointer();
        paint(top);
        let start = (self.clock)();
        let result = framed(stage);
        let instructions = (self.clock)() - start;
        let stack_bytes = deepest(top);
        let cost = Cost { instructions, stack_bytes };
        (result, cost)
    }
}

/// Keeps what a stage has on the stack out of its caller's frame, where it would not be seen.
#[inline(never)]
fn framed<T>(stage: impl FnOnce() -> T) -> T {
    stage()
}

/// Bytes below the stack pointer that are painted: more than any stage uses.
const PAINTED: usize = 16 * 1024;
const PAINT: u32 = 0xa5a5_5a5a;

#[inline(always)]
fn paint(top: usize) {
    for address in (top - PAINTED..top).step_by(4) {
        // SAFETY: below the stack pointer, in memory; no interrupt runs.
        unsafe { (address as *mut u32).write_volatile(PAINT) };
    }
}

#[inline(always)]
fn deepest(top: usize) -> usize {
    let mut address = top - PAINTED;
    // SAFETY: as in `paint`.
    while address < top && unsafe { (address as *const u32).read_volatile() } == PAINT {
        address += 4;
    }
    top - address
}

/// A file on the machine that debugs or emulates.
pub struct File(usize);

impl File {
    /// Makes it, empty.
    pub fn create(name: &CStr) -> Self {
        const OPEN: usize = 0x01;
        const WRITE_BINARY: usize = 5;
        let address = name.as_ptr().expose_provenance();
        Self(call_with(OPEN, [address, WRITE_BINARY, name.count_bytes()]))
    }

    /// Adds bytes at its end; a machine that refuses ends the program.
    pub fn write(&self, bytes: &[u8]) {
        const WRITE: usize = 0x05;
        let address = bytes.as_ptr().expose_provenance();
        if call_with(WRITE, [self.0, address, bytes.len()]) > 0 {
            exit(false);
        }
    }

    /// Ends it.
    pub fn close(&self) {
        const CLOSE: usize = 0x02;
        call_with(CLOSE, [self.0, 0, 0]);
    }
}

/// Ends the emulator.
pub fn exit(success: bool) -> ! {
    const EXIT: usize = 0x18;
    const STOPPED: usize = 0x20026;
    const ERROR: usize = 0x20023;
    loop {
        if cfg!(target_pointer_width = "64") {
            call_with(EXIT, [STOPPED, usize::from(!success), 0]);
        } else {
            call(EXIT, if success { STOPPED } else { ERROR });
        }
    }
}

/// A semihosting call whose parameter is the address of a block.
fn call_with(operation: usize, block: [usize; 3]) -> usize {
    call(operation, block.as_ptr().expose_provenance())
}

/// A semihosting call.
#[cfg(target_arch = "arm")]
fn call(operation: usize, parameter: usize) -> usize {
    let mut result = operation;
    // SAFETY: the debugger reads the block and the memory it names, and changes nothing but r0.
    unsafe { asm!("bkpt 0xab", inout("r0") result, in("r1") parameter, options(nostack)) };
    result
}

/// A semihosting call: the three instructions, uncompressed, are its mark.
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
fn call(operation: usize, parameter: usize) -> usize {
    let mut result = operation;
    // SAFETY: the debugger reads the block and the memory it names, and changes nothing but a0.
    unsafe {
        asm!(
            ".option push",
            ".option norvc",
            ".balign 16", // the three must lie in one page
            "slli zero, zero, 0x1f",
            "ebreak",
            "srai zero, zero, 7",
            ".option pop",
            inout("a0") result,
            in("a1") parameter,
            options(nostack),
        );
    }
    result
}

/// A semihosting call.
#[cfg(target_arch = "aarch64")]
fn call(operation: usize, parameter: usize) -> usize {
    let mut result = operation;
    // SAFETY: the debugger reads the block and the memory it names, and changes nothing but x0.
    unsafe { asm!("hlt 0xf000", inout("x0") result, in("x1") parameter, options(nostack)) };
    result
}

#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
#[inline(always)]
fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack)) };
    pointer
}

#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
#[inline(always)]
fn stack_pointer() -> usize {
    let pointer;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack)) };
    pointer
}

/// Text to the console of the machine that debugs or emulates.
pub struct Console;

impl core::fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        const WRITE_CHARACTER: usize = 0x03;
        for byte in text.bytes() {
            call(WRITE_CHARACTER, (&raw const byte).expose_provenance());
        }
        Ok(())
    }
}
