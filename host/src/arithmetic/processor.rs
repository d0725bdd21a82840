//! The one place where the instructions of the processor at hand are chosen.
//!
//! Rust compiles a program for the oldest processor of its kind. The loops of a kernel are compiled several times here, and the widest version that the
//! processor can run is taken. On other architectures, and where nothing wider is found, there is the one version that runs everywhere.

/// Loops that are compiled once for each set of instructions. All that they call must be inlined: a call would be compiled for the oldest processor.
pub(crate) trait Work {
    /// Does the work. If `FUSED`, the processor multiplies and adds in one instruction.
    fn run<const FUSED: bool>(self);
}

/// Work whose products are rounded before they are added, whatever the processor can do: the core's arithmetic.
pub(crate) struct Rounded<W>(pub(crate) W);

impl<W: Work> Work for Rounded<W> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        self.0.run::<false>();
    }
}

/// Whether the processor multiplies and adds in one instruction.
pub(crate) fn is_fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// Does the work with the widest instructions that the processor has.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "Rust has no safe call of a function that is compiled for more than the oldest processor"
)]
pub(crate) fn best(work: impl Work) {
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
    fn avx512(work: impl Work) {
        work.run::<true>();
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2(work: impl Work) {
        work.run::<true>();
    }

    if !is_fused() {
        work.run::<false>();
    } else if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the processor has what the function is compiled for, AVX2, FMA, AVX-512F and AVX-512VL, as has just been asked.
        unsafe { avx512(work) }
    } else {
        // SAFETY: the processor has what the function is compiled for, AVX2 and FMA, as `is_fused` has just said.
        unsafe { avx2(work) }
    }
}

/// Does the work. There is one version only.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn best(work: impl Work) {
    if is_fused() { work.run::<true>() } else { work.run::<false>() }
}
