//! Sums of products in the order of [`decomcam_core::sums`], many at a time.
//!
//! The core adds product `i` to lane `i % 8` and the lanes as a tree. A vector of eight holds the lanes of one sum here, and several sums are computed side by
//! side, which changes none of them: the bits are the core's.

use super::processor::{Processor, Work};

const LANES: usize = 8;

/// Rows that are summed at the same time, and vectors.
const ROWS: usize = 6;
const VECTORS: usize = 2;

/// `output[v][r] = rows[r] . vectors[v]`, all rows and vectors as long as each other.
pub(crate) struct Dots<'a> {
    /// Length of a row, and of a vector.
    pub(crate) length: usize,
    pub(crate) rows: &'a [f32],
    pub(crate) vectors: &'a [f32],
    /// Vectors x rows.
    pub(crate) output: &'a mut [f32],
}

impl Work for Dots<'_> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let count = self.rows.len() / self.length;
        let pairs = self.vectors.chunks(VECTORS * self.length).zip(self.output.chunks_mut(VECTORS * count));
        for (vectors, output) in pairs {
            for (at, rows) in self.rows.chunks(ROWS * self.length).enumerate() {
                let first = at * ROWS;
                if vectors.len() == VECTORS * self.length {
                    some_rows::<VECTORS>(rows, vectors, self.length, &mut output[first..], count);
                } else {
                    some_rows::<1>(rows, vectors, self.length, &mut output[first..], count);
                }
            }
        }
    }
}

/// As many rows as there are, by V vectors.
#[inline(always)]
fn some_rows<const V: usize>(rows: &[f32], vectors: &[f32], length: usize, output: &mut [f32], pitch: usize) {
    if rows.len() == ROWS * length {
        block::<ROWS, V>(rows, vectors, length, output, pitch);
    } else {
        for (at, row) in rows.chunks_exact(length).enumerate() {
            block::<1, V>(row, vectors, length, &mut output[at..], pitch);
        }
    }
}

/// R rows by V vectors, all sums in registers.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "as numbers, r and v are unrolled")]
fn block<const R: usize, const V: usize>(
    rows: &[f32],
    vectors: &[f32],
    length: usize,
    output: &mut [f32],
    pitch: usize,
) {
    let (whole, rest) = (length / LANES, length / LANES * LANES..length);
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r * length..][..length]);
    let vectors: [&[f32]; V] = std::array::from_fn(|v| &vectors[v * length..][..length]);
    let row_lanes = rows.map(|row| &row.as_chunks::<LANES>().0[..whole]);
    let vector_lanes = vectors.map(|vector| &vector.as_chunks::<LANES>().0[..whole]);
    let mut sums = [[[0.0f32; LANES]; V]; R];
    for at in 0..whole {
        let vectors: [[f32; LANES]; V] = std::array::from_fn(|v| vector_lanes[v][at]);
        for r in 0..R {
            let row = row_lanes[r][at];
            for v in 0..V {
                sums[r][v] = plus_products(sums[r][v], row, vectors[v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            for (lane, at) in rest.clone().enumerate() {
                sums[r][v][lane] += rows[r][at] * vectors[v][at];
            }
            let [a, b, c, d, e, f, g, h] = sums[r][v];
            output[v * pitch + r] = ((a + e) + (c + g)) + ((b + f) + (d + h));
        }
    }
}

#[inline(always)]
fn plus_products(mut sums: [f32; LANES], a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum += a * b;
    }
    sums
}
