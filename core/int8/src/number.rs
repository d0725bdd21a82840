//! Numbers of eight and of sixteen bits, as they lie in the bytes of an arena, and the sums of their products with weights.

use crate::fixed::Multiplier;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for i16 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
}

/// A tensor's number: an `i8` is a byte, an `i16` two bytes, the lower one first.
pub trait Number: Copy + Ord + Into<i32> + core::fmt::Debug + sealed::Sealed {
    /// A number's bytes.
    type Held: Copy;
    /// How many these are.
    const BYTES: usize;
    /// The smallest number.
    const LEAST: i32;
    /// The largest number.
    const MOST: i32;
    /// The smallest and the largest zero point that kernels take.
    const ZEROS: [i32; 2];
    /// Bits by which sums and differences of two tensors are finer than the coarser of them.
    const FINER: u32;
    /// So many numbers are summed in 32 bits.
    const MOST_SUMMED: usize;

    /// Bytes as numbers.
    fn numbers(bytes: &[i8]) -> &[Self::Held];
    /// Bytes as numbers to be written.
    fn numbers_mut(bytes: &mut [i8]) -> &mut [Self::Held];
    /// The number that bytes hold.
    fn value(held: Self::Held) -> i32;
    /// The bytes of a number from [`Number::LEAST`] to [`Number::MOST`].
    fn held(value: i32) -> Self::Held;
    /// The number less a zero point, which fits 16 bits: machines have instructions for their products.
    fn less(held: Self::Held, zero: i16) -> i16;
}

impl Number for i8 {
    type Held = Self;
    const BYTES: usize = 1;
    const LEAST: i32 = -128;
    const MOST: i32 = 127;
    const ZEROS: [i32; 2] = [-128, 127];
    const FINER: u32 = 20;
    const MOST_SUMMED: usize = 1 << 22;

    #[inline]
    fn numbers(bytes: &[i8]) -> &[Self] {
        bytes
    }

    #[inline]
    fn numbers_mut(bytes: &mut [i8]) -> &mut [Self] {
        bytes
    }

    #[inline]
    fn value(held: Self) -> i32 {
        i32::from(held)
    }

    #[inline]
    fn held(value: i32) -> Self {
        value as Self
    }

    #[inline]
    fn less(held: Self, zero: i16) -> i16 {
        i16::from(held).wrapping_sub(zero)
    }
}

impl Number for i16 {
    type Held = [i8; 2];
    const BYTES: usize = 2;
    const LEAST: i32 = -32_768;
    const MOST: i32 = 32_767;
    const ZEROS: [i32; 2] = [0, 0];
    const FINER: u32 = 15;
    const MOST_SUMMED: usize = 1 << 15;

    #[inline]
    fn numbers(bytes: &[i8]) -> &[[i8; 2]] {
        bytes.as_chunks().0
    }

    #[inline]
    fn numbers_mut(bytes: &mut [i8]) -> &mut [[i8; 2]] {
        bytes.as_chunks_mut().0
    }

    #[inline]
    fn value([low, high]: [i8; 2]) -> i32 {
        i32::from(Self::from_le_bytes([low as u8, high as u8]))
    }

    #[inline]
    fn held(value: i32) -> [i8; 2] {
        (value as Self).to_le_bytes().map(|byte| byte as i8)
    }

    #[inline]
    fn less([low, high]: [i8; 2], zero: i16) -> i16 {
        Self::from_le_bytes([low as u8, high as u8]).wrapping_sub(zero)
    }
}

/// Whether kernels take these zero points.
pub(crate) fn zeros_fit<N: Number>(zeros: &[i32]) -> bool {
    let [least, most] = N::ZEROS;
    zeros.iter().all(|zero| (least..=most).contains(zero))
}

/// What products of numbers and weights are summed in: an `i32`, which wraps as the reference's does, or an `i64`.
pub trait Sum: Copy + Default + PartialEq + core::fmt::Debug + sealed::Sealed {
    /// The largest shift of a multiplier that rescales it.
    const MOST_SHIFT: i8;

    /// The sum and one more product.
    fn plus(self, product: i32) -> Self;
    /// The sum and the products of (x - zero) w.
    fn plus_dot<N: Number>(self, x: &[N::Held], w: &[i8], zero: i16) -> Self;
    /// The sum times a multiplier, as the reference rounds it.
    fn rescaled(self, multiplier: Multiplier) -> i32;
}

/// The sum of (x - zero) w.
#[inline]
fn dot<N: Number>(x: &[N::Held], w: &[i8], zero: i16) -> i32 {
    x.iter().zip(w).fold(0i32, |sum, (x, w)| sum.wrapping_add(i32::from(N::less(*x, zero)) * i32::from(i16::from(*w))))
}

impl Sum for i32 {
    const MOST_SHIFT: i8 = 30;

    #[inline]
    fn plus(self, product: i32) -> Self {
        self.wrapping_add(product)
    }

    #[inline]
    fn plus_dot<N: Number>(self, x: &[N::Held], w: &[i8], zero: i16) -> Self {
        self.wrapping_add(dot::<N>(x, w, zero))
    }

    #[inline]
    fn rescaled(self, multiplier: Multiplier) -> i32 {
        multiplier.times(self)
    }
}

impl Sum for i64 {
    const MOST_SHIFT: i8 = 7;

    #[inline]
    fn plus(self, product: i32) -> Self {
        self.wrapping_add(Self::from(product))
    }

    #[inline]
    fn plus_dot<N: Number>(self, x: &[N::Held], w: &[i8], zero: i16) -> Self {
        // 256 products of 16 and 8 bits fit 32 bits.
        x.chunks(256).zip(w.chunks(256)).fold(self, |sum, (x, w)| sum.plus(dot::<N>(x, w, zero)))
    }

    #[inline]
    fn rescaled(self, multiplier: Multiplier) -> i32 {
        multiplier.times_wide(self)
    }
}
