//! The check of the machine's arithmetic says what the modes are.

use decomcam_core::environment_ok;

#[test]
fn the_default_is_right() {
    assert!(environment_ok());
}

/// With the mode bits of the MXCSR changed: flush to zero, denormals are zero, and the three other ways to round.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[test]
#[allow(unsafe_code, reason = "the register has no safe interface")]
fn other_modes_are_found() {
    use core::arch::asm;
    let mut mode = 0_u32;
    // SAFETY: reads and writes the control register, which is put back before anything but the check runs.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut mode);
        for change in [1 << 15, 1 << 6, 1 << 13, 2 << 13, 3 << 13] {
            let changed = mode | change;
            asm!("ldmxcsr [{}]", in(reg) &raw const changed);
            let found = environment_ok();
            asm!("ldmxcsr [{}]", in(reg) &raw const mode);
            assert!(!found, "MXCSR with {change:#x}");
        }
    }
    assert!(environment_ok());
}
