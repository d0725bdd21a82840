//! Loops over many numbers, compiled for the widest instructions that the processor at hand has.
//!
//! [`processor`] is the one place where these are chosen; [`products`] multiplies matrices, [`rows`] a vector with one, [`lanes`] sums in the order of the core.

pub(crate) mod lanes;
pub(crate) mod processor;
pub(crate) mod products;
pub(crate) mod rows;

/// min(max(value, low), high) in two instructions; `low` if the value is not a number.
#[inline(always)]
pub(crate) fn clamped(value: f32, low: f32, high: f32) -> f32 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}
