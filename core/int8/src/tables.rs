//! Functions of one number, as tables of 256: what an int8 network computes element by element is known ahead.
//!
//! Index `q + 128` holds the output for the input `q`.

use crate::fixed::{Multiplier, logistic as logistic_of, shifted_right, tanh as tanh_of};

/// What the integers of a tensor stand for: (q - zero point) scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantised {
    /// Real number of one step.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl Quantised {
    /// The integer that stands for a real number, half away from zero; saturated far beyond eight bits.
    pub fn step_of(&self, real: f32) -> i32 {
        let steps = real / self.scale;
        // `as` saturates, and what is beyond 2^24 has no fraction.
        let whole = steps as i32;
        let rest = steps - whole as f32;
        let rounded = if rest >= 0.5 {
            whole.saturating_add(1)
        } else if rest <= -0.5 {
            whole.saturating_sub(1)
        } else {
            whole
        };
        rounded.saturating_add(self.zero_point)
    }
}

/// A table of 256.
pub type Table = [i8; 256];

fn table(of: impl Fn(i32) -> i32) -> Table {
    let mut table = [0; 256];
    for (to, q) in table.iter_mut().zip(-128..) {
        *to = of(q).clamp(-128, 127) as i8;
    }
    table
}

/// From one quantisation to another. None if the ratio of the scales is out of range.
pub fn requantise(from: Quantised, to: Quantised) -> Option<Table> {
    let multiplier = Multiplier::of(f64::from(from.scale) / f64::from(to.scale))?;
    Some(table(|q| multiplier.times(q - from.zero_point).wrapping_add(to.zero_point)))
}

/// max(x, 0), requantised.
pub fn relu(from: Quantised, to: Quantised) -> Option<Table> {
    let multiplier = Multiplier::of(f64::from(from.scale) / f64::from(to.scale))?;
    Some(table(|q| multiplier.times(q - from.zero_point).wrapping_add(to.zero_point).max(to.zero_point)))
}

/// Between two real numbers, without requantising: as the reference clamps.
pub fn clamp(from: Quantised, low: f32, high: f32) -> Table {
    let (low, high) = (from.step_of(low), from.step_of(high));
    table(|q| q.min(high).max(low))
}

/// x held between two real numbers, requantised, as the reference does it for bytes without sign: these scales are divided in single precision. None if their ratio is
/// out of range.
pub fn clamp_of_bytes(from: Quantised, to: Quantised, low: f32, high: Option<f32>) -> Option<Table> {
    let multiplier = Multiplier::of(f64::from(from.scale / to.scale))?;
    let (low, high) = (to.step_of(low), high.map_or(127, |high| to.step_of(high)));
    Some(table(|q| multiplier.times(q - from.zero_point).wrapping_add(to.zero_point).min(high).max(low)))
}

/// x where it is positive, else slope x. None if a ratio of the scales is out of range.
pub fn leaky_relu(from: Quantised, to: Quantised, slope: f32) -> Option<Table> {
    let [above, below] = leaky_multipliers(from, to, slope)?;
    Some(leaky_table(from, to, above, below))
}

/// The same as the reference does it for bytes without sign: these scales are multiplied and divided in single precision.
pub fn leaky_relu_of_bytes(from: Quantised, to: Quantised, slope: f32) -> Option<Table> {
    let below = Multiplier::of(f64::from(from.scale * slope / to.scale))?;
    let above = Multiplier::of(f64::from(from.scale / to.scale))?;
    Some(leaky_table(from, to, above, below))
}

/// What numbers are multiplied by where they are positive, and where they are not.
pub fn leaky_multipliers(from: Quantised, to: Quantised, slope: f32) -> Option<[Multiplier; 2]> {
    let (first, last) = (f64::from(from.scale), f64::from(to.scale));
    Some([Multiplier::of(first / last)?, Multiplier::of(first * f64::from(slope) / last)?])
}

fn leaky_table(from: Quantised, to: Quantised, above: Multiplier, below: Multiplier) -> Table {
    table(|q| {
        let x = q - from.zero_point;
        if x >= 0 { above.times(x) } else { below.times(x) }.wrapping_add(to.zero_point)
    })
}

/// The logistic function; the output has the scale 1/256 and the zero point -128.
pub fn logistic(from: Quantised) -> Option<Table> {
    let (multiplier, radius) = four_integer_bits(from)?;
    Some(table(|q| match q - from.zero_point {
        x if x <= -radius => -128,
        x if x >= radius => 127,
        x => shifted_right(logistic_of(multiplier.times(x)), 23) - 128,
    }))
}

/// The hyperbolic tangent; the output has the scale 1/128 and the zero point 0.
pub fn tanh(from: Quantised) -> Option<Table> {
    let (multiplier, radius) = four_integer_bits(from)?;
    Some(table(|q| match q - from.zero_point {
        x if x <= -radius => -128,
        x if x >= radius => 127,
        x => shifted_right(tanh_of(multiplier.times(x)), 24),
    }))
}

/// From steps to numbers with 4 integer bits, and the steps from which these overflow.
fn four_integer_bits(from: Quantised) -> Option<(Multiplier, i32)> {
    let multiplier = Multiplier::of(f64::from(from.scale) * f64::from(1 << 27))?;
    Some((multiplier, radius(4, multiplier.shift)))
}

/// The largest number of steps that stays below 2^`bits` after a shift.
pub fn radius(bits: u32, shift: i32) -> i32 {
    let largest = ((1i64 << bits) - 1) << (31 - bits);
    // As steps are whole, dividing whole numbers gives the floor.
    match shift {
        0..=62 => largest.wrapping_shr(shift as u32).min(i64::from(i32::MAX)) as i32,
        _ => i32::MAX,
    }
}

/// x min(max(x + 3, 0), 6) / 6. None if the ratio of the scales is out of range, or if the output is coarser than a 128th of the input.
pub fn hard_swish(from: Quantised, to: Quantised) -> Option<Table> {
    let fine = (1.0f32 / 128.0) * from.scale;
    let output = Multiplier::of(f64::from(fine / to.scale))?;
    let relu = Multiplier::of(f64::from(fine / (3.0f32 / 32768.0)))?;
    if output.shift > 0 {
        return None;
    }
    let (output_value, relu_value) = (sixteen_bits(output.value), sixteen_bits(relu.value));
    Some(table(|q| {
        let x = ((q - from.zero_point) as i16).wrapping_mul(1 << 7);
        let scaled = rounded_product(x, output_value);
        let mut share = x;
        if relu.shift > 0 {
            share = saturated_shift(share, relu.shift - 1);
        }
        share = rounded_product(share, relu_value);
        if relu.shift > 0 {
            share = saturated_shift(share, 1);
        }
        if relu.shift < 0 {
            share = shifted_right(i32::from(share), relu.shift.unsigned_abs()) as i16;
        }
        let share = ((i32::from(share) + (1 << 15)) >> 1) as i16;
        let before = truncated_product(share, scaled);
        (shifted_right(i32::from(before), output.shift.unsigned_abs()) as i16).wrapping_add(to.zero_point as i16).into()
    }))
}

/// A multiplier's upper 16 bits, half up, saturated.
fn sixteen_bits(value: i32) -> i16 {
    const LIMIT: i32 = i32::MAX - (1 << 15);
    if value >= LIMIT { i16::MAX } else { ((value + (1 << 15)) >> 16) as i16 }
}

/// a b / 2^15, half up for positive products and half towards zero for negative ones, saturated.
fn rounded_product(a: i16, b: i16) -> i16 {
    let product = i32::from(a) * i32::from(b);
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    ((product + nudge) / (1 << 15)).min(i32::from(i16::MAX)) as i16
}

/// a b / 2^15, towards zero, saturated.
fn truncated_product(a: i16, b: i16) -> i16 {
    (i32::from(a) * i32::from(b) / (1 << 15)).min(i32::from(i16::MAX)) as i16
}

fn saturated_shift(x: i16, by: i32) -> i16 {
    let shifted = i64::from(x) << by.clamp(0, 47);
    shifted.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}
