//! One vector times a matrix of weights, which is read once, row by row, as it lies in memory.
//!
//! Every sum runs over the rows in their order, starting from zero, with fused multiply-add if the processor has it; then come bias and clamp. The other way round,
//! where each row makes one number, [`super::lanes`] sums.

use super::clamped;
use super::processor::{Processor, Work};

/// Rows whose products are added at the same time, so that a sum is fetched and stored once for all of them.
const ROWS: usize = 8;

/// `output[j] = clamp(sum over k of input[k] weights[k][j] + bias[j])`.
pub(crate) struct Mix<'a> {
    pub(crate) input: &'a [f32],
    /// From the first number that counts on; rows of it are `pitch` apart, and as long as the output.
    pub(crate) weights: &'a [f32],
    pub(crate) pitch: usize,
    pub(crate) finish: Finish<'a>,
    pub(crate) output: &'a mut [f32],
}

/// What becomes of sums.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// One number for each sum.
    pub(crate) bias: &'a [f32],
    pub(crate) low: f32,
    pub(crate) high: f32,
}

impl Finish<'_> {
    /// Adds the bias and clamps.
    #[inline(always)]
    pub(crate) fn apply(self, output: &mut [f32]) {
        for (sum, bias) in output.iter_mut().zip(self.bias) {
            *sum = clamped(*sum + bias, self.low, self.high);
        }
    }
}

impl Work for Mix<'_> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let Self { input, weights, pitch, finish, output } = self;
        output.fill(0.0);
        let (groups, rest) = input.as_chunks::<ROWS>();
        let length = output.len();
        let row = |k: usize| &weights[k * pitch..][..length];
        for (at, values) in groups.iter().enumerate() {
            let rows = std::array::from_fn(|i| row(at * ROWS + i));
            P::apart(Add { rows, values, output });
        }
        for (value, k) in rest.iter().zip(groups.len() * ROWS..) {
            P::apart(Add { rows: [row(k)], values: &[*value], output });
        }
        finish.apply(output);
    }
}

/// Adds the products of some values with their rows.
struct Add<'a, const N: usize> {
    rows: [&'a [f32]; N],
    values: &'a [f32; N],
    output: &'a mut [f32],
}

/// Sums that are fetched, added to and stored together.
const SUMS: usize = 32;

impl<const N: usize> Work for Add<'_, N> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let Self { rows, values, output } = self;
        let (pieces, rest) = output.as_chunks_mut::<SUMS>();
        let begun = pieces.len() * SUMS;
        let lines = rows.map(|row| row.as_chunks::<SUMS>().0);
        for (at, sums) in pieces.iter_mut().enumerate() {
            let mut kept = *sums;
            for (line, value) in lines.iter().zip(values) {
                for (sum, weight) in kept.iter_mut().zip(&line[at]) {
                    *sum = plus::<P>(*sum, *value, *weight);
                }
            }
            *sums = kept;
        }
        for (at, sum) in rest.iter_mut().enumerate() {
            for (row, value) in rows.iter().zip(values) {
                *sum = plus::<P>(*sum, *value, row[begun + at]);
            }
        }
    }
}

#[inline(always)]
fn plus<P: Processor>(sum: f32, value: f32, weight: f32) -> f32 {
    if P::FUSED { value.mul_add(weight, sum) } else { sum + value * weight }
}
