//! What the arithmetic of the machine must be like for the results to have the same bits everywhere.
//!
//! The default of every machine: IEEE 754 binary32, rounded to nearest, subnormal numbers kept. Firmware can change it: on Arm the FPSCR (bit 24 flushes
//! subnormal numbers to zero, bits 22 and 23 choose the rounding), on x86-64 the MXCSR, on RISC-V `frm`; so can a compiler flag (`-ffast-math` of a C program
//! that is linked sets the former on some systems). With subnormal numbers flushed, results differ from those of other machines where
//! numbers below about 2^-78 are met.

use core::hint::black_box;

/// Whether the arithmetic is as the same bits need it: a few sums, products and quotients whose results tell the modes apart.
///
/// Call it once at start, and from each thread or task that has floating-point modes of its own.
///
/// # Cost
/// About a hundred instructions; no memory.
pub fn environment_ok() -> bool {
    let [one, third, tiny, half] = black_box([1.0_f32, 3.0, f32::MIN_POSITIVE, 0.5]);
    // Kept as results, and read as operands.
    let subnormal = black_box(tiny * half);
    let keeps = subnormal.to_bits() == 1 << 22 && black_box(subnormal + subnormal).to_bits() == tiny.to_bits();
    // Half a unit in the last place, just above and just below it, of both signs: nearest, and to even.
    let ulp = f32::EPSILON;
    let [quarter, below, above] = black_box([ulp * 0.25, ulp * 0.4375, ulp * 0.5625]);
    let ties = black_box(one + ulp * half) == 1.0 && black_box((one + ulp) + ulp * half) == 1.0 + 2.0 * ulp;
    let rounds = [(quarter, 0.0), (below, 0.0), (above, ulp)]
        .into_iter()
        .all(|(x, want)| black_box(one + x) == 1.0 + want && black_box(-one - x) == -1.0 - want);
    let divides = black_box(one / third).to_bits() == 0x3eaa_aaab && black_box(-one / third).to_bits() == 0xbeaa_aaab;
    keeps && ties && rounds && divides
}
