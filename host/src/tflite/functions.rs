//! Functions that the reference computes in single precision for bytes without sign, where it takes integers for int8: tables made ahead.
//!
//! Exponentials are taken in double precision and rounded, so that all machines make the same tables.

use decomcam_int8::tables::{Quantised, Table};

/// A table whose index `q + 128` holds the output for the input `q`.
fn table(of: impl Fn(i32) -> i32) -> Table {
    let mut table = [0; 256];
    for (to, q) in table.iter_mut().zip(-128..) {
        *to = of(q).clamp(-128, 127) as i8;
    }
    table
}

/// A function of the real numbers, rounded to the steps of its output.
fn rounded(from: Quantised, to: Quantised, of: impl Fn(f32) -> f32) -> Table {
    let steps = 1.0 / to.scale;
    table(|q| (of(from.scale * (q - from.zero_point) as f32) * steps).round() as i32 + to.zero_point)
}

/// exp(x) in single precision.
fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// The logistic function.
pub fn logistic(from: Quantised, to: Quantised) -> Table {
    rounded(from, to, |x| 1.0 / (1.0 + exp(-x)))
}

/// The hyperbolic tangent.
pub fn tanh(from: Quantised, to: Quantised) -> Table {
    rounded(from, to, |x| f64::from(x).tanh() as f32)
}

/// From one quantisation to another, as a concatenation rescales its inputs.
pub fn rescaled(from: Quantised, to: Quantised) -> Table {
    let scale = from.scale * (1.0 / to.scale);
    // The reference reckons in bytes without sign.
    let bias = -(from.zero_point + 128) as f32 * scale;
    table(|q| (((q + 128) as f32 * scale + bias).round() as i32).saturating_add(to.zero_point))
}
