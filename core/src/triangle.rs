//! Rows that stream through into a triangular factor: X' = O R without keeping X.
//!
//! Blocks of rows are stacked under R and eliminated by Householder reflections, four columns at a time (a triangle on top of a rectangle, LAPACK's
//! TPQRT; the four reflections are applied together, Puglisi 1992, 10.1137/0913042). If no more rows come than there are columns, they are kept as they
//! are. Memory is R and one block, however many rows come. R'R = XX' as in a Gram matrix, but R is found by orthogonal steps only: nothing is squared,
//! and singular values down to 2^-23 of the largest survive.

use crate::maths;
use crate::quads::{self, Cell, Quad, minus, minus_matrix, plus, plus_matrix, plus_product, transpose, tree};
use core::cmp::Ordering;

/// Rows of a block. More make fewer, longer steps.
pub(crate) const BLOCK: usize = 32;

/// Of the squares of a block: what is left below 4 * 2^-23 of its norm is rounding.
const NOTHING: f32 = f32::from_bits((127 - 42) << 23);

/// Four columns of the block.
pub(crate) type Tile = [Cell; BLOCK / 4];

/// The factor R of all rows so far, up to a common power of two, and the block that is being filled.
pub(crate) struct Triangle<'a> {
    /// Rows of `width` quads.
    factor: &'a mut [Quad],
    block: &'a mut [Tile],
    /// More rows come than fit into the factor.
    folds: bool,
    /// Rows that came, and those of them that wait in the block.
    rows: usize,
    waiting: usize,
    /// The largest entry that came is in 1..2, times 2^exponent.
    exponent: i32,
    largest: f32,
}

impl<'a> Triangle<'a> {
    /// `block` is [`BLOCK`] rows. `factor` is as many rows as will come; or, if more come than there are columns (`folds`), four for each quad of a
    /// row; and may be longer.
    pub(crate) fn new(factor: &'a mut [Quad], block: &'a mut [Quad], folds: bool) -> Self {
        factor.as_flattened_mut().fill(0.0);
        block.as_flattened_mut().fill(0.0);
        let (cells, _) = block.as_chunks_mut::<4>();
        let (block, _) = cells.as_chunks_mut::<{ BLOCK / 4 }>();
        Self { factor, block, folds, rows: 0, waiting: 0, exponent: 0, largest: 0.0 }
    }

    /// Takes one row, 2^exponent times `row`, and adds it to `total`, which is kept in the unit of the factor. None only if buffers are too short.
    pub(crate) fn push(&mut self, row: &[Quad], exponent: i32, total: &mut [f32]) -> Option<()> {
        let largest = maths::largest_magnitude(row.as_flattened());
        let needed = exponent + maths::exponent(largest);
        if largest > 0.0 && (self.largest == 0.0 || needed > self.exponent) {
            if self.largest > 0.0 {
                let change = maths::power_of_two(self.exponent - needed);
                maths::scale(self.factor.as_flattened_mut(), change);
                maths::scale(self.block.as_flattened_mut().as_flattened_mut().as_flattened_mut(), change);
                maths::scale(total, change);
            }
            self.exponent = needed;
            self.largest = largest;
        }
        let unit = maths::power_of_two(exponent - self.exponent);
        for (total, value) in total.iter_mut().zip(row.as_flattened()) {
            *total += value * unit;
        }
        let scaled = |quad: &Quad| quad.map(|value| value * unit);
        if self.folds {
            for (tile, quad) in self.block.iter_mut().zip(row) {
                *tile.as_flattened_mut().get_mut(self.waiting)? = scaled(quad);
            }
            self.waiting += 1;
        } else {
            let start = self.rows * row.len();
            for (place, quad) in self.factor.get_mut(start..)?.iter_mut().zip(row) {
                *place = scaled(quad);
            }
        }
        self.rows += 1;
        if self.waiting == BLOCK {
            self.fold();
        }
        Some(())
    }

    /// Completes the factor, and gives the exponent of the power of two of which it (and the total) is a multiple: the largest entry seen is in 1..2.
    pub(crate) fn finish(&mut self) -> i32 {
        if self.waiting > 0 {
            self.fold();
        }
        self.exponent
    }

    /// Eliminates the block, four columns against four rows of the factor at a time.
    fn fold(&mut self) {
        let width = self.block.len();
        let cells = self.waiting.div_ceil(4);
        let mut factor = &mut *self.factor;
        let mut block = &mut *self.block;
        let nothing = NOTHING * squares(block);
        for first in 0..width {
            // As long as the factor has empty rows, the block is used up before its columns are, unless columns depend on each other.
            if 4 * first >= self.rows && squares(block) <= nothing {
                break;
            }
            let Some((four, below)) = factor.split_at_mut_checked(4 * width) else {
                return;
            };
            let Some([[a, a_right @ ..], [b, b_right @ ..], [c, c_right @ ..], [d, d_right @ ..]]) =
                quads::four(four, width, first)
            else {
                return;
            };
            let Some((tile, right)) = block.split_first_mut() else {
                return;
            };
            let Some(tile) = tile.get_mut(..cells) else {
                return;
            };
            let reflections = eliminate_tile([a, b, c, d], tile);
            reflect([a_right, b_right, c_right, d_right], right, tile, &reflections);
            factor = below;
            block = right;
        }
        self.block.as_flattened_mut().as_flattened_mut().as_flattened_mut().fill(0.0);
        self.waiting = 0;
    }
}

/// Sum of squares of what is in the block.
fn squares(block: &[Tile]) -> f32 {
    let quads = block.as_flattened().as_flattened();
    quads::dot(quads, quads)
}

/// Four reflections, one after the other: I - Y T Y' with Y = (diag(heads), tile) and T lower triangular.
struct Four {
    heads: Quad,
    weights: Cell,
}

/// Eliminates four columns of the block against the triangle above them. The tile becomes the lower parts of the four vectors, each cell with a vector
/// to a quad.
#[inline(never)]
fn eliminate_tile(top: [&mut Quad; 4], tile: &mut [Cell]) -> Four {
    for cell in &mut *tile {
        *cell = transpose(*cell);
    }
    let mut four = Four { heads: [0.0; 4], weights: [[0.0; 4]; 4] };
    let mut products = [[0.0; 4]; 4];
    subtract_then_multiply(&mut products, tile, [0, 0], [0.0; 4]);
    let Four { heads, weights } = &mut four;
    for (c, ((top, head), weights)) in top.into_iter().zip(heads).zip(weights).enumerate() {
        let products_c = products.map(tree);
        let lane = |quad: &Quad| quad.get(c).copied().unwrap_or(0.0);
        let reflection = Reflection::new(lane(top), lane(&products_c));
        *head = reflection.head;
        let mut along = plus(products_c, *head, *top).map(|sum| reflection.weight * sum);
        for (k, along) in along.iter_mut().enumerate() {
            *along = if k > c { *along } else { 0.0 };
        }
        *top = minus(*top, *head, along);
        if let Some(diagonal) = top.get_mut(c) {
            *diagonal = reflection.length;
        }
        for (k, (weight, product)) in weights.iter_mut().zip(products_c).enumerate() {
            *weight = match k.cmp(&c) {
                Ordering::Less => product,
                Ordering::Equal => reflection.weight,
                Ordering::Greater => 0.0,
            };
        }
        subtract_then_multiply(&mut products, tile, [c, c + 1], along);
    }
    four
}

/// columns -= along times column `from`, then products = their products with column `to`.
#[inline(never)]
fn subtract_then_multiply(products: &mut Cell, tile: &mut [Cell], [from, to]: [usize; 2], [fa, fb, fc, fd]: Quad) {
    let [mut sa, mut sb, mut sc, mut sd] = [[0.0; 4]; 4];
    for cell in tile {
        let x = cell.get(from).copied().unwrap_or_default();
        let [a, b, c, d] = *cell;
        *cell = [minus(a, fa, x), minus(b, fb, x), minus(c, fc, x), minus(d, fd, x)];
        let y = cell.get(to).copied().unwrap_or_default();
        let [a, b, c, d] = *cell;
        (sa, sb, sc, sd) =
            (plus_product(sa, a, y), plus_product(sb, b, y), plus_product(sc, c, y), plus_product(sd, d, y));
    }
    *products = [sa, sb, sc, sd];
}

/// Applies the four reflections to other columns.
#[inline(never)]
fn reflect(top: [&mut [Quad]; 4], right: &mut [Tile], vectors: &[Cell], Four { heads, weights }: &Four) {
    let [a, b, c, d] = top;
    let [ha, hb, hc, hd] = *heads;
    let [[aa, ..], [ba, bb, ..], [ca, cb, cc, _], [da, db, dc, dd]] = *weights;
    for ((((a, b), c), d), columns) in a.iter_mut().zip(b).zip(c).zip(d).zip(right) {
        let mut y = [a.map(|a| ha * a), b.map(|b| hb * b), c.map(|c| hc * c), d.map(|d| hd * d)];
        for (cell, vectors) in columns.iter().zip(vectors) {
            y = plus_matrix(y, *vectors, *cell);
        }
        let [ya, yb, yc, yd] = y;
        let wa = ya.map(|y| aa * y);
        let wb = minus(yb, ba, wa).map(|y| bb * y);
        let wc = minus(minus(yc, ca, wa), cb, wb).map(|y| cc * y);
        let wd = minus(minus(minus(yd, da, wa), db, wb), dc, wc).map(|y| dd * y);
        let w = [wa, wb, wc, wd];
        for (cell, vectors) in columns.iter_mut().zip(vectors) {
            *cell = minus_matrix(*cell, *vectors, w);
        }
        *a = minus(*a, ha, wa);
        *b = minus(*b, hb, wb);
        *c = minus(*c, hc, wc);
        *d = minus(*d, hd, wd);
    }
}

/// A Householder reflection I - weight (head, x)(head, x)' that turns (top, x) into (length, 0).
pub(crate) struct Reflection {
    /// Of the sign that `top` has not, so that nothing cancels.
    pub(crate) length: f32,
    pub(crate) head: f32,
    pub(crate) weight: f32,
}

impl Reflection {
    /// From the top entry and the sum of squares of the others, x'x. No reflection (weight 0) if there is nothing to eliminate: x is zero, or so small
    /// that its squares underflow (below 2^-60 of the largest entry, which 2^-23 of backward error hides).
    #[inline]
    pub(crate) fn new(top: f32, rest: f32) -> Self {
        const NOTHING: f32 = f32::from_bits((127 - 120) << 23);
        if rest < NOTHING {
            return Self { length: top, head: 0.0, weight: 0.0 };
        }
        let length = maths::sqrt(top * top + rest).copysign(-top);
        let head = top - length;
        // Orthogonal whatever the square root: the weight is 2 over the square of the vector.
        Self { length, head, weight: 2.0 / (rest + head * head) }
    }
}
