//! One-sided Jacobi singular value decomposition on fixed-size arrays.
//!
//! The columns of A are rotated in pairs until all are orthogonal: A J = U diag(s), with J = V the product of the rotations. Small singular values
//! keep their *relative* accuracy, which bidiagonalisation and Gram matrices lose, and the code is short enough for a microcontroller.
//!
//! # Reference
//! Hestenes 1958; Rutishauser 1966, 10.1007/BF02165223 (rotations by tangents of half the angle); de Rijk 1989 (pivoting); Drmac and Veselic 2008, 10.1137/050639193
//! (tolerance, norm updates); LAPACK's DGESVJ.

use crate::Error;
use crate::maths::{self, EPSILON};

/// Sweeps over all pairs before [`Convergence::converged`] is false. LAPACK's cap; matrices in practice need 4 to 10.
pub const SWEEP_CAP: u8 = 30;

/// Pairs are rotated above sqrt(rows) 2^-23, LAPACK's tolerance, and the sweeps have converged when none was above this many times that: between the two
/// a cosine may be the rounding of its own sum, which no further rotation removes (found by fuzzing).
const SETTLED: f32 = 4.0;

/// Pairs whose cosine is below this are never rotated.
const NO_COSINE: f32 = 0.5 * EPSILON;

/// Between the two, pairs are rotated if tangent times cosine, by which the square of a length changes relative to itself, is above this. Lengths that
/// agree but for their last digits turn by large angles, and many small cosines add up: without these rotations the singular values of such clusters
/// are off by three times what LAPACK leaves.
const NO_CHANGE: f32 = 0.125 * EPSILON;

/// Columns shorter than this fraction of the largest entry, 2^-96, count as zero: below it a product of two columns would leave the range of `f32`.
pub const NEGLIGIBLE: f32 = f32::from_bits((127 - 96) << 23);

/// How far the sweeps got.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Convergence {
    /// Sweeps done, the last one (which only confirmed) included.
    pub sweeps: u8,
    /// Rotations in the last sweep.
    pub rotations: u32,
    /// Largest |cosine| between two columns met in the last sweep.
    pub largest_cosine: f32,
    /// Whether no pair in the last sweep was further from orthogonal than rounding explains, |cosine| <= 4 sqrt(rows) 2^-23; those above a quarter of
    /// that, and smaller ones of nearly equal length, were rotated once more.
    pub converged: bool,
}

/// A = U diag(s) V', thin.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Svd<const M: usize, const N: usize> {
    /// `u[k]` is the k-th left singular vector (M entries). The first min(M, N) are orthonormal, also where the singular value is zero; the others are zero.
    pub u: [[f32; M]; N],
    /// Descending, not negative; those from min(M, N) on are zero.
    pub singular_values: [f32; N],
    /// `v[k]` is the k-th right singular vector (N entries). All are orthonormal.
    pub v: [[f32; N]; N],
    /// How far the sweeps got.
    pub convergence: Convergence,
}

/// The singular value decomposition of `a`, M rows x N columns.
///
/// # Conventions
/// Descending singular values; signs as the rotations leave them.
///
/// # Errors
/// [`Error::NonFinite`] if an entry is NaN or infinite. Too few sweeps are not an error here: read [`Svd::convergence`].
///
/// # Accuracy
/// Residual, orthogonality and singular values within 8 sqrt(max(M, N)) 2^-23 relative to the largest singular value; asserted by `tests/core/svd.rs`.
///
/// # Cost
/// With m the smaller and n the larger of M and N: at most [`SWEEP_CAP`] sweeps of m (m - 1) / 2 pairs, 2 n operations to look at a pair and 8 (m + n) to
/// rotate it; and 8 n (n - m) n at most to complete V of a wide matrix. Memory for N entries beside the result.
///
/// # Example
/// ```
/// let svd = decomcam_core::svd::svd(&[[3.0, 0.0], [4.0, 5.0]])?;
/// assert!((svd.singular_values[0] - 6.708204).abs() < 1e-5 && (svd.singular_values[1] - 2.236068).abs() < 1e-5);
/// # Ok::<(), decomcam_core::Error>(())
/// ```
pub fn svd<const M: usize, const N: usize>(a: &[[f32; N]; M]) -> Result<Svd<M, N>, Error> {
    const { assert!(M > 0 && N > 0, "a matrix has at least one row and one column") };
    let largest = maths::largest_magnitude(a.as_flattened());
    if !largest.is_finite() {
        return Err(Error::NonFinite);
    }
    let unit = maths::power_of_two_unit(largest);
    let mut svd = Svd {
        u: [[0.0; M]; N],
        singular_values: [0.0; N],
        v: [[0.0; N]; N],
        convergence: Convergence { sweeps: 0, rotations: 0, largest_cosine: 0.0, converged: true },
    };
    // The longer side is rotated along the shorter: a wide matrix is the transpose of a tall one. What is left over is zero.
    let thin = M.min(N);
    let Svd { u, singular_values, v, convergence } = &mut svd;
    let (u, v, values) = (
        u.get_mut(..thin).ok_or(Error::Shape)?,
        v.get_mut(..thin).ok_or(Error::Shape)?,
        singular_values.get_mut(..thin).ok_or(Error::Shape)?,
    );
    *convergence = if M < N {
        for ((target, row), k) in v.iter_mut().zip(a).zip(0..) {
            for (entry, value) in target.iter_mut().zip(row) {
                *entry = value * unit;
            }
            set_axis(u, k);
        }
        let follow = Some((u.as_flattened_mut(), M));
        Columns::new(v.as_flattened_mut(), N, values).and_then(|mut rows| rows.orthogonalise(follow))
    } else {
        for (column, target) in u.iter_mut().enumerate() {
            for (entry, row) in target.iter_mut().zip(a) {
                *entry = row.get(column).copied().unwrap_or(0.0) * unit;
            }
            set_axis(v, column);
        }
        let follow = Some((v.as_flattened_mut(), N));
        Columns::new(u.as_flattened_mut(), M, values).and_then(|mut columns| columns.orthogonalise(follow))
    }
    .ok_or(Error::Shape)?;
    // In the unit in which no length has lost digits.
    if M < N {
        v.iter_mut().zip(&*values).for_each(|(row, length)| normalise(row, *length));
    } else {
        u.iter_mut().zip(&*values).for_each(|(column, length)| normalise(column, *length));
    }
    for value in values {
        *value /= unit;
    }
    if !maths::largest_magnitude(&svd.singular_values).is_finite() {
        return Err(Error::NonFinite);
    }
    if M < N {
        complete(&mut svd.v);
    } else {
        complete(svd.u.get_mut(..thin).ok_or(Error::Shape)?);
    }
    Ok(svd)
}

/// Vector k of the identity.
fn set_axis<const N: usize>(vectors: &mut [[f32; N]], k: usize) {
    if let Some(one) = vectors.get_mut(k).and_then(|vector| vector.get_mut(k)) {
        *one = 1.0;
    }
}

/// The same for sizes known at run time, in place: N columns of `rows` entries, one after the other, become U diag(s).
///
/// # Shapes
/// `columns` N x `rows`, overwritten; `singular_values` N, written; `follow`, if any, N vectors and their length, which are rotated and sorted along:
/// start with the identity to get V.
///
/// # Errors
/// [`Error::Shape`] if a size is zero or a length does not match; [`Error::NonFinite`] if an entry is NaN or infinite. Nothing is written then.
/// [`Error::NonFinite`] also if a singular value or an entry that follows is beyond the range of `f32`; everything has been overwritten then.
///
/// # Accuracy and cost
/// Those of [`svd`], except that a matrix of more columns than rows takes the time of its square of columns: give its transpose.
pub fn orthogonalise(
    columns: &mut [f32],
    rows: usize,
    singular_values: &mut [f32],
    mut follow: Option<(&mut [f32], usize)>,
) -> Result<Convergence, Error> {
    let count = singular_values.len();
    let follows = match &follow {
        Some((data, len)) => *len > 0 && Some(data.len()) == count.checked_mul(*len),
        None => true,
    };
    if count == 0 || rows == 0 || !follows || Some(columns.len()) != count.checked_mul(rows) {
        return Err(Error::Shape);
    }
    let finite = |values: &[f32]| maths::largest_magnitude(values).is_finite();
    let largest = maths::largest_magnitude(columns);
    if !(largest.is_finite() && follow.as_ref().is_none_or(|(data, _)| finite(data))) {
        return Err(Error::NonFinite);
    }
    let unit = maths::power_of_two_unit(largest);
    maths::scale(columns, unit);
    let along = follow.as_mut().map(|(data, len)| (&mut **data, *len));
    let convergence = Columns::new(columns, rows, singular_values)
        .and_then(|mut columns| columns.orthogonalise(along))
        .ok_or(Error::Shape)?;
    for value in columns.iter_mut().chain(singular_values.iter_mut()) {
        *value /= unit;
    }
    if !(finite(singular_values) && follow.is_none_or(|(data, _)| finite(data))) {
        return Err(Error::NonFinite);
    }
    Ok(convergence)
}

/// Divides by the length; zero vectors stay zero.
fn normalise(vector: &mut [f32], length: f32) {
    for value in vector {
        *value = if length > 0.0 { *value / length } else { 0.0 };
    }
}

/// Puts an orthonormal vector in place of each that is zero.
fn complete<const N: usize>(vectors: &mut [[f32; N]]) {
    // What of each axis is not in the vectors so far: the squares of its distance from their span.
    let mut left = [1.0; N];
    let take = |left: &mut [f32; N], vector: &[f32; N]| {
        for (left, entry) in left.iter_mut().zip(vector) {
            *left -= entry * entry;
        }
    };
    vectors.iter().for_each(|vector| take(&mut left, vector));
    for k in 0..vectors.len() {
        let mut axis = 0;
        let mut best = 0.0;
        for (index, left) in left.iter().enumerate() {
            if *left > best {
                (axis, best) = (index, *left);
            }
        }
        let Some((done, [target, rest @ ..])) = vectors.split_at_mut_checked(k) else {
            return;
        };
        if target.iter().any(|entry| *entry != 0.0) {
            continue;
        }
        if let Some(one) = target.get_mut(axis) {
            *one = 1.0;
        }
        for _twice_is_enough in 0..2 {
            for other in done.iter().chain(rest.iter()) {
                let along = maths::dot(other, target);
                for (value, other) in target.iter_mut().zip(other) {
                    *value -= along * other;
                }
            }
            let length = norm(target);
            normalise(target, length);
        }
        take(&mut left, target);
    }
}

/// Vectors, one after the other, that are rotated along, and their length.
type Follow<'f> = (&'f mut [f32], usize);

/// Vectors of one length, one after the other, that are being rotated until they are orthogonal.
pub(crate) struct Columns<'a> {
    data: &'a mut [f32],
    len: usize,
    norms: &'a mut [f32],
}

impl<'a> Columns<'a> {
    /// `norms.len()` vectors of `len` entries, scaled so that the largest entry is in 1..2. None unless `data` holds exactly these.
    pub(crate) fn new(data: &'a mut [f32], len: usize, norms: &'a mut [f32]) -> Option<Self> {
        (len > 0 && data.len() == norms.len().checked_mul(len)?).then_some(Self { data, len, norms })
    }

    /// Rotates pairs until all are orthogonal, then sorts by length, longest first; the lengths (singular values) are left in `norms`. `follow`
    /// names vectors that are rotated and sorted along (the identity becomes V). None is never returned for buffers that [`Columns::new`] accepted.
    pub(crate) fn orthogonalise(&mut self, follow: Option<(&mut [f32], usize)>) -> Option<Convergence> {
        // No vectors follow as vectors of no entries.
        let mut follow = follow.unwrap_or_default();
        let tolerance = maths::sqrt(self.len as f32) * EPSILON;
        let count = self.norms.len();
        let (mut sweeps, mut before) = (0, f32::INFINITY);
        let convergence = loop {
            let mut sweep = Sweep { tolerance, rotations: 0, largest_cosine: 0.0, largest_change: 0.0 };
            self.measure();
            for first in 0..count {
                self.bring_longest(first, &mut follow)?;
                self.turn_with_others(first, &mut sweep, &mut follow)?;
            }
            let Sweep { rotations, largest_cosine, largest_change, .. } = sweep;
            let converged = largest_cosine <= SETTLED * tolerance;
            sweeps += 1;
            // Another sweep would change nothing, or no longer makes cosines smaller.
            let done = count as f32 * largest_change <= EPSILON || largest_cosine > 0.5 * before;
            if sweeps == SWEEP_CAP || (converged && done) {
                break Convergence { sweeps, rotations, largest_cosine, converged };
            }
            before = largest_cosine;
        };
        self.measure();
        for first in 0..count {
            self.bring_longest(first, &mut follow)?;
        }
        Some(convergence)
    }

    fn measure(&mut self) {
        for k in 0..self.norms.len() {
            let length = self.measured(k).unwrap_or(0.0);
            if let Some(place) = self.norms.get_mut(k) {
                *place = length;
            }
        }
    }

    /// de Rijk's pivoting: the longest of those from `first` on changes places with `first`.
    fn bring_longest(&mut self, first: usize, follow: &mut Follow) -> Option<()> {
        let mut longest = first;
        let mut best = *self.norms.get(first)?;
        for (k, length) in self.norms.iter().enumerate().skip(first + 1) {
            if *length > best {
                best = *length;
                longest = k;
            }
        }
        if longest != first {
            exchange(self.norms, 1, first, longest)?;
            exchange(self.data, self.len, first, longest)?;
            exchange(follow.0, follow.1, first, longest)?;
        }
        Some(())
    }

    /// Turns a vector with each of those behind it.
    fn turn_with_others(&mut self, first: usize, sweep: &mut Sweep, follow: &mut Follow) -> Option<()> {
        let (_, rest) = self.data.split_at_mut_checked(first * self.len)?;
        let (a, mut rest) = rest.split_at_mut_checked(self.len)?;
        let (_, [a_length, others @ ..]) = self.norms.split_at_mut_checked(first)? else {
            return None;
        };
        for (b_length, second) in others.iter_mut().zip(first + 1..) {
            let (b, behind) = rest.split_at_mut_checked(self.len)?;
            rest = behind;
            if let Some((sine, half)) = turn(cosine(a, *a_length, b, *b_length), a_length, b_length, sweep) {
                rotate(a, b, sine, half);
                let (follow_a, follow_b) = pair(follow.0, follow.1, first, second)?;
                rotate(follow_a, follow_b, sine, half);
                for (length, vector) in [(&mut *a_length, &*a), (b_length, b)] {
                    if *length == 0.0 {
                        *length = norm(vector);
                    }
                }
            }
        }
        Some(())
    }

    fn measured(&self, k: usize) -> Option<f32> {
        let start = k * self.len;
        Some(norm(self.data.get(start..start + self.len)?))
    }
}

/// What a sweep has met.
struct Sweep {
    tolerance: f32,
    rotations: u32,
    largest_cosine: f32,
    /// Largest |tangent times cosine|.
    largest_change: f32,
}

/// Cosine of the angle between two vectors of these lengths; zero if either is negligible.
fn cosine(a: &[f32], a_length: f32, b: &[f32], b_length: f32) -> f32 {
    let product = a_length * b_length;
    // Below 2^-90 the terms of the plain product lose bits to underflow.
    const SMALL: f32 = f32::from_bits((127 - 90) << 23);
    if product > SMALL {
        return maths::dot(a, b) / product;
    }
    if a_length < NEGLIGIBLE || b_length < NEGLIGIBLE {
        return 0.0;
    }
    let (a_unit, b_unit) = (maths::power_of_two_unit(a_length), maths::power_of_two_unit(b_length));
    let product = (a_length * a_unit) * (b_length * b_unit);
    maths::dot_in_units(a, a_unit, b, b_unit) / product
}

/// Sine, and tangent of half, of the angle by which two vectors with this cosine and these lengths are to be turned, so that they become orthogonal and the
/// longer one longer; none if it does not matter. The lengths become those that follow; zero where the vector must be measured.
#[inline]
fn turn(cosine: f32, a_length: &mut f32, b_length: &mut f32, sweep: &mut Sweep) -> Option<(f32, f32)> {
    sweep.largest_cosine = maths::greater(cosine.abs(), sweep.largest_cosine);
    if cosine.abs() <= NO_COSINE {
        return None;
    }
    let (longer, shorter, sign) =
        if *b_length > *a_length { (b_length, a_length, 1.0) } else { (a_length, b_length, -1.0) };
    // In units of the longer one.
    let unit = *longer;
    let ratio = *shorter / unit;
    let (difference, double) = ((1.0 - ratio) * (1.0 + ratio), 2.0 * cosine * ratio);
    let root = maths::sqrt(difference * difference + double * double);
    let sum = difference + root;
    // Of the smaller of the two angles, from the longer to the shorter vector.
    let tangent = double / sum;
    let change = (tangent * cosine).abs();
    if cosine.abs() <= sweep.tolerance && change <= NO_CHANGE {
        return None;
    }
    sweep.rotations += 1;
    sweep.largest_change = maths::greater(change, sweep.largest_change);
    // 2 root c, with c the cosine of the angle, as sum = 2 root c^2: neither of the two quotients below waits for the other.
    let scaled = maths::sqrt(2.0 * root * sum);
    let (square, gain) = (ratio * ratio, 0.5 * double * tangent);
    let left = square - gain;
    *longer = unit * maths::sqrt(1.0 + gain);
    // The difference cancels when little is left.
    *shorter = if left > 0.01 * square { unit * maths::sqrt(left) } else { 0.0 };
    let double = sign * double;
    Some((double / scaled, double / (scaled + sum)))
}

/// (a, b) becomes (c a - s b, s a + c b), as three shears: by the tangent of half the angle, by the sine, and by that tangent again. Each has a determinant
/// of one however its factor is rounded, so that lengths do not drift over the thousands of rotations of a sweep, as they do when a rounded c multiplies.
/// The first vector, as a rule the longer one, is rounded once.
#[inline(never)]
fn rotate(a: &mut [f32], b: &mut [f32], sine: f32, half: f32) {
    for (a, b) in a.iter_mut().zip(b) {
        let y = *b + half * *a;
        let x = *a - sine * y;
        *a = x;
        *b = y + half * x;
    }
}

/// Vectors `first` < `second` change places. (`swap_with_slice` panics if the lengths differ.)
#[inline(never)]
fn exchange(data: &mut [f32], len: usize, first: usize, second: usize) -> Option<()> {
    let (a, b) = pair(data, len, first, second)?;
    for (a, b) in a.iter_mut().zip(b) {
        core::mem::swap(a, b);
    }
    Some(())
}

/// Vectors `first` < `second` of those stored one after the other.
#[inline]
fn pair(data: &mut [f32], len: usize, first: usize, second: usize) -> Option<(&mut [f32], &mut [f32])> {
    let (head, tail) = data.split_at_mut_checked(second * len)?;
    let start = first * len;
    Some((head.get_mut(start..start + len)?, tail.get_mut(..len)?))
}

/// Euclidean length, also where the squares would underflow.
fn norm(vector: &[f32]) -> f32 {
    let squares = maths::dot(vector, vector);
    const SAFE: f32 = f32::from_bits((127 - 80) << 23);
    if squares > SAFE {
        return maths::sqrt(squares);
    }
    let largest = maths::largest_magnitude(vector);
    if largest < NEGLIGIBLE {
        return 0.0;
    }
    let unit = maths::power_of_two_unit(largest);
    maths::sqrt(maths::dot_in_units(vector, unit, vector, unit)) / unit
}
