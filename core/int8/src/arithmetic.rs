//! Sums, differences and products of two tensors, and softmax.

use crate::fixed::{Multiplier, exp, exp_to_be_summed, reciprocal, scaled_up, share, shifted_right};
use crate::number::{Number, zeros_fit};
use crate::plan::volume;
use crate::tables::{Quantised, radius};

/// Add, Sub or Mul of two tensors, of which either may be repeated along axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arithmetic<N: Number = i8> {
    /// Lengths of the output's axes; 1 for those that it lacks.
    pub shape: [usize; 6],
    /// Numbers from one place to the next along each axis of each input; 0 where it is repeated.
    pub strides: [[usize; 6]; 2],
    /// Zero points of the inputs.
    pub zeros: [i32; 2],
    /// The output's zero point.
    pub output_zero: i32,
    /// The smallest output.
    pub low: N,
    /// The largest output.
    pub high: N,
    /// What is done.
    pub combination: Combination,
}

/// How two numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// a + b or a - b: both are rescaled to a common scale, 2^20 times as fine as twice the coarser one; of 16 bits 2^15 times.
    Sum {
        /// Of each input.
        multipliers: [Multiplier; 2],
        /// Whether the second is taken away.
        minus: bool,
        /// From the common scale to the output's.
        output: Multiplier,
    },
    /// a b, rescaled.
    Product {
        /// From the product of both scales to the output's.
        output: Multiplier,
    },
}

impl Combination {
    /// a + b, as the reference prepares it. None if a ratio of the scales is out of range.
    pub fn sum<N: Number>(first: Quantised, second: Quantised, output: Quantised) -> Option<Self> {
        let common = 2.0 * f64::from(first.scale.max(second.scale));
        let below_one = |real: f64| Multiplier::of(real).filter(|multiplier| multiplier.shift <= 0);
        Some(Self::Sum {
            multipliers: [below_one(f64::from(first.scale) / common)?, below_one(f64::from(second.scale) / common)?],
            minus: false,
            output: below_one(common / (f64::from(1 << N::FINER) * f64::from(output.scale)))?,
        })
    }

    /// a - b, prepared as a sum.
    pub fn difference<N: Number>(first: Quantised, second: Quantised, output: Quantised) -> Option<Self> {
        let mut sum = Self::sum::<N>(first, second, output)?;
        if let Self::Sum { minus, .. } = &mut sum {
            *minus = true;
        }
        Some(sum)
    }

    /// a b, as the reference prepares it for bytes without sign: these scales are multiplied in single precision.
    pub fn product_of_bytes(first: Quantised, second: Quantised, output: Quantised) -> Option<Self> {
        Some(Self::Product { output: Multiplier::of(f64::from(first.scale * second.scale / output.scale))? })
    }

    /// a b.
    pub fn product(first: Quantised, second: Quantised, output: Quantised) -> Option<Self> {
        let real = f64::from(first.scale) * f64::from(second.scale) / f64::from(output.scale);
        Some(Self::Product { output: Multiplier::of(real)? })
    }

    #[inline]
    fn of<N: Number>(&self, a: i32, b: i32) -> i32 {
        match self {
            Self::Sum { multipliers: [first, second], minus, output } => {
                let (a, b) = (first.times(a << N::FINER), second.times(b << N::FINER));
                output.times(if *minus { a.wrapping_sub(b) } else { a.wrapping_add(b) })
            }
            Self::Product { output } => output.times(a.wrapping_mul(b)),
        }
    }

    fn is_in_range(&self) -> bool {
        let in_range = |multiplier: &Multiplier| (-31..=30).contains(&multiplier.shift);
        match self {
            Self::Sum { multipliers, output, .. } => multipliers.iter().all(in_range) && in_range(output),
            Self::Product { output } => in_range(output),
        }
    }
}

/// The place after the last that a walk with these strides reads.
pub(crate) fn span(shape: &[usize; 6], strides: &[usize; 6]) -> Option<usize> {
    volume(shape)?;
    let steps = shape.iter().zip(strides);
    steps.into_iter().try_fold(1usize, |end, (length, stride)| end.checked_add((length - 1).checked_mul(*stride)?))
}

impl<N: Number> Arithmetic<N> {
    /// How many numbers it reads and writes.
    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        let [first, second] = self.zeros;
        let fits = zeros_fit::<N>(&[first, second, self.output_zero])
            && self.low <= self.high
            && self.combination.is_in_range();
        let [first, second] = &self.strides;
        fits.then_some(([span(&self.shape, first)?, span(&self.shape, second)?], volume(&self.shape)?))
    }

    pub(crate) fn run(&self, first: &[i8], second: &[i8], output: &mut [i8]) -> Option<()> {
        let (first, second, output) = (N::numbers(first), N::numbers(second), N::numbers_mut(output));
        let [.., length] = self.shape;
        let [[.., first_step], [.., second_step]] = self.strides;
        let value = |a: N::Held, b: N::Held| {
            let of = self.combination.of::<N>(N::value(a) - self.zeros[0], N::value(b) - self.zeros[1]);
            N::held(of.wrapping_add(self.output_zero).max(self.low.into()).min(self.high.into()))
        };
        let mut walk = Walk::over(&self.shape);
        for row in output.chunks_exact_mut(length.max(1)) {
            let a = first.get(walk.place(&self.strides[0])..)?;
            let b = second.get(walk.place(&self.strides[1])..)?;
            for (at, to) in row.iter_mut().enumerate() {
                *to = value(*a.get(at * first_step)?, *b.get(at * second_step)?);
            }
            walk.advance();
        }
        Some(())
    }
}

/// All places along the first five of six axes, the last of them running fastest.
pub(crate) struct Walk<'s> {
    shape: &'s [usize; 6],
    at: [usize; 5],
}

impl<'s> Walk<'s> {
    pub(crate) fn over(shape: &'s [usize; 6]) -> Self {
        Self { shape, at: [0; 5] }
    }

    pub(crate) fn place(&self, strides: &[usize; 6]) -> usize {
        self.at.iter().zip(strides).fold(0usize, |place, (at, stride)| place.wrapping_add(at.wrapping_mul(*stride)))
    }

    pub(crate) fn advance(&mut self) {
        for (at, length) in self.at.iter_mut().zip(self.shape).rev() {
            *at += 1;
            if *at < *length {
                return;
            }
            *at = 0;
        }
    }
}

/// exp(beta x) over the sum of all in a row; the output has the scale 1/256 and the zero point -128.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// How many rows.
    pub rows: usize,
    /// Numbers in a row.
    pub length: usize,
    /// From the input's steps to beta x with 5 integer bits.
    pub multiplier: Multiplier,
    /// Steps below the largest from which exp is taken to be 0; not positive.
    pub least: i32,
}

impl Softmax {
    /// Of inputs in these steps. None if beta times the scale is out of range.
    pub fn of(rows: usize, length: usize, scale: f32, beta: f32) -> Option<Self> {
        let real = (f64::from(beta) * f64::from(scale) * f64::from(1 << 26)).min(f64::from(i32::MAX));
        let multiplier = Multiplier::of(real).filter(|_| real > 1.0);
        // 2^31 - 1 rounds to 2^31, whose shift is 31: no step but the largest then counts.
        let multiplier = multiplier.or((real > 1e9).then_some(Multiplier { value: 1 << 30, shift: 31 }))?;
        Some(Self { rows, length, multiplier, least: -radius(5, multiplier.shift) })
    }

    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        let all = volume(&[self.rows, self.length])?;
        ((0..=31).contains(&self.multiplier.shift) && self.least <= 0).then_some(([all, 0], all))
    }

    pub(crate) fn run(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let length = self.length.max(1);
        let mut rows = output.chunks_exact_mut(length);
        for from in input.chunks_exact(length) {
            let to = rows.next()?;
            let largest = from.iter().copied().max().map_or(0, i32::from);
            let scaled = |x: i8| {
                let below = i32::from(x) - largest;
                (below >= self.least).then(|| scaled_up(self.multiplier, below).min(0))
            };
            let mut sum = 0i32;
            for x in from {
                if let Some(scaled) = scaled(*x) {
                    sum = sum.wrapping_add(exp_to_be_summed(scaled));
                }
            }
            let (factor, bits) = reciprocal(sum);
            for (to, x) in to.iter_mut().zip(from) {
                let value =
                    scaled(*x).map_or(0, |scaled| shifted_right(share(factor, exp::<5>(scaled)), (bits + 23).min(31)));
                *to = value.wrapping_sub(128).clamp(-128, 127) as i8;
            }
        }
        Some(())
    }
}
