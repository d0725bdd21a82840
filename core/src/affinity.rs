//! Which positions have similar activations, as a doubly stochastic matrix that moves evidence between them and makes none.
//!
//! With f_i the layer's channels at position i, K_ij = max(0, cos(f_i, f_j))^2 with K_ii = 1 ([`affinity`]), or the same of activations less each
//! channel's mean and times a Gaussian of the distance between the positions ([`local_affinity`]); then scaled from both sides, K <- diag(d) K diag(d),
//! until rows and columns sum to one. A map m becomes K m ([`share`]): each position gets an average over similar ones, and the mean over positions,
//! which is what a score behind average pooling sees, stays.
//!
//! # Reference
//! The scaling: Sinkhorn and Knopp 1967, 10.2140/pjm.1967.21.343, in the symmetric form of Knight, Ruiz and Ucar 2014, 10.1137/110825753.

use crate::activations::Maps;
use crate::{Error, maths};

/// Rounds of scaling: rows then sum to one within 3e-6.
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
    let unit = unit_of(activations)?;
    products(activations, unit, false, matrix, map)?;
    cosines(matrix, scales, |_, _, cosine| cosine * cosine);
    balance(matrix, map, scales);
    Ok(())
}

/// Numbers of scratch that [`local_affinity`] takes: two a position, and one a row and column.
pub const fn local_scratch_len(height: usize, width: usize) -> usize {
    height.saturating_mul(width).saturating_mul(2).saturating_add(height).saturating_add(width)
}

/// Makes the affinity matrix of a layer's positions as [`affinity`] does, of activations less each channel's mean over positions, and only between near
/// positions: K_ij = max(0, cos(f_i, f_j))^2 exp(-|i - j|^2 / 2 sigma^2), K_ii = 1.
///
/// # Shapes
/// `matrix` n x n with n = H W, overwritten; `scratch` [`local_scratch_len`]; `sigma` in positions.
///
/// # Errors
/// Those of [`affinity`]; [`Error::NonFinite`] if `sigma` is not a finite number above zero.
///
/// # Cost
/// C n^2 operations and 20 n^2. Every channel is read twice.
pub fn local_affinity(activations: &Maps, sigma: f32, matrix: &mut [f32], scratch: &mut [f32]) -> Result<(), Error> {
    let (n, width) = (activations.positions(), activations.width().max(1));
    if Some(matrix.len()) != n.checked_mul(n) {
        return Err(Error::Shape);
    }
    let (map, rest) = scratch.split_at_mut_checked(n).ok_or(Error::WorkspaceTooSmall)?;
    let (scales, rest) = rest.split_at_mut_checked(n).ok_or(Error::WorkspaceTooSmall)?;
    let (down, across) = rest.split_at_mut_checked(activations.height()).ok_or(Error::WorkspaceTooSmall)?;
    let across = across.get_mut(..activations.width()).ok_or(Error::WorkspaceTooSmall)?;
    if !(sigma > 0.0 && sigma.is_finite()) {
        return Err(Error::NonFinite);
    }
    let unit = unit_of(activations)?;
    for nearness in [&mut *down, &mut *across] {
        for (distance, near) in nearness.iter_mut().enumerate() {
            let deviations = distance as f32 / sigma;
            *near = maths::exp(-0.5 * (deviations * deviations));
        }
    }
    products(activations, unit, true, matrix, map)?;
    let near = |nearness: &[f32], a: usize, b: usize| nearness.get(a.abs_diff(b)).copied().unwrap_or(0.0);
    cosines(matrix, scales, |i, j, cosine| {
        let nearness = near(down, i / width, j / width) * near(across, i % width, j % width);
        cosine * cosine * nearness
    });
    balance(matrix, map, scales);
    Ok(())
}

/// The power of two that brings activations near one: cosines do not depend on it, squares stay in range, and nothing fails once a matrix is written.
fn unit_of(activations: &Maps) -> Result<f32, Error> {
    let largest = (0..activations.channels())
        .fold(0.0, |largest, channel| maths::greater(activations.largest_magnitude(channel), largest));
    if largest.is_finite() { Ok(maths::power_of_two_unit(largest)) } else { Err(Error::NonFinite) }
}

/// matrix_ij = sum over channels of f_i f_j, of activations in `unit`s, less each channel's mean if they are `centred`.
fn products(activations: &Maps, unit: f32, centred: bool, matrix: &mut [f32], map: &mut [f32]) -> Result<(), Error> {
    let n = map.len().max(1);
    matrix.fill(0.0);
    for channel in 0..activations.channels() {
        activations.read(channel, map)?;
        maths::scale(map, unit);
        if centred {
            let mean = maths::mean(map);
            for value in map.iter_mut() {
                *value -= mean;
            }
        }
        for (row, value) in matrix.chunks_exact_mut(n).zip(&*map) {
            // Most activations behind a ReLU are zero.
            if *value != 0.0 {
                add(row, *value, map);
            }
        }
    }
    Ok(())
}

/// Turns products into cosines, zero where they are negative, and these into what `entry` makes of them; the diagonal is one, also of a position where
/// nothing fires.
fn cosines(matrix: &mut [f32], lengths: &mut [f32], entry: impl Fn(usize, usize, f32) -> f32) {
    let n = lengths.len().max(1);
    for (i, (length, row)) in lengths.iter_mut().zip(matrix.chunks_exact(n)).enumerate() {
        *length = maths::sqrt(row.get(i).copied().unwrap_or(0.0));
    }
    for (i, (row, length)) in matrix.chunks_exact_mut(n).zip(&*lengths).enumerate() {
        for (j, (place, other)) in row.iter_mut().zip(&*lengths).enumerate() {
            let product = length * other;
            let cosine = if *place > 0.0 && product > 0.0 { *place / product } else { 0.0 };
            *place = if i == j { 1.0 } else { entry(i, j, cosine) };
        }
    }
}

/// Scales a symmetric matrix from both sides until its rows and columns sum to one.
fn balance(matrix: &mut [f32], sums: &mut [f32], scales: &mut [f32]) {
    let n = scales.len().max(1);
    scales.fill(1.0);
    for _ in 0..ROUNDS {
        for (sum, row) in sums.iter_mut().zip(matrix.chunks_exact(n)) {
            *sum = maths::dot(row, scales);
        }
        for (scale, sum) in scales.iter_mut().zip(&*sums) {
            *scale = maths::sqrt(*scale / sum);
        }
    }
    for (row, scale) in matrix.chunks_exact_mut(n).zip(&*scales) {
        for (entry, other) in row.iter_mut().zip(&*scales) {
            *entry *= scale * other;
        }
    }
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
