//! R = W B V' with B lower bidiagonal, in place, and the way back: V times a row.
//!
//! Row k is reduced to its diagonal entry by a Householder reflection from the right, then column k to its first entry below by one from the left.
//! Only the reflections from the right are kept, in the rows that they emptied. Both updates of a step, and the sums that the next reflection needs,
//! are one walk through what is left of the matrix.
//!
//! # Reference
//! Golub and Kahan 1965, 10.1137/0702016, rows first; Dongarra, Sorensen and Hammarling 1989, 10.1016/0377-0427(89)90367-1 (one walk).

use crate::quads::{self, Quad, minus, plus};
use crate::triangle::Reflection;

/// Column k of B: its diagonal entry and the one below, the last of which is zero. Then the weight of the reflection in row k, and a place for notes.
pub(crate) type Column = Quad;

/// Reduces R, of as many rows of `width` quads as B has columns, and three rows of zeros behind, so that fours of rows can start anywhere.
/// `left` and `sums` are scratch, a row each.
#[inline(never)]
pub(crate) fn reduce(
    b: &mut [Column],
    factor: &mut [Quad],
    width: usize,
    left: &mut [Quad],
    sums: &mut [Quad],
) -> Option<()> {
    // The reflection from the left that is still to be applied: the rows below take `left` times their entry in the column before.
    let (mut left, mut sums) = (left, sums);
    let mut rest = factor;
    let count = b.len();
    for (step, [diagonal, below, weight, _]) in b.iter_mut().enumerate() {
        let (row, others) = rest.split_at_mut_checked(width)?;
        rest = others;
        // Quads before the one that holds the diagonal are done with.
        let done = step / 4;
        let right = reflector(row, step)?;
        (*diagonal, *weight) = (right.length, right.weight);
        let row = row.get(done..)?;
        if step + 1 == count {
            *below = 0.0;
            break;
        }
        let (waiting, sums_here) = (left.get_mut(done..)?, sums.get_mut(done..)?);
        if step == 0 {
            waiting.as_flattened_mut().fill(0.0);
        }
        sums_here.as_flattened_mut().fill(0.0);
        let before = step.saturating_sub(1);
        let (next, others) = rest.split_at_mut_checked(width)?;
        let v = next.as_flattened().get(before).copied()?;
        let next = next.get_mut(done..)?;
        quads::subtract(next, v, waiting);
        quads::subtract(next, *weight * quads::dot(next, row), row);
        // What column `step` becomes: its first entry, and the squares of the others.
        let top = core::mem::take(next.as_flattened_mut().get_mut(step % 4)?);
        let mut squares = 0.0;
        let mut walk = others;
        while let Some((rows, more)) = walk.split_at_mut_checked(4 * width) {
            walk = more;
            let v = column(rows, width, before);
            let along = quads::subtract_then_dot(quads::four(rows, width, done)?, v, waiting, row);
            let along = along.map(|along| *weight * along);
            let entries = minus(column(rows, width, step), right.head, along);
            let [a, b, c, d] = entries.map(|entry| entry * entry);
            squares += (a + c) + (b + d);
            quads::subtract_then_add(sums_here, quads::four(rows, width, done)?, along, row, entries);
        }
        let reflection = Reflection::new(top, squares);
        *below = reflection.length;
        for (next, sums) in next.iter().zip(&mut *sums_here) {
            *sums = plus(*sums, reflection.head, *next).map(|sum| reflection.weight * sum);
        }
        // Column `step` and those left of it are done with.
        sums_here.as_flattened_mut().iter_mut().take(step % 4 + 1).for_each(|sum| *sum = 0.0);
        quads::subtract(next, reflection.head, sums_here);
        core::mem::swap(&mut left, &mut sums);
    }
    Some(())
}

/// Rows y, of `width` quads and a multiple of four, become V y.
pub(crate) fn back(b: &[Column], factor: &[Quad], width: usize, rows: &mut [Quad]) -> Option<()> {
    let mut walk = rows;
    while let Some((rows, more)) = walk.split_at_mut_checked(4 * width) {
        walk = more;
        let mut along = [0.0; 4];
        let mut after = factor.get(..width)?;
        for (step, [_, _, weight, _]) in b.iter().enumerate().rev() {
            let done = step / 4;
            let u = factor.get(step * width..(step + 1) * width)?;
            let four = quads::four(rows, width, done)?;
            let dots = quads::subtract_then_dot(four, along, after.get(done..)?, u.get(done..)?);
            along = dots.map(|dot| weight * dot);
            after = u;
        }
        for (row, along) in quads::four(rows, width, 0)?.into_iter().zip(along) {
            quads::subtract(row, along, after);
        }
    }
    Some(())
}

/// A column of four rows of `width` quads.
fn column(rows: &[Quad], width: usize, column: usize) -> Quad {
    let entry = |row: usize| rows.as_flattened().get(4 * row * width + column).copied().unwrap_or(0.0);
    [entry(0), entry(1), entry(2), entry(3)]
}

/// Turns the row into the vector of the reflection that leaves only its entry in `column`.
fn reflector(row: &mut [Quad], column: usize) -> Option<Reflection> {
    let (done, [top, ..]) = row.as_flattened_mut().split_at_mut_checked(column)? else {
        return None;
    };
    done.fill(0.0);
    let entry = core::mem::take(top);
    let reflection = Reflection::new(entry, quads::dot(row, row));
    *row.as_flattened_mut().get_mut(column)? = reflection.head;
    Some(reflection)
}
