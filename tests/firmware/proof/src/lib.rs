//! The core linked with a panic handler that does not exist: if any input could make it panic, the images of this crate do not link.
//!
//! They are never run. Their size is the flash that the core takes.
#![no_std]

use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::AtomicUsize;

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        safe fn decomcam_core_must_not_panic() -> !;
    }
    decomcam_core_must_not_panic()
}

static SOURCE: AtomicUsize = AtomicUsize::new(0);

/// A number that the compiler knows nothing about.
pub fn any() -> usize {
    // SAFETY: a valid address.
    unsafe { SOURCE.as_ptr().read_volatile() }
}

/// A float that the compiler knows nothing about.
pub fn number() -> f32 {
    f32::from_bits(any() as u32)
}

/// A buffer of unknown length and contents.
pub fn buffer<T>() -> &'static mut [T] {
    // SAFETY: never run.
    unsafe { core::slice::from_raw_parts_mut(with_exposed_provenance_mut(any()), any()) }
}
