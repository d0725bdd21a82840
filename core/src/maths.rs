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

/// Square root by micromath's bit trick and two Newton steps, relative error at most 5e-6 (asserted by `tests/core/approximate.rs`); zero for zero
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

/// e^x by micromath's short series, relative error at most 3e-3 for -20..=0 (asserted by `tests/core/approximate.rs`).
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
    let mut lanes = [0.0; LANES];
    if offset == 0.0 {
        add(&mut lanes, x)
    } else {
        add_less(&mut lanes, x, offset)
    }
    tree(lanes)
}

/// Adds each x_i to its lane. A sum may be made of several runs, if all but the last are whole numbers of lanes long.
#[inline(never)]
pub(crate) fn add(lanes: &mut [f32; LANES], x: &[f32]) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    // Written out, so that the lanes are in registers also where loops are not unrolled (opt-level "s").
    let [mut l0, mut l1, mut l2, mut l3, mut l4, mut l5, mut l6, mut l7] = *lanes;
    for [x0, x1, x2, x3, x4, x5, x6, x7] in chunks {
        l0 += x0;
        l1 += x1;
        l2 += x2;
        l3 += x3;
        l4 += x4;
        l5 += x5;
        l6 += x6;
        l7 += x7;
    }
    *lanes = [l0, l1, l2, l3, l4, l5, l6, l7];
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
}

/// Adds each x_i - offset to its lane. Runs as for [`add`].
#[inline(never)]
pub(crate) fn add_less(lanes: &mut [f32; LANES], x: &[f32], offset: f32) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    // Written out as in `add`.
    let [mut l0, mut l1, mut l2, mut l3, mut l4, mut l5, mut l6, mut l7] = *lanes;
    for [x0, x1, x2, x3, x4, x5, x6, x7] in chunks {
        l0 += x0 - offset;
        l1 += x1 - offset;
        l2 += x2 - offset;
        l3 += x3 - offset;
        l4 += x4 - offset;
        l5 += x5 - offset;
        l6 += x6 - offset;
        l7 += x7 - offset;
    }
    *lanes = [l0, l1, l2, l3, l4, l5, l6, l7];
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value - offset;
    }
}

/// sum_i x_i y_i over the shorter of the two, in lane order, products rounded before they are added.
#[inline(never)]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    add_products(&mut lanes, x, y);
    tree(lanes)
}

/// Adds each product x_i y_i to its lane. Runs as for [`add_less`].
#[inline]
pub(crate) fn add_products(lanes: &mut [f32; LANES], x: &[f32], y: &[f32]) {
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    // Written out as in `add`.
    let [mut l0, mut l1, mut l2, mut l3, mut l4, mut l5, mut l6, mut l7] = *lanes;
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
    *lanes = [l0, l1, l2, l3, l4, l5, l6, l7];
    for ((lane, a), b) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += a * b;
    }
}

/// [`dot`] of `x` and `y` multiplied by powers of two beforehand, in the same order.
#[inline(never)]
pub(crate) fn dot_in_units(x: &[f32], x_unit: f32, y: &[f32], y_unit: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for (index, (a, b)) in x.iter().zip(y).enumerate() {
        if let Some(lane) = lanes.get_mut(index % LANES) {
            *lane += (a * x_unit) * (b * y_unit);
        }
    }
    tree(lanes)
}

/// Mean of x, corrected once by the mean of what it leaves: within one unit in its last place and (n / 8 + 6) 2^-24 of the mean of |x_i - mean|, of n numbers of
/// whatever scale. Infinite or NaN only if a value is.
#[inline(never)]
pub fn mean(x: &[f32]) -> f32 {
    let count = x.len() as f32;
    if let Some(first) = quotient(sum(x), count)
        && let Some(correction) = quotient(sum_less(x, first), count)
    {
        return first + correction;
    }
    mean_of_runs(x.len(), &|see| see(x))
}

/// Shows numbers to whoever sees them, in runs as for [`add`].
type Show<'s> = &'s dyn Fn(&mut dyn FnMut(&[f32]));

/// [`mean`] of `count` numbers that are shown in runs, as for [`add`], as often as wanted.
#[inline(never)]
pub(crate) fn mean_of_runs(count: usize, show: Show) -> f32 {
    let count = count as f32;
    if let Some(first) = quotient(sum_of_runs(show, 1.0, 0.0), count)
        && let Some(correction) = quotient(sum_of_runs(show, 1.0, first), count)
    {
        return first + correction;
    }
    // The same operations on numbers near one.
    let mut largest = 0.0;
    show(&mut |run| largest = greater(largest_magnitude(run), largest));
    let unit = power_of_two_unit(largest);
    let first = sum_of_runs(show, unit, 0.0) / count;
    (first + sum_of_runs(show, unit, first) / count) / unit
}

/// sum_i (unit x_i - offset)
#[inline(never)]
fn sum_of_runs(show: Show, unit: f32, offset: f32) -> f32 {
    let mut lanes = [0.0; LANES];
    show(&mut |run| {
        if unit == 1.0 {
            add_less(&mut lanes, run, offset);
        } else {
            add_less_in_unit(&mut lanes, run, unit, offset);
        }
    });
    tree(lanes)
}

/// A quotient that is neither beyond the range of `f32` nor so small that it has lost bits.
#[inline(never)]
fn quotient(sum: f32, count: f32) -> Option<f32> {
    let quotient = sum / count;
    let kept = sum == 0.0 || (quotient.is_finite() && quotient.abs() >= f32::MIN_POSITIVE);
    if kept { Some(quotient) } else { None }
}

/// Adds each unit x_i - offset to its lane. Runs as for [`add_less`].
#[inline(never)]
pub(crate) fn add_less_in_unit(lanes: &mut [f32; LANES], x: &[f32], unit: f32, offset: f32) {
    for chunk in x.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * unit - offset;
        }
    }
}

/// The mean of numbers near one in two parts: the rounded mean, and the mean of what it leaves. Subtracted one after the other they lose nothing of
/// numbers that are close to their mean.
pub(crate) fn mean_in_parts(x: &[f32]) -> [f32; 2] {
    let count = x.len() as f32;
    let high = sum(x) / count;
    [high, sum_less(x, high) / count]
}

/// Largest |x_i|; infinity if any is infinite or NaN, so that one comparison refuses both.
#[inline(never)]
pub fn largest_magnitude(x: &[f32]) -> f32 {
    // Without its sign, a float's bits order as the number does; those of infinity and NaN are above all others.
    let largest = x.iter().fold(0, |largest: i32, value| (value.abs().to_bits() as i32).max(largest));
    f32::from_bits((largest as u32).min(f32::INFINITY.to_bits()))
}

/// The power of two that brings a finite magnitude into 1..2 when multiplied by it, kept within 2^-126..2^126; 1 for zero.
/// Multiplying by it is exact unless the product underflows.
#[inline]
pub fn power_of_two_unit(magnitude: f32) -> f32 {
    power_of_two(-unit_exponent(magnitude))
}

/// Minus the exponent of [`power_of_two_unit`].
#[inline]
pub(crate) fn unit_exponent(magnitude: f32) -> i32 {
    if magnitude == 0.0 {
        return 0;
    }
    exponent(magnitude).min(126)
}

/// e with 2^e <= |x| < 2^(e + 1); -126 for subnormal numbers and zero, which have no exponent of their own.
#[inline]
pub(crate) fn exponent(x: f32) -> i32 {
    let biased = (x.to_bits() >> 23) & 0xff;
    biased.max(1) as i32 - 127
}

/// 2^exponent; zero below 2^-126, and 2^127 above that.
#[inline]
pub(crate) fn power_of_two(exponent: i32) -> f32 {
    if exponent < -126 { 0.0 } else { f32::from_bits(((exponent.min(127) + 127) as u32) << 23) }
}

/// Multiplies by 2^exponent, rounding once.
pub(crate) fn scale_by_power_of_two(x: &mut [f32], exponent: i32) {
    // In two steps where one factor would not do: the first is exact for numbers near one.
    let first = exponent.clamp(-60, 60);
    scale(x, power_of_two(first));
    if first != exponent {
        scale(x, power_of_two(exponent - first));
    }
}

/// Numbers that are added up, each with a power of two of its own: the sum is kept in the largest.
pub(crate) struct Sum<'s> {
    /// The sum, over 2^exponent.
    pub(crate) mantissas: &'s mut [f32],
    pub(crate) exponent: i32,
    empty: bool,
}

impl<'s> Sum<'s> {
    pub(crate) fn new(mantissas: &'s mut [f32]) -> Self {
        mantissas.fill(0.0);
        Self { mantissas, exponent: 0, empty: true }
    }

    /// Adds 2^exponent x, with x near one.
    pub(crate) fn add(&mut self, x: &[f32], exponent: i32) {
        // Zeros have no exponent: that of a large weight would push out what the others add up to.
        if largest_magnitude(x) == 0.0 {
            return;
        }
        if self.empty || exponent > self.exponent {
            scale(self.mantissas, power_of_two(self.exponent.saturating_sub(exponent)));
            self.exponent = exponent;
            self.empty = false;
        }
        let unit = power_of_two(exponent - self.exponent);
        for (total, value) in self.mantissas.iter_mut().zip(x) {
            *total += value * unit;
        }
    }
}

/// The value, unless it is NaN or infinite.
pub(crate) fn finite(value: f32) -> Result<f32, crate::Error> {
    if value.is_finite() { Ok(value) } else { Err(crate::Error::NonFinite) }
}

/// x scaled in place.
#[inline(never)]
pub fn scale(x: &mut [f32], factor: f32) {
    for value in x {
        *value *= factor;
    }
}
