//! Fixed-point arithmetic with the rounding of gemmlowp, which TensorFlow Lite's reference kernels compute with.
//!
//! A real number r in [-1, 1) is held as the integer r 2^31; with `n` integer bits, as r 2^(31 - n).
//!
//! # Reference
//! B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2; the functions are those of
//! gemmlowp's `fixedpoint.h` and of TensorFlow Lite's `common.h`.

/// 1 with no integer bits, as near as there is.
const ONE: i32 = i32::MAX;

/// A positive or negative real number, as m 2^(shift - 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// m, of at least 2^30 in magnitude, or 0.
    pub value: i32,
    /// Power of two, from -31 to 30.
    pub shift: i32,
}

impl Multiplier {
    /// 0.
    pub const ZERO: Self = Self { value: 0, shift: 0 };

    /// The nearest to a real number, half away from zero; 0 for what is below 2^-32. None if the number is not finite or is 2^30 or more.
    pub fn of(real: f64) -> Option<Self> {
        if real == 0.0 {
            return Some(Self::ZERO);
        }
        let bits = real.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        if exponent == 0x7ff {
            return None;
        }
        // |real| = mantissa 2^(shift - 53), with the mantissa in [2^52, 2^53); below the normal numbers all is far below 2^-32.
        let (mantissa, mut shift) = ((bits & ((1 << 52) - 1) | 1 << 52) as i64, exponent - 1022);
        let mut value = (mantissa + (1 << 21)) >> 22;
        if value == 1 << 31 {
            (value, shift) = (value / 2, shift + 1);
        }
        match shift {
            ..=-32 => Some(Self::ZERO),
            -31..=30 => Some(Self { value: if real < 0.0 { -value } else { value } as i32, shift }),
            _ => None,
        }
    }

    /// x times the number, rounded twice: after the product half up, after the shift half away from zero.
    #[inline]
    pub fn times(self, x: i32) -> i32 {
        let (left, right) = (self.shift.max(0) as u32, (-self.shift).max(0) as u32);
        let product = i64::from(x.wrapping_shl(left)) * i64::from(self.value);
        shifted_right((product.wrapping_add(1 << 30) >> 31) as i32, right)
    }

    /// x times the number, of which 16 bits of m are taken, rounded once, half up: how sums of 64 bits are rescaled. x has at most 48 bits, and the shift is at most 7.
    #[inline]
    pub fn times_wide(self, x: i64) -> i32 {
        let value = if self.value < 0x7fff_0000 { (self.value + (1 << 15)) >> 16 } else { 0x7fff };
        let right = (15 - self.shift).clamp(1, 63) as u32;
        (x.wrapping_mul(i64::from(value)).wrapping_add(1i64.wrapping_shl(right - 1)) >> right) as i32
    }
}

/// x / 2^`by`, half away from zero. `by` is at most 31.
#[inline]
pub fn shifted_right(x: i32, by: u32) -> i32 {
    let mask = 1i32.wrapping_shl(by).wrapping_sub(1);
    let threshold = (mask >> 1) + i32::from(x < 0);
    x.wrapping_shr(by).wrapping_add(i32::from(x & mask > threshold))
}

/// a b / 2^31, half up.
fn product(a: i32, b: i32) -> i32 {
    let doubled = (i64::from(a) * i64::from(b) + (1 << 30)) >> 31;
    // Beyond only for the smallest number times itself.
    doubled.min(i64::from(i32::MAX)) as i32
}

/// x 2^`by`, saturated.
fn shifted_left(x: i32, by: u32) -> i32 {
    (i64::from(x) << by).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// (a + 1) / 2 with no integer bits, half away from zero.
fn half_of_one_and(a: i32) -> i32 {
    let sum = i64::from(a) + i64::from(ONE);
    ((sum + if sum >= 0 { 1 } else { -1 }) / 2) as i32
}

/// exp(a) without integer bits for a <= 0 with `BITS` integer bits, 4 or 5.
pub fn exp<const BITS: u32>(a: i32) -> i32 {
    if a == 0 {
        return ONE;
    }
    let quarter = 1i32 << (29 - BITS);
    let rest = (a & (quarter - 1)) - quarter;
    let mut result = exp_of_a_quarter(shifted_left(rest, BITS));
    let mut steps = rest.wrapping_sub(a) >> (29 - BITS);
    // exp(-1/4), exp(-1/2), exp(-1) to exp(-16).
    for factor in [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242] {
        if steps & 1 != 0 {
            result = product(result, factor);
        }
        steps >>= 1;
    }
    result
}

/// exp(a) for a in [-1/4, 0), by its Taylor series of four terms around -1/8.
fn exp_of_a_quarter(a: i32) -> i32 {
    const AT_MINUS_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = a.wrapping_add(1 << 28);
    let square = product(x, x);
    let cube = product(square, x);
    let fourth = product(square, square);
    let fourth_over_four = shifted_right(fourth, 2);
    let rest = shifted_right(product(fourth_over_four.wrapping_add(cube), THIRD).wrapping_add(square), 1);
    AT_MINUS_EIGHTH.wrapping_add(product(AT_MINUS_EIGHTH, x.wrapping_add(rest)))
}

/// 2 / (1 + a) with 2 integer bits, for a in [0, 1) without: three steps of Newton's method.
fn two_over_one_plus(a: i32) -> i32 {
    const TWO_INTEGER_BITS_ONE: i32 = 1 << 29;
    let half = half_of_one_and(a);
    // 48/17 - 32/17 half.
    let mut x = 1_515_870_810i32.wrapping_add(product(half, -1_010_580_540));
    for _ in 0..3 {
        let error = TWO_INTEGER_BITS_ONE.wrapping_sub(product(half, x));
        x = x.wrapping_add(shifted_left(product(x, error), 2));
    }
    x
}

/// 1 / (1 + a) for a in [0, 1), without integer bits.
fn one_over_one_plus(a: i32) -> i32 {
    shifted_left(two_over_one_plus(a), 1)
}

/// The logistic function of a, with 4 integer bits; the result has none.
pub fn logistic(a: i32) -> i32 {
    if a == 0 {
        return 1 << 30;
    }
    let of_magnitude = one_over_one_plus(exp::<4>(-a.wrapping_abs()));
    if a > 0 { of_magnitude } else { ONE - of_magnitude }
}

/// tanh(a), with 4 integer bits; the result has none.
pub fn tanh(a: i32) -> i32 {
    if a == 0 {
        return 0;
    }
    // exp(-2 |a|): twice a number with 4 integer bits is the same integer with 5.
    let small = exp::<5>(-a.wrapping_abs());
    let of_magnitude = shifted_left(two_over_one_plus(small).wrapping_sub(1 << 29), 2);
    if a < 0 { -of_magnitude } else { of_magnitude }
}

/// 1 / x for x >= 1 with 12 integer bits: the integer m, without integer bits, and the bits b, so that it is m 2^(-b - 31).
pub fn reciprocal(x: i32) -> (i32, u32) {
    let zeros = x.leading_zeros();
    let fraction = (x as u32).wrapping_shl(zeros).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus(fraction), 12u32.saturating_sub(zeros))
}

/// a b without integer bits, as [`Softmax`](crate::Softmax) needs it.
pub(crate) fn share(a: i32, b: i32) -> i32 {
    product(a, b)
}

/// x 2^`left` times the number, rounded once.
pub(crate) fn scaled_up(multiplier: Multiplier, x: i32) -> i32 {
    product(x.wrapping_shl(multiplier.shift.max(0) as u32), multiplier.value)
}

/// exp(a) with 12 integer bits for a <= 0 with 5.
pub(crate) fn exp_to_be_summed(a: i32) -> i32 {
    shifted_right(exp::<5>(a), 12)
}
