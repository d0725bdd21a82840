//! How similar the activations of two positions are, as a doubly stochastic matrix: it averages a map over positions with similar activations, and keeps
//! the map's mean.
//!
//! With f_i the layer's channels at position i, K_ij = max(0, cos(f_i, f_j))^2 with K_ii = 1, then scaled from both sides, K <- diag(d) K diag(d), until
//! rows and columns sum to one. A map m becomes K m: each position gets the average over positions with similar activations. The mean over positions, which
//! is what a score behind average pooling sees, stays.
//!
//! # Reference
//! The scaling: Sinkhorn and Knopp 1967, 10.2140/pjm.1967.21.343, in the symmetric form of Knight, Ruiz and Ucar 2014, 10.1137/110825753.

use crate::activations::Maps;
use crate::{Error, maths};

/// Rounds of scaling: rows then sum to one within 1e-6.
const ROUNDS: u32 = 20;

/// Numbers of scratch that [`affinity`] takes: two a position.
pub const fn scratch_len(positions: usize) -> usize {
    positions.saturating_mul(2)
}

/// Makes the affinity matrix of a layer's positions.
///
/// # Shapes
/// `matrix` n x n with n = H W, overwritten; `scratch` [`scratch_len`].
///
/// # Errors
/// [`Error::Shape`] if `matrix` has another length, [`Error::WorkspaceTooSmall`] for the scratch, [`Error::NonFinite`] if an activation is not finite.
/// `matrix` is untouched then.
///
/// # Cost
/// C n^2 operations where activations are not zero, and 20 n^2. Every channel is read twice.
pub fn affinity(activations: &Maps, matrix: &mut [f32], scratch: &mut [f32]) -> Result<(), Error> {
    let n = activations.positions();
    if Some(matrix.len()) != n.checked_mul(n) {
        return Err(Error::Shape);
    }
    let (map, rest) = scratch.split_at_mut_checked(n).ok_or(Error::WorkspaceTooSmall)?;
    let scales = rest.get_mut(..n).ok_or(Error::WorkspaceTooSmall)?;
    let largest = (0..activations.channels())
        .fold(0.0, |largest, channel| maths::greater(activations.largest_magnitude(channel), largest));
    if !largest.is_finite() {
        return Err(Error::NonFinite);
    }
    // Cosines do not depend on it, squares stay in range: nothing fails once the matrix is written.
    let unit = maths::power_of_two_unit(largest);
    matrix.fill(0.0);
    for channel in 0..activations.channels() {
        activations.read(channel, map)?;
        maths::scale(map, unit);
        for (row, value) in matrix.chunks_exact_mut(n.max(1)).zip(&*map) {
            // Most activations behind a ReLU are zero.
            if *value != 0.0 {
                add(row, *value, map);
            }
        }
    }
    for (i, (length, row)) in scales.iter_mut().zip(matrix.chunks_exact(n.max(1))).enumerate() {
        *length = maths::sqrt(row.get(i).copied().unwrap_or(0.0));
    }
    for (i, (row, length)) in matrix.chunks_exact_mut(n.max(1)).zip(&*scales).enumerate() {
        for (j, (entry, other)) in row.iter_mut().zip(&*scales).enumerate() {
            let lengths = length * other;
            let cosine = if *entry > 0.0 && lengths > 0.0 { *entry / lengths } else { 0.0 };
            // Also of a position where nothing fires.
            *entry = if i == j { 1.0 } else { cosine * cosine };
        }
    }
    scales.fill(1.0);
    for _ in 0..ROUNDS {
        for (sum, row) in map.iter_mut().zip(matrix.chunks_exact(n.max(1))) {
            *sum = maths::dot(row, scales);
        }
        for (scale, sum) in scales.iter_mut().zip(&*map) {
            *scale = maths::sqrt(*scale / sum);
        }
    }
    for (row, scale) in matrix.chunks_exact_mut(n.max(1)).zip(&*scales) {
        for (entry, other) in row.iter_mut().zip(&*scales) {
            *entry *= scale * other;
        }
    }
    Ok(())
}

/// row += factor map
#[inline(never)]
fn add(row: &mut [f32], factor: f32, map: &[f32]) {
    for (entry, value) in row.iter_mut().zip(map) {
        *entry += factor * value;
    }
}

/// K m: every position gets the mean of the map, weighted by affinity.
///
/// # Shapes
/// `matrix` n x n as [`affinity`] makes it; `map` and `shared` n.
///
/// # Errors
/// [`Error::Shape`] if the lengths do not fit together; [`Error::NonFinite`] if a number is not finite, or would not be. `shared` is untouched then.
pub fn share(matrix: &[f32], map: &[f32], shared: &mut [f32]) -> Result<(), Error> {
    let n = map.len();
    if n == 0 || shared.len() != n || Some(matrix.len()) != n.checked_mul(n) {
        return Err(Error::Shape);
    }
    let (of_matrix, of_map) = (maths::largest_magnitude(matrix), maths::largest_magnitude(map));
    if !(of_matrix.is_finite() && of_map.is_finite()) {
        return Err(Error::NonFinite);
    }
    let at = |row: &[f32]| maths::dot(row, map);
    // No sum is larger than that of so many largest products: mostly there is no need to look.
    let bound = of_matrix * of_map * n as f32;
    if !bound.is_finite() && !matrix.chunks_exact(n).all(|row| at(row).is_finite()) {
        return Err(Error::NonFinite);
    }
    for (out, row) in shared.iter_mut().zip(matrix.chunks_exact(n)) {
        *out = at(row);
    }
    Ok(())
}
