//! The one place where the instructions of the processor at hand are chosen.
//!
//! Rust compiles a program for the oldest processor of its kind. The loops of a kernel are compiled several times here, and the widest version that the
//! processor can run is taken. On other architectures, and where nothing wider is found, there is the one version that runs everywhere.

use std::marker::PhantomData;

/// Loops that are compiled once for each set of instructions. All that they call must be inlined: a call would be compiled for the oldest processor.
pub(crate) trait Work {
    /// Does the work with the instructions of P.
    fn run<P: Processor>(self);
}

/// A set of instructions. The types are known to [`best`] alone, which gives each only to processors that have the instructions.
pub(crate) trait Processor {
    /// Whether to multiply and add in one instruction.
    const FUSED: bool;

    /// Does some of the work in a function of its own, of the same instructions: a compiler that sees too much at a time no longer keeps sums in registers.
    fn apart(work: impl Work);
}

/// Work whose products are rounded before they are added, whatever the processor can do: the core's arithmetic.
pub(crate) struct Rounded<W>(pub(crate) W);

impl<W: Work> Work for Rounded<W> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        self.0.run::<Rounding<P>>();
    }
}

/// A processor, without instructions that multiply and add.
struct Rounding<P>(PhantomData<P>);

impl<P: Processor> Processor for Rounding<P> {
    const FUSED: bool = false;

    #[inline(always)]
    fn apart(work: impl Work) {
        P::apart(Rounded(work));
    }
}

/// The one version that runs everywhere.
struct Oldest;

impl Processor for Oldest {
    const FUSED: bool = cfg!(target_arch = "aarch64");

    #[inline(never)]
    fn apart(work: impl Work) {
        work.run::<Self>();
    }
}

/// Whether the processor multiplies and adds in one instruction.
pub(crate) fn is_fused() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return Oldest::FUSED;
}

/// Does the work with the widest instructions that the processor has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn best(work: impl Work) {
    if !is_fused() {
        Oldest::apart(work);
    } else if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        wide::Avx512::apart(work);
    } else {
        wide::Avx2::apart(work);
    }
}

/// Does the work. There is one version only.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn best(work: impl Work) {
    Oldest::apart(work);
}

/// Instructions that not every processor has.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "Rust has no safe call of a function that is compiled for more than the oldest processor"
)]
mod wide {
    use super::{Processor, Work};

    pub(super) struct Avx512;

    impl Processor for Avx512 {
        const FUSED: bool = true;

        #[inline(always)]
        fn apart(work: impl Work) {
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
            #[inline(never)]
            fn run(work: impl Work) {
                work.run::<Avx512>();
            }
            // SAFETY: `best` has asked the processor for AVX2, FMA, AVX-512F and AVX-512VL before it named this type, and nobody else can name it.
            unsafe { run(work) }
        }
    }

    pub(super) struct Avx2;

    impl Processor for Avx2 {
        const FUSED: bool = true;

        #[inline(always)]
        fn apart(work: impl Work) {
            #[target_feature(enable = "avx2,fma")]
            #[inline(never)]
            fn run(work: impl Work) {
                work.run::<Avx2>();
            }
            // SAFETY: as above, of AVX2 and FMA.
            unsafe { run(work) }
        }
    }
}

/// Brings the vector registers into the state that code for the oldest processor expects. tract's kernels leave their upper halves in use, and then such code, which
/// is all but the loops of [`Work`], takes up to three times as long until somebody does this: on AMD's Zen 4 the core's decomposition 20 ms instead of 6.
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "Rust has no safe call of a function that is compiled for more than the oldest processor"
)]
pub(crate) fn settle() {
    #[target_feature(enable = "avx")]
    fn clear() {
        std::arch::x86_64::_mm256_zeroupper();
    }

    if is_x86_feature_detected!("avx") {
        // SAFETY: the processor has what the function is compiled for, AVX, as has just been asked.
        unsafe { clear() }
    }
}

/// There is nothing to do.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn settle() {}
