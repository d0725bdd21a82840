//! Rows that stream through into a triangular factor: X' = O R without keeping X.
//!
//! The first rows are kept as they come, until there are as many as columns; then they become a triangular factor by QR with column pivoting. From
//! there on, eight rows at a time are stacked under R and eliminated by Householder reflections (a triangle on top of a rectangle, LAPACK's TPQRT).
//! Memory is R and eight rows, however many rows come. R'R = XX' as in a Gram matrix, but R is found by orthogonal steps only: nothing is squared, and
//! singular values down to 2^-23 of the largest survive.

use crate::maths::{self, LANES};

/// One column of the block: the same position in [`LANES`] consecutive rows.
pub(crate) type BlockColumn = [f32; LANES];

/// The factor R of all rows so far, up to a common power-of-two unit, and the block that is being filled.
pub(crate) struct Triangle<'a> {
    /// Rows of `order.len()` entries: those that came, until it is full; from then on triangular.
    factor: &'a mut [f32],
    /// `order[k]` is the position that column k of the factor holds.
    order: &'a mut [f32],
    block: &'a mut [BlockColumn],
    scratch: &'a mut [f32],
    /// Rows kept in the factor, and in the block.
    kept: usize,
    blocked: usize,
    triangular: bool,
    unit: f32,
    largest: f32,
}

impl<'a> Triangle<'a> {
    /// `order`, `block` and `scratch` are as long as a row. `factor` is a whole number of rows: the smaller of the row and column counts to come.
    pub(crate) fn new(
        factor: &'a mut [f32],
        order: &'a mut [f32],
        block: &'a mut [BlockColumn],
        scratch: &'a mut [f32],
    ) -> Self {
        factor.fill(0.0);
        block.fill([0.0; LANES]);
        for (k, slot) in order.iter_mut().enumerate() {
            *slot = k as f32;
        }
        Self { factor, order, block, scratch, kept: 0, blocked: 0, triangular: false, unit: 1.0, largest: 0.0 }
    }

    /// Takes one row and adds it to `total`, which is kept in the unit of the factor. None if the row is not finite.
    pub(crate) fn push(&mut self, row: &[f32], total: &mut [f32]) -> Option<()> {
        let largest = maths::largest_magnitude(row);
        if !largest.is_finite() {
            return None;
        }
        if largest > self.largest {
            self.largest = largest;
            let unit = maths::power_of_two_unit(largest);
            let change = unit / self.unit;
            if change != 1.0 {
                maths::scale(self.factor, change);
                maths::scale(self.block.as_flattened_mut(), change);
                maths::scale(total, change);
                self.unit = unit;
            }
        }
        for (total, value) in total.iter_mut().zip(row) {
            *total += value * self.unit;
        }
        let start = self.kept * row.len();
        if let Some(place) = self.factor.get_mut(start..start + row.len()) {
            for (entry, value) in place.iter_mut().zip(row) {
                *entry = value * self.unit;
            }
            self.kept += 1;
            return Some(());
        }
        if !self.triangular {
            self.triangularise();
        }
        for (column, position) in self.block.iter_mut().zip(&*self.order) {
            if let (Some(entry), Some(value)) = (column.get_mut(self.blocked), row.get(*position as usize)) {
                *entry = value * self.unit;
            }
        }
        self.blocked += 1;
        if self.blocked == LANES {
            self.fold();
        }
        Some(())
    }

    /// Completes the factor, and gives the power of two by which it (and the total) is scaled: the largest entry seen is in 1..2.
    pub(crate) fn finish(&mut self) -> f32 {
        if self.blocked > 0 {
            self.fold();
        }
        if !self.triangular {
            self.triangularise();
        }
        self.unit
    }

    /// QR with column pivoting, in place. Rotating the rows of such a factor takes fewer sweeps than rotating others (Drmac and Veselic 2008).
    fn triangularise(&mut self) {
        let columns = self.order.len();
        let mut step = 0;
        while let Some(below) = self.factor.get_mut(step * columns..)
            && !below.is_empty()
        {
            let heaviest = heaviest_column(below, step, columns, self.scratch);
            swap(self.order, step, heaviest);
            each_row(self.factor, columns, |row| swap(row, step, heaviest));
            if let Some(below) = self.factor.get_mut(step * columns..) {
                eliminate_column(below, step, columns, self.scratch);
            }
            step += 1;
        }
        self.triangular = true;
    }

    /// Eliminates the block: one reflection for each row of the factor.
    fn fold(&mut self) {
        let columns = self.order.len();
        let mut step = 0;
        let block = &mut *self.block;
        each_row(self.factor, columns, |row| {
            if let (Some([diagonal, right @ ..]), Some([column, others @ ..])) =
                (row.get_mut(step..), block.get_mut(step..))
            {
                eliminate_block_column(diagonal, right, column, others);
            }
            step += 1;
        });
        self.block.fill([0.0; LANES]);
        self.blocked = 0;
    }
}

/// One Householder reflection of a row of the factor and the block below it.
#[inline]
fn eliminate_block_column(diagonal: &mut f32, right: &mut [f32], column: &BlockColumn, others: &mut [BlockColumn]) {
    let Some(Reflection { length, head, tau }) = Reflection::new(*diagonal, maths::dot(column, column)) else {
        return;
    };
    *diagonal = length;
    let mut reflector = *column;
    for value in &mut reflector {
        *value /= head;
    }
    for (entry, column) in right.iter_mut().zip(others) {
        let mut products = [0.0; LANES];
        for ((p, r), c) in products.iter_mut().zip(&reflector).zip(&*column) {
            *p = r * c;
        }
        let along = tau * (*entry + maths::tree(products));
        *entry -= along;
        for (c, r) in column.iter_mut().zip(&reflector) {
            *c -= along * r;
        }
    }
}

/// Puts the entries of `row` back into the order of the positions.
pub(crate) fn restore_order(row: &mut [f32], order: &[f32], scratch: &mut [f32]) {
    for (copy, value) in scratch.iter_mut().zip(&*row) {
        *copy = *value;
    }
    for (value, position) in scratch.iter().zip(order) {
        if let Some(slot) = row.get_mut(*position as usize) {
            *slot = *value;
        }
    }
}

/// A Householder reflection I - tau (1, v)(1, v)' that turns (top, rest) into (length, 0), with v = rest / head.
struct Reflection {
    length: f32,
    head: f32,
    tau: f32,
}

impl Reflection {
    /// From the top entry and the sum of squares of the rest. None if there is nothing to eliminate: the rest is zero, or so small that its squares
    /// underflow (below 2^-60 of the largest entry, which 2^-23 of backward error hides).
    #[inline]
    fn new(top: f32, rest: f32) -> Option<Self> {
        const NOTHING: f32 = f32::from_bits((127 - 120) << 23);
        if rest < NOTHING {
            return None;
        }
        let length = maths::sqrt(top * top + rest);
        // top - length, without cancellation.
        let head = if top <= 0.0 { top - length } else { -rest / (top + length) };
        let squared = head * head;
        let tau = 2.0 * squared / (rest + squared);
        Some(Self { length, head, tau })
    }
}

/// The column, from `step` on, with the largest sum of squares in these rows.
fn heaviest_column(rows: &mut [f32], step: usize, columns: usize, weights: &mut [f32]) -> usize {
    weights.fill(0.0);
    each_row(rows, columns, |row| {
        for (weight, value) in weights.iter_mut().zip(&*row) {
            *weight += *value * *value;
        }
    });
    let mut heaviest = step;
    let mut best = 0.0;
    for (column, weight) in weights.iter().enumerate().skip(step) {
        if *weight > best {
            best = *weight;
            heaviest = column;
        }
    }
    heaviest
}

/// One Householder reflection: column `step` becomes zero below the first of these rows.
fn eliminate_column(rows: &mut [f32], step: usize, columns: usize, along: &mut [f32]) {
    let Some((first, others)) = rows.split_at_mut_checked(columns) else {
        return;
    };
    let mut below = 0.0;
    each_row(others, columns, |row| {
        let value = row.get(step).copied().unwrap_or(0.0);
        below += value * value;
    });
    let Some(diagonal) = first.get_mut(step) else {
        return;
    };
    let Some(Reflection { length, head, tau }) = Reflection::new(*diagonal, below) else {
        return;
    };
    *diagonal = length;
    for (along, value) in along.iter_mut().zip(&*first) {
        *along = *value;
    }
    each_row(others, columns, |row| {
        let v = row.get(step).copied().unwrap_or(0.0) / head;
        for (along, value) in along.iter_mut().zip(&*row).skip(step + 1) {
            *along += v * *value;
        }
    });
    maths::scale(along, tau);
    for (value, along) in first.iter_mut().zip(&*along).skip(step + 1) {
        *value -= *along;
    }
    each_row(others, columns, |row| {
        let v = row.get(step).copied().unwrap_or(0.0) / head;
        if let Some(eliminated) = row.get_mut(step) {
            *eliminated = 0.0;
        }
        for (value, along) in row.iter_mut().zip(&*along).skip(step + 1) {
            *value -= v * *along;
        }
    });
}

/// Exchanges two entries; nothing if either does not exist.
fn swap(row: &mut [f32], a: usize, b: usize) {
    if a < b
        && let Some((head, tail)) = row.split_at_mut_checked(b)
        && let (Some(a), Some(b)) = (head.get_mut(a), tail.first_mut())
    {
        core::mem::swap(a, b);
    }
}

/// Calls `f` with each row of `columns` entries.
fn each_row(rows: &mut [f32], columns: usize, mut f: impl FnMut(&mut [f32])) {
    let mut rest = rows;
    while let Some((row, more)) = rest.split_at_mut_checked(columns.max(1)) {
        f(row);
        rest = more;
    }
}
