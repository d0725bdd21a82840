//! The largest singular values of a bidiagonal matrix B, and rows that span what belongs to them.
//!
//! Squares of singular values by bisection: B B' - t = L D L' has as many negative pivots D as there are squares below t (Sylvester), so that no value
//! can be missed, and the pivots follow from those of B B' by differences that keep the relative accuracy of every singular value.
//! Left singular vectors from twisted factorisations of B B' - t: one from the top and one from the bottom meet where the pivot is smallest. Nothing is
//! iterated, and a vector is disturbed by no more than rounding over the gap to its neighbours. Vectors are made orthogonal to those before. What is
//! found is verified, because values that agree to rounding (which real maps do not have) may leave no good vector.
//!
//! # Reference
//! Fernando 1997, 10.1137/S0895479895294484 (twisting); Dhillon and Parlett 2004, 10.1016/j.laa.2003.12.028 (differential forms); LAPACK's DLAR1V.

use crate::bidiagonal::Column;
use crate::maths;
use crate::quads::{self, Quad};

/// Values bisected together.
const TOGETHER: usize = 12;

/// Bisections: the 2^29 floats above the least are 64 binary orders of magnitude.
const ROUNDS: u32 = 29;

/// Passes that take earlier vectors out of a new one: the second is needed for close values, the third has not been.
const PASSES: u32 = 3;

/// Of the largest square: how long B B' z - square z may be.
const RESIDUAL: f32 = 16.0 * maths::EPSILON;

/// Pivots are kept this far from zero, relative to entries from 1 on: a change of B B' far below its rounding.
const TINY: f32 = f32::from_bits((127 - 60) << 23);

#[inline]
fn away_from_zero(pivot: f32) -> f32 {
    if pivot.abs() < TINY { -TINY } else { pivot }
}

/// The squares of the largest singular values of B, descending; what is below 2^-48 of their sum `total` counts as zero.
#[inline(never)]
pub(crate) fn largest_squares(b: &[Column], total: f32, squares: &mut [f32]) {
    let floor = total * f32::from_bits((127 - 48) << 23);
    let mut first = 0;
    for squares in squares.chunks_mut(TOGETHER) {
        let mut low = [floor; TOGETHER];
        for round in 1..=ROUNDS {
            let step = 1 << (ROUNDS - round);
            let shifts = low.map(|low| f32::from_bits(low.to_bits() + step));
            let mut below = [0; TOGETHER];
            squares_below(b, &shifts, &mut below);
            for (lane, ((low, shift), below)) in low.iter_mut().zip(shifts).zip(below).enumerate() {
                // The value of this rank is not below the shift.
                if below as usize + first + lane < b.len() {
                    *low = shift;
                }
            }
        }
        for (square, low) in squares.iter_mut().zip(low) {
            *square = if low > floor { low } else { 0.0 };
        }
        first += TOGETHER;
    }
}

/// Number of squares of singular values below each of the shifts.
#[inline(never)]
fn squares_below(b: &[Column], shifts: &[f32; TOGETHER], counts: &mut [u32; TOGETHER]) {
    let mut totals = [0; TOGETHER];
    let mut s = shifts.map(|shift| -shift);
    for [d, e, ..] in b {
        let (d, e) = (d * d, e * e);
        let pivots = s.map(|s| away_from_zero(d + s));
        for (total, pivot) in totals.iter_mut().zip(pivots) {
            *total += pivot.to_bits() >> 31;
        }
        for ((s, pivot), shift) in s.iter_mut().zip(pivots).zip(shifts) {
            *s = *s * (e / pivot) - shift;
        }
    }
    *counts = totals;
}

/// For each square a row z'B with its left singular vector z: a right singular vector times the singular value; zero where the square is. None if there
/// is no such z to be had.
///
/// `rows`, at least as many as squares, are of `width` quads; those behind become zero. `top` and `bottom` are scratch for two numbers a column.
pub(crate) fn leading_rows(
    b: &[Column],
    squares: &[f32],
    rows: &mut [Quad],
    width: usize,
    top: &mut [[f32; 2]],
    bottom: &mut [[f32; 2]],
) -> Option<()> {
    rows.as_flattened_mut().fill(0.0);
    let limit = RESIDUAL * squares.first()?;
    for (k, square) in squares.iter().enumerate() {
        let (done, rest) = rows.split_at_mut_checked(k * width)?;
        let z = rest.get_mut(..width)?;
        if *square > 0.0 {
            twist(b, *square, z.as_flattened_mut(), top, bottom)?;
            orthogonalise(z, done, width)?;
        }
    }
    let mut rest = rows;
    for square in squares {
        let (row, more) = rest.split_at_mut_checked(width)?;
        rest = more;
        if multiply(b, *square, row.as_flattened_mut()) > limit {
            return None;
        }
    }
    Some(())
}

/// z with (B B' - t) z = 0 but for the entry where the two factorisations meet.
fn twist(b: &[Column], t: f32, z: &mut [f32], top: &mut [[f32; 2]], bottom: &mut [[f32; 2]]) -> Option<()> {
    // From the top and from the bottom: an entry of the triangular factor, and what the pivot of B B' has changed by. Neither waits for the other.
    let (mut s, mut p) = (-t, 1.0);
    let downwards = b.iter().zip(&mut *top);
    let upwards = b.iter().zip(&mut *bottom).rev();
    for (([d, e, ..], top), ([c, f, ..], bottom)) in downwards.zip(upwards) {
        let pivot = away_from_zero(d * d + s);
        *top = [d * e / pivot, s];
        s = s * (e * e / pivot) - t;
        let pivot = away_from_zero(f * f + p);
        p = p * (c * c / pivot) - t;
        *bottom = [c * f / pivot, p];
    }
    let (mut least, mut meeting) = (f32::INFINITY, 0);
    for (k, ([_, s], [_, p])) in top.iter().zip(&*bottom).enumerate() {
        let pivot = (s + p + t).abs();
        if pivot < least {
            (least, meeting) = (pivot, k);
        }
    }
    let (above, below) = z.split_at_mut_checked(meeting)?;
    let mut value = 1.0;
    for (z, [factor, _]) in above.iter_mut().zip(&*top).rev() {
        value *= -factor;
        *z = value;
    }
    value = 1.0;
    for (z, [factor, _]) in below.iter_mut().zip(bottom.get(meeting..)?) {
        *z = value;
        value *= -factor;
    }
    Some(())
}

/// Takes the vectors in `done` out of z, and makes it one long. None if it depends on them.
fn orthogonalise(z: &mut [Quad], done: &[Quad], width: usize) -> Option<()> {
    let entries = z.as_flattened_mut();
    maths::scale(entries, maths::power_of_two_unit(maths::largest_magnitude(entries)));
    let mut before = quads::dot(z, z);
    for _ in 0..PASSES {
        let mut done = done;
        while let Some((other, more)) = done.split_at_checked(width) {
            quads::subtract(z, quads::dot(z, other), other);
            done = more;
        }
        let after = quads::dot(z, z);
        maths::scale(z.as_flattened_mut(), 1.0 / maths::sqrt(after));
        if after > 0.5 * before {
            return Some(());
        }
        before = 1.0;
    }
    None
}

/// z becomes B'z; returns the length of B B' z - square z.
fn multiply(b: &[Column], square: f32, z: &mut [f32]) -> f32 {
    let mut entries = z.iter_mut().peekable();
    let (mut above, mut squares) = (0.0, 0.0);
    for [d, e, ..] in b {
        if let Some(z) = entries.next() {
            let y = d * *z + e * entries.peek().map_or(0.0, |next| **next);
            let difference = above + d * y - square * *z;
            squares += difference * difference;
            above = e * y;
            *z = y;
        }
    }
    maths::sqrt(squares)
}
