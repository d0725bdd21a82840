//! The square root, by the processor's own instruction where libm has only integers to make it of. Both round correctly, so the bits are the same.
#![allow(unsafe_code)]

/// Square root, correctly rounded; NaN for negative numbers.
///
/// Arm with a floating-point unit: argument and result are in `s0`.
#[cfg(all(target_arch = "arm", target_abi = "eabihf", target_os = "none"))]
#[inline]
pub(crate) fn sqrt(x: f32) -> f32 {
    #[unsafe(naked)]
    extern "C" fn vsqrt(x: f32) -> f32 {
        core::arch::naked_asm!(".fpu fpv4-sp-d16", "vsqrt.f32 s0, s0", "bx lr")
    }
    vsqrt(x)
}

/// Square root, correctly rounded; NaN for negative numbers.
///
/// libm has the same instruction, but as assembly, of which a compiler cannot make four at once.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn sqrt(x: f32) -> f32 {
    use core::arch::x86_64::{_mm_cvtss_f32, _mm_set_ss, _mm_sqrt_ss};
    // SAFETY: every processor of this architecture has SSE.
    unsafe { _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))) }
}

/// Square root, correctly rounded; NaN for negative numbers.
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "arm", target_abi = "eabihf", target_os = "none"))))]
#[inline]
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}
