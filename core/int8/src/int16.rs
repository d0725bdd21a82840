//! Numbers of 16 bits with weights of 8: what TensorFlow calls int16x8.
//!
//! A network of these is a list of [`Operator`](crate::Operator)s whose work is a [`Work`] of this module. Numbers lie in the arena as two bytes each, the lower one
//! first, at any place; zero points are 0. The kernels are those of 8 bits wherever the reference computes the same way; what differs is here.
//!
//! # Example
//! ```
//! use decomcam_int8::fixed::Multiplier;
//! use decomcam_int8::int16::{Rescale, Work};
//! use decomcam_int8::{Network, Operator, Place};
//!
//! // 300 and -2, from steps of 1 to steps of 1/2, not below 0: ReLU.
//! let twice = Multiplier::of(2.0).unwrap();
//! let relu = Rescale { length: 2, zero: 0, output_zero: 0, above: twice, below: twice, low: 0, high: 32767 };
//! let operators = [Operator { inputs: [Place::Arena(0), Place::NONE], output: 4, work: Work::Rescale(relu) }];
//! let mut arena = [44, 1, -2, -1, 0, 0, 0, 0];
//! Network::new(&operators, 8).unwrap().run(&mut arena).unwrap();
//! assert_eq!(arena[4..], [88, 2, 0, 0]);
//! ```

use crate::arithmetic::Arithmetic;
use crate::convolution::Convolution;
use crate::fixed::Multiplier;
use crate::moves::{Move, Nearest};
use crate::number::{Number, zeros_fit};
use crate::plan::{Kernel, LARGEST, volume};
use crate::pool::{Mean, Pool};

/// What an operator does in a network of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work<'a> {
    /// What is computed with 8 bits, before a network's numbers become wider or after.
    Eight(crate::Work<'a>),
    /// Conv2D and FullyConnected.
    Convolution(Convolution<'a, i16, i64>),
    /// Conv2D with a bias of 32 bits: sums wrap at 32 bits, and are rounded as those of 8-bit numbers.
    NarrowConvolution(Convolution<'a, i16, i32>),
    /// DepthwiseConv2D.
    Depthwise(Convolution<'a, i16, i64>),
    /// AveragePool2D, half away from zero.
    AveragePool(Pool<i16>),
    /// MaxPool2D.
    MaxPool(Pool<i16>),
    /// Mean over the middle of three axes.
    Mean(Mean),
    /// Add, Sub and Mul.
    Arithmetic(Arithmetic<i16>),
    /// Quantize, Relu, Relu6 and LeakyRelu.
    Rescale(Rescale),
    /// Quantize from 8 bits to 16.
    Widen(Rescale),
    /// Quantize from 16 bits to 8.
    Narrow(Rescale),
    /// Logistic; the output has the scale 2^-15.
    Logistic(Sigmoid<'a>),
    /// Tanh; the output has the scale 2^-15.
    Tanh(Sigmoid<'a>),
    /// Softmax over the last axis; the output has the scale 2^-15.
    Softmax(Softmax<'a>),
    /// A number, over and over.
    Fill {
        /// How many.
        length: usize,
        /// Which.
        value: i16,
    },
    /// A tensor's numbers to other places.
    Move(Move),
    /// ResizeNearestNeighbor.
    Nearest(Nearest<'a>),
}

impl<'a> From<crate::Work<'a>> for Work<'a> {
    fn from(work: crate::Work<'a>) -> Self {
        Self::Eight(work)
    }
}

impl Kernel for Work<'_> {
    fn bytes(&self) -> Option<([usize; 2], usize)> {
        let one = |length: usize| ([length, 0], length);
        let ([first, second], output) = match self {
            Self::Eight(work) => return work.bytes(),
            Self::Convolution(work) => work.numbers(false)?,
            Self::NarrowConvolution(work) => work.numbers(false)?,
            Self::Depthwise(work) => work.numbers(true)?,
            Self::AveragePool(work) | Self::MaxPool(work) => work.numbers()?,
            Self::Mean(work) => work.numbers::<i16>()?,
            Self::Arithmetic(work) => work.numbers()?,
            Self::Rescale(work) => one(work.numbers::<i16, i16>()?),
            Self::Widen(work) => one(work.numbers::<i8, i16>()?),
            Self::Narrow(work) => one(work.numbers::<i16, i8>()?),
            Self::Logistic(work) | Self::Tanh(work) => one(work.numbers()?),
            Self::Softmax(work) => one(work.numbers()?),
            Self::Fill { length, .. } => ([0, 0], *length),
            Self::Move(work) => work.numbers()?,
            Self::Nearest(work) => work.numbers()?,
        };
        let width_of = |is_byte: bool| if is_byte { i8::BYTES } else { i16::BYTES };
        let read = width_of(matches!(self, Self::Widen(_)));
        let written = width_of(matches!(self, Self::Narrow(_)));
        let bytes = |numbers: usize, width: usize| numbers.checked_mul(width).filter(|bytes| *bytes <= LARGEST);
        Some(([bytes(first, read)?, bytes(second, read)?], bytes(output, written)?))
    }

    fn run(&self, first: &[i8], second: &[i8], output: &mut [i8]) -> Option<()> {
        match self {
            Self::Eight(work) => work.run(first, second, output),
            Self::Convolution(work) => work.run(first, output),
            Self::NarrowConvolution(work) => work.run(first, output),
            Self::Depthwise(work) => work.run_depthwise(first, output),
            Self::AveragePool(work) => work.run_average(first, output),
            Self::MaxPool(work) => work.run_max(first, output),
            Self::Mean(work) => work.run::<i16>(first, output),
            Self::Arithmetic(work) => work.run(first, second, output),
            Self::Rescale(work) => work.run::<i16, i16>(first, output),
            Self::Widen(work) => work.run::<i8, i16>(first, output),
            Self::Narrow(work) => work.run::<i16, i8>(first, output),
            Self::Logistic(work) => work.run(first, output, Sigmoid::logistic),
            Self::Tanh(work) => work.run(first, output, Sigmoid::tanh),
            Self::Softmax(work) => work.run(first, output),
            Self::Fill { value, .. } => {
                i16::numbers_mut(output).fill(i16::held(i32::from(*value)));
                Some(())
            }
            Self::Move(work) => work.run::<i16>(first, output),
            Self::Nearest(work) => work.run::<i16>(first, output),
        }
    }
}

/// Numbers times a multiplier, one for those from 0 on and one for those below, held between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescale {
    /// How many.
    pub length: usize,
    /// The input's zero point.
    pub zero: i32,
    /// The output's zero point.
    pub output_zero: i32,
    /// From the input's steps to the output's, where the input is not negative.
    pub above: Multiplier,
    /// The same where it is.
    pub below: Multiplier,
    /// The smallest output.
    pub low: i16,
    /// The largest output.
    pub high: i16,
}

impl Rescale {
    fn numbers<F: Number, T: Number>(&self) -> Option<usize> {
        let shifts = [self.above, self.below].iter().all(|multiplier| (-31..=30).contains(&multiplier.shift));
        let (low, high) = (i32::from(self.low), i32::from(self.high));
        let held = T::LEAST <= low && low <= high && high <= T::MOST;
        let fits = shifts && held && zeros_fit::<F>(&[self.zero]) && zeros_fit::<T>(&[self.output_zero]);
        volume(&[self.length]).filter(|_| fits)
    }

    fn run<F: Number, T: Number>(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        for (to, from) in T::numbers_mut(output).iter_mut().zip(F::numbers(input)) {
            let x = F::value(*from) - self.zero;
            let value = if x >= 0 { self.above.times(x) } else { self.below.times(x) };
            let value = value.wrapping_add(self.output_zero);
            *to = T::held(value.max(i32::from(self.low)).min(i32::from(self.high)));
        }
        Some(())
    }
}

/// The logistic function at i/24, in steps of 2^-16, for i from 0 to 255.
pub type SigmoidTable = [u16; 256];

/// The logistic function or the hyperbolic tangent, as its double, between the numbers of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sigmoid<'a> {
    /// How many numbers.
    pub length: usize,
    /// From the input's steps to 2^`shift` times steps of 1/12288; not negative, of at most 15 bits.
    pub multiplier: i32,
    /// Bits by which products with the multiplier are shifted.
    pub shift: u32,
    /// Of all scales the same.
    pub table: &'a SigmoidTable,
}

impl Sigmoid<'_> {
    fn numbers(&self) -> Option<usize> {
        let fits = (0..=32_767).contains(&self.multiplier) && self.shift <= 31;
        volume(&[self.length]).filter(|_| fits)
    }

    fn run(&self, input: &[i8], output: &mut [i8], of: impl Fn(&Self, i32) -> Option<i32>) -> Option<()> {
        let half = if self.shift > 0 { 1i64.wrapping_shl(self.shift - 1) } else { 0 };
        for (to, from) in i16::numbers_mut(output).iter_mut().zip(i16::numbers(input)) {
            let product = i64::from(i16::value(*from)) * i64::from(self.multiplier);
            *to = i16::held(of(self, product.wrapping_add(half).wrapping_shr(self.shift) as i32)?);
        }
        Some(())
    }

    /// What the table says of a magnitude, whose `bits` lower bits lie between its numbers. None behind its end.
    fn between(&self, magnitude: u32, bits: u32) -> Option<i32> {
        let at = (magnitude >> bits) as usize;
        let (low, high) = (i32::from(*self.table.get(at)?), i32::from(*self.table.get(at + 1)?));
        let way = (magnitude & ((1 << bits) - 1)) as i32;
        Some((low << bits) + way * (high - low))
    }

    fn logistic(&self, x: i32) -> Option<i32> {
        let value = self.between(x.unsigned_abs(), 9).unwrap_or(0x7fff << 10);
        let value = if x >= 0 { value } else { (1 << 25) - value - 1 };
        Some((value + (1 << 9)) >> 10)
    }

    fn tanh(&self, x: i32) -> Option<i32> {
        let value = self.between(x.unsigned_abs(), 8).unwrap_or(0xffff << 8) - (1 << 23);
        let value = if x >= 0 { value } else { -value - 1 };
        Some((value + (1 << 7)) >> 8)
    }
}

/// A function at 513 places of the same distance, between which it is taken as straight.
pub type Curve = [i16; 513];

/// What a curve says, of a number of 16 bits whose smallest is its beginning.
fn on(curve: &Curve, x: i32) -> Option<i32> {
    let at = usize::try_from(256 + (x >> 7)).ok()?;
    let (low, high) = (*curve.get(at)?, *curve.get(at + 1)?);
    Some(i32::from(low) + ((i32::from(high.wrapping_sub(low)) * (x & 0x7f) + 64) >> 7))
}

/// exp(beta x) over the sum of all in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax<'a> {
    /// How many rows.
    pub rows: usize,
    /// Numbers in a row.
    pub length: usize,
    /// From the input's steps to beta x in steps of 10/65535.
    pub multiplier: Multiplier,
    /// exp(x) from -10 to 0, in steps of 2^-15.
    pub exp: &'a Curve,
    /// 1 / (1 + x) from 0 to 1, in steps of 2^-15.
    pub reciprocal: &'a Curve,
}

impl Softmax<'_> {
    fn numbers(&self) -> Option<usize> {
        // The distance of two numbers, shifted, and the sum of a row fit 32 bits.
        let fits = (-31..=15).contains(&self.multiplier.shift) && self.length < 1 << 16;
        volume(&[self.rows, self.length]).filter(|_| fits)
    }

    fn run(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let length = self.length.max(1);
        let mut rows = i16::numbers_mut(output).chunks_exact_mut(length);
        for from in i16::numbers(input).chunks_exact(length) {
            let to = rows.next()?;
            let largest = from.iter().copied().map(i16::value).max().unwrap_or(0);
            let mut sum = 0i32;
            for (to, x) in to.iter_mut().zip(from) {
                let below = self.multiplier.times(i16::value(*x) - largest).wrapping_add(i16::MOST);
                let value = on(self.exp, below.clamp(i16::LEAST, i16::MOST))?;
                *to = i16::held(value);
                sum = sum.wrapping_add(value);
            }
            // The sum is 2^bits (1 + fraction) in steps of 2^-15.
            let zeros = sum.leading_zeros().clamp(1, 30);
            let fraction = (((i64::from(sum) << (zeros - 1)) + (1 << 13)) >> 14) as i32;
            let fraction = fraction.wrapping_sub((1 << 15) + (1 << 16)).clamp(i16::LEAST, i16::MOST);
            let factor = i64::from(on(self.reciprocal, fraction)?);
            let bits = 31 - zeros;
            for to in to {
                let share = (i64::from(i16::value(*to)) * factor + (1 << (bits - 1))) >> bits;
                *to = i16::held(share.clamp(0, i64::from(i16::MOST)) as i32);
            }
        }
        Some(())
    }
}
