//! The few numeric kernels that everything else is made of, each with one fixed order of operations.
//!
//! Sums run over [`LANES`] independent lanes: element `i` goes to lane `i % LANES`, and the lanes are added as a tree. A compiler may put the lanes
//! into vector registers of any width, or into none: the additions, and so the bits, are the same.

/// Independent partial sums of every reduction.
pub const LANES: usize = 8;

/// Spacing of `f32` just above 1, 2^-23.
pub const EPSILON: f32 = f32::EPSILON;

/// Correctly rounded square root; NaN for negative numbers.
#[cfg(not(feature = "micromath"))]
#[inline]
pub fn sqrt(x: f32) -> f32 {
    crate::sqrt::sqrt(x)
}

/// Square root by micromath's bit trick and two Newton steps, relative error at most 5e-6 (asserted by `tests/approximate.rs`); zero for zero
/// and below.
#[cfg(feature = "micromath")]
#[inline]
pub fn sqrt(x: f32) -> f32 {
    if x <= 0.0 {
        return 0.0;
    }
    let half = 0.5 * x;
    let mut y = micromath::F32Ext::invsqrt(x);
    y *= 1.5 - half * y * y;
    y *= 1.5 - half * y * y;
    x * y
}

/// e^x, within one unit in the last place (libm).
#[cfg(not(feature = "micromath"))]
#[inline]
pub fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// e^x by micromath's short series, relative error at most 3e-3 for -20..=0 (asserted by `tests/approximate.rs`).
#[cfg(feature = "micromath")]
#[inline]
pub fn exp(x: f32) -> f32 {
    micromath::F32Ext::exp(x)
}

/// The greater of two numbers, the second if they are equal or either is NaN. `f32::max` leaves open which of -0 and +0 it gives: targets differ.
#[inline]
pub fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The lesser of two numbers, the second if they are equal or either is NaN. See [`greater`].
#[inline]
pub fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Adds the lanes as a tree.
#[inline]
pub(crate) fn tree(l: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = l;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// sum_i x_i, in lane order.
#[inline]
pub fn sum(x: &[f32]) -> f32 {
    sum_less(x, 0.0)
}

/// sum_i (x_i - offset), in lane order.
#[inline(never)]
fn sum_less(x: &[f32], offset: f32) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value - offset;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value - offset;
    }
    tree(lanes)
}

/// sum_i x_i y_i over the shorter of the two, in lane order, products rounded before they are added.
#[inline]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    // Written out, so that the lanes are in registers also where loops are not unrolled (opt-level "s").
    let [mut l0, mut l1, mut l2, mut l3, mut l4, mut l5, mut l6, mut l7] = [0.0; LANES];
    for ([a0, a1, a2, a3, a4, a5, a6, a7], [b0, b1, b2, b3, b4, b5, b6, b7]) in x_chunks.iter().zip(y_chunks) {
        l0 += a0 * b0;
        l1 += a1 * b1;
        l2 += a2 * b2;
        l3 += a3 * b3;
        l4 += a4 * b4;
        l5 += a5 * b5;
        l6 += a6 * b6;
        l7 += a7 * b7;
    }
    let mut lanes = [l0, l1, l2, l3, l4, l5, l6, l7];
    for ((lane, a), b) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += a * b;
    }
    tree(lanes)
}

/// [`dot`] of `x` and `y` multiplied by powers of two beforehand, in the same order.
pub(crate) fn dot_in_units(x: &[f32], x_unit: f32, y: &[f32], y_unit: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(x).zip(y) {
            *lane += (a * x_unit) * (b * y_unit);
        }
    }
    tree(lanes)
}

/// Mean of x, corrected once by the mean of what it leaves: within two units in the last place of the largest |x_i|, however long x is.
#[inline]
pub fn mean(x: &[f32]) -> f32 {
    let count = x.len() as f32;
    let first = sum(x) / count;
    first + sum_less(x, first) / count
}

/// Largest |x_i|; infinity if any is infinite or NaN, so that one comparison refuses both.
#[inline(never)]
pub fn largest_magnitude(x: &[f32]) -> f32 {
    // Without its sign, a float's bits order as the number does; those of infinity and NaN are above all others.
    let largest = x.iter().fold(0, |largest, value| value.abs().to_bits().max(largest));
    f32::from_bits(largest.min(f32::INFINITY.to_bits()))
}

/// The power of two that brings a finite magnitude into 1..2 when multiplied by it, kept within 2^-126..2^126; 1 for zero.
/// Multiplying by it is exact unless the product underflows.
#[inline]
pub fn power_of_two_unit(magnitude: f32) -> f32 {
    if magnitude == 0.0 {
        return 1.0;
    }
    // A subnormal has no exponent of its own: 2^126 is as near as one exact factor gets.
    let exponent = ((magnitude.to_bits() >> 23) & 0xff).clamp(1, 253);
    f32::from_bits((254 - exponent) << 23)
}

/// x scaled in place.
#[inline(never)]
pub fn scale(x: &mut [f32], factor: f32) {
    for value in x {
        *value *= factor;
    }
}
