//! One-sided Jacobi singular value decomposition on fixed-size arrays.
//!
//! The columns of A are rotated in pairs until all are orthogonal: A J = U diag(s), with J = V the product of the rotations. Small singular values
//! keep their *relative* accuracy, which bidiagonalisation and Gram matrices lose, and the code is short enough for a microcontroller.
//!
//! # Reference
//! Hestenes 1958; de Rijk 1989 (pivoting); Drmac and Veselic 2008, 10.1137/050639193 (tolerance, norm updates); LAPACK's DGESVJ.

use crate::Error;
use crate::maths::{self, EPSILON};

/// Sweeps over all pairs before [`Convergence::converged`] is false. LAPACK's cap; matrices in practice need 4 to 10.
pub const SWEEP_CAP: u8 = 30;

/// Pairs are rotated above sqrt(rows) 2^-23, LAPACK's tolerance, and the sweeps end when none was above this many times that: between the two a cosine
/// may be the rounding of its own sum, which no further rotation removes (found by fuzzing).
const SETTLED: f32 = 4.0;

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
    /// that were rotated once more.
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
/// With m the smaller and n the larger of M and N: at most [`SWEEP_CAP`] sweeps of m (m - 1) / 2 pairs, 2 n operations to look at a pair and 6 (m + n) to
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
    pub(crate) fn orthogonalise(&mut self, mut follow: Option<(&mut [f32], usize)>) -> Option<Convergence> {
        let tolerance = maths::sqrt(self.len as f32) * EPSILON;
        let count = self.norms.len();
        let mut convergence = Convergence { sweeps: 0, rotations: 0, largest_cosine: 0.0, converged: false };
        while convergence.sweeps < SWEEP_CAP && !convergence.converged {
            self.measure();
            convergence.rotations = 0;
            convergence.largest_cosine = 0.0;
            for first in 0..count {
                self.bring_longest(first, count, &mut follow)?;
                for second in first + 1..count {
                    let cosine = self.cosine(first, second)?;
                    if cosine.abs() > convergence.largest_cosine {
                        convergence.largest_cosine = cosine.abs();
                    }
                    if cosine.abs() > tolerance {
                        convergence.rotations += 1;
                        self.rotate(first, second, cosine, &mut follow)?;
                    }
                }
            }
            convergence.sweeps += 1;
            convergence.converged = convergence.largest_cosine <= SETTLED * tolerance;
        }
        self.measure();
        for first in 0..count {
            self.bring_longest(first, count, &mut follow)?;
        }
        Some(convergence)
    }

    fn measure(&mut self) {
        let mut rest = &*self.data;
        for length in self.norms.iter_mut() {
            let Some((vector, others)) = rest.split_at_checked(self.len) else {
                return;
            };
            *length = norm(vector);
            rest = others;
        }
    }

    /// de Rijk's pivoting: the longest of `first..count` changes places with `first`.
    fn bring_longest(&mut self, first: usize, count: usize, follow: &mut Option<(&mut [f32], usize)>) -> Option<()> {
        let mut longest = first;
        let mut best = *self.norms.get(first)?;
        for (k, length) in self.norms.iter().enumerate().take(count).skip(first + 1) {
            if *length > best {
                best = *length;
                longest = k;
            }
        }
        if longest != first {
            exchange(self.norms, 1, first, longest)?;
            exchange(self.data, self.len, first, longest)?;
            if let Some((data, len)) = follow {
                exchange(data, *len, first, longest)?;
            }
        }
        Some(())
    }

    /// Cosine of the angle between two vectors; zero if either is negligible.
    fn cosine(&mut self, first: usize, second: usize) -> Option<f32> {
        let (a_length, b_length) = (*self.norms.get(first)?, *self.norms.get(second)?);
        let (a, b) = pair(self.data, self.len, first, second)?;
        if a_length < NEGLIGIBLE || b_length < NEGLIGIBLE {
            return Some(0.0);
        }
        let product = a_length * b_length;
        // Below 2^-90 the terms of the plain product lose bits to underflow.
        const SMALL: f32 = f32::from_bits((127 - 90) << 23);
        if product > SMALL {
            return Some(maths::dot(a, b) / product);
        }
        let (a_unit, b_unit) = (maths::power_of_two_unit(a_length), maths::power_of_two_unit(b_length));
        let product = (a_length * a_unit) * (b_length * b_unit);
        Some(maths::dot_in_units(a, a_unit, b, b_unit) / product)
    }

    /// Turns two vectors with this cosine so that they become orthogonal and the longer one longer, and updates their lengths.
    fn rotate(
        &mut self,
        first: usize,
        second: usize,
        cosine: f32,
        follow: &mut Option<(&mut [f32], usize)>,
    ) -> Option<()> {
        let (a_length, b_length) = (*self.norms.get(first)?, *self.norms.get(second)?);
        let (ratio, inverse) = (b_length / a_length, a_length / b_length);
        // cot(2 angle) and from it the smaller of the two tangents. Infinite ratios leave tangent = ratio * cosine, the Gram-Schmidt step.
        let cotangent = (ratio - inverse) / (2.0 * cosine);
        let tangent = if cotangent.abs() > 1e8 {
            0.5 / cotangent
        } else {
            let size = cotangent.abs() + maths::sqrt(1.0 + cotangent * cotangent);
            if cotangent < 0.0 { -1.0 / size } else { 1.0 / size }
        };
        let c = 1.0 / maths::sqrt(1.0 + tangent * tangent);
        let s = c * tangent;
        let half = s / (1.0 + c);
        let (a, b) = pair(self.data, self.len, first, second)?;
        turn(a, b, half, s);

        let a_new = turned_length(a_length, 1.0 - tangent * ratio * cosine, a);
        let b_new = turned_length(b_length, 1.0 + tangent * inverse * cosine, b);
        let (a, b) = pair(self.norms, 1, first, second)?;
        a.fill(a_new);
        b.fill(b_new);
        if let Some((data, len)) = follow {
            let (a, b) = pair(data, *len, first, second)?;
            turn(a, b, half, s);
        }
        Some(())
    }
}

/// Length of a turned vector from the factor on its square. The factor cancels when little of the vector is left: it is measured then.
fn turned_length(length: f32, factor: f32, vector: &[f32]) -> f32 {
    if factor > 0.01 { length * maths::sqrt(factor) } else { norm(vector) }
}

/// (a, b) becomes (c a - s b, s a + c b) as three shears, with `half` the tangent of half the angle. Each shear has determinant one exactly, so the
/// lengths do not drift over the thousands of rotations of a sweep, as they do when a rounded c and s multiply; and it takes no more operations.
#[inline]
fn turn(a: &mut [f32], b: &mut [f32], half: f32, s: f32) {
    for (a, b) in a.iter_mut().zip(b) {
        let sheared = *a - half * *b;
        *b += s * sheared;
        *a = sheared - half * *b;
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
