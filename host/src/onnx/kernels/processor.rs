//! The one place where the instructions of the processor at hand are chosen.
//!
//! Rust compiles a program for the oldest processor of its kind. The loops of a kernel are compiled several times here, and the widest version that the
//! processor can run is taken. On other architectures, and where nothing wider is found, there is the one version that runs everywhere.

use tract_onnx::tract_core::internal::*;

/// Loops that are compiled once for each set of instructions. All that they call must be inlined: a call would be compiled for the oldest processor.
pub(super) trait Work {
    /// Does the work. If `FUSED`, the processor multiplies and adds in one instruction.
    fn run<const FUSED: bool>(self);
}

/// Whether the processor multiplies and adds in one instruction.
pub(super) fn is_fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// A tensor of floats for a kernel that writes every number of it. Zeros written first would cost a kernel up to half of its time.
#[allow(
    unsafe_code,
    reason = "tract has no safe way to a tensor that is not filled first, and its own operators take this one"
)]
pub(super) fn unwritten(shape: &[usize]) -> TractResult<Tensor> {
    // SAFETY: every bit pattern is a float, and the kernels write all numbers before any is read; a test holds each kernel to that.
    unsafe { Tensor::uninitialized::<f32>(shape) }
}

/// Does the work with the widest instructions that the processor has.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "Rust has no safe call of a function that is compiled for more than the oldest processor"
)]
pub(super) fn best(work: impl Work) {
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
pub(super) fn best(work: impl Work) {
    if is_fused() { work.run::<true>() } else { work.run::<false>() }
}
