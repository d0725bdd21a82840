//! Which positions of a layer have similar activations, bit for bit as [`decomcam_core::affinity`] says, where there is memory, and more than one thread.
//!
//! The core goes through the layer channel by channel, because a board has room for one map. Here all maps are there: products of positions are one product of
//! matrices, and sums of a row are made six rows at a time. Each sum has the core's terms in the core's order, so that boards find the same matrix; the threads
//! that share the rows ([`crate::workers::shared`]) change none.

use crate::arithmetic::lanes::Dots;
use crate::arithmetic::processor::{Rounded, best};
use crate::arithmetic::products::{BLOCK, Factor, Product, packed};
use crate::{Size, workers};
use decomcam_core::{Error, sums};

/// Rounds of scaling, as in the core.
const ROUNDS: u32 = 20;

/// The matrix of [`decomcam_core::affinity::affinity`] for maps of this size, row by row.
///
/// # Errors
/// [`Error::NonFinite`] if an activation is not finite.
pub(super) fn of(maps: &[f32], size: Size) -> Result<Vec<f32>, Error> {
    matrix(in_units(maps)?, size.area(), |_, _| {})
}

/// The matrix of [`decomcam_core::affinity::local_affinity`] for maps of this size, row by row. `sigma`, in positions, is above zero.
///
/// # Errors
/// Those of [`of`].
pub(super) fn local(maps: &[f32], size: Size, sigma: f32) -> Result<Vec<f32>, Error> {
    let mut maps = in_units(maps)?;
    for map in maps.chunks_exact_mut(size.area()) {
        let mean = sums::mean(map);
        map.iter_mut().for_each(|value| *value -= mean);
    }
    let near = |distance: usize| {
        let deviations = distance as f32 / sigma;
        libm::expf(-0.5 * (deviations * deviations))
    };
    let nearness: Vec<f32> = (0..size.height.max(size.width)).map(near).collect();
    matrix(maps, size.area(), |i, row| {
        let (y, x) = (i / size.width, i % size.width);
        for (other, entries) in row.chunks_exact_mut(size.width).enumerate() {
            let down = nearness[y.abs_diff(other)];
            for (other, entry) in entries.iter_mut().enumerate() {
                *entry *= down * nearness[x.abs_diff(other)];
            }
        }
    })
}

/// Replaces each map m by K m, as [`decomcam_core::affinity::share`] does.
///
/// # Errors
/// [`Error::NonFinite`] if a number is not finite, or would not be.
pub(super) fn share(matrix: &[f32], maps: &mut [f32], positions: usize) -> Result<(), Error> {
    let portion = workers::portion(maps.len() / positions, 2, 2, maps.len() * positions);
    workers::portions(maps, portion * positions, |_, maps| {
        // Few at a time, so that the copies stay near.
        for maps in maps.chunks_mut(16 * positions) {
            let before = maps.to_vec();
            best(Rounded(Dots { length: positions, rows: matrix, vectors: &before, output: &mut *maps }));
        }
        if maps.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(Error::NonFinite) }
    })
}

/// Activations times the power of two that brings the largest near one.
fn in_units(maps: &[f32]) -> Result<Vec<f32>, Error> {
    let largest = maps.iter().fold(0u32, |largest, value| largest.max(value.abs().to_bits()));
    if !f32::from_bits(largest).is_finite() {
        return Err(Error::NonFinite);
    }
    let exponent = (largest >> 23).clamp(1, 253);
    let unit = if largest == 0 { 1.0 } else { f32::from_bits((254 - exponent) << 23) };
    Ok(maps.iter().map(|value| value * unit).collect())
}

/// Squared cosines of the positions of maps, changed by `weigh`, which is given each row, and balanced.
fn matrix(maps: Vec<f32>, positions: usize, weigh: impl Fn(usize, &mut [f32]) + Sync) -> Result<Vec<f32>, Error> {
    let (n, channels) = (positions, maps.len() / positions);
    let mut matrix = vec![0.0; n * n];
    let rows = workers::portion(n, BLOCK, 2, n * maps.len());
    workers::portions(&mut matrix, rows * n, |at, output| {
        let (first, count) = (at * rows, output.len() / n);
        let weights = packed(|row, channel| maps[channel * n + first + row], count, channels);
        let bias = vec![0.0; count];
        let factor = Factor {
            rows: count,
            depth: channels,
            weights: &weights,
            bias: &bias,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        };
        best(Rounded(Product { factor, columns: n, residual: None, input: &maps, output, scratch: &mut Vec::new() }));
        Ok(())
    })?;
    drop(maps);
    let lengths: Vec<f32> = matrix.iter().step_by(n + 1).map(|square| square.sqrt()).collect();
    let rows = workers::portion(n, 1, 2, 4 * n * n);
    workers::portions(&mut matrix, rows * n, |at, portion| {
        for (i, row) in (at * rows..).zip(portion.chunks_exact_mut(n)) {
            for (place, other) in row.iter_mut().zip(&lengths) {
                let product = lengths[i] * other;
                let cosine = if *place > 0.0 && product > 0.0 { *place / product } else { 0.0 };
                *place = cosine * cosine;
            }
            weigh(i, row);
            row[i] = 1.0;
        }
        Ok(())
    })?;
    balance(&mut matrix, n);
    Ok(matrix)
}

/// Scales a symmetric matrix from both sides until its rows and columns sum to one.
fn balance(matrix: &mut [f32], n: usize) {
    let (mut sums, mut scales) = (vec![0.0; n], vec![1.0f32; n]);
    for _ in 0..ROUNDS {
        // Threads that waited for each other in every round would lose more than they gain.
        best(Rounded(Dots { length: n, rows: matrix, vectors: &scales, output: &mut sums }));
        for (scale, sum) in scales.iter_mut().zip(&sums) {
            *scale = (*scale / sum).sqrt();
        }
    }
    for (row, scale) in matrix.chunks_exact_mut(n).zip(&scales) {
        for (entry, other) in row.iter_mut().zip(&scales) {
            *entry *= scale * other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use decomcam_core::{Maps, affinity};

    /// Maps of random numbers, some zero, one position with nothing.
    fn maps(channels: usize, size: Size, scale: f32) -> Vec<f32> {
        let mut random = Random::new(5);
        let mut value = || (random.uniform() as f32 - 0.3).max(0.0) * scale;
        let mut maps: Vec<f32> = (0..channels * size.area()).map(|_| value()).collect();
        maps.chunks_exact_mut(size.area()).for_each(|map| map[size.area() / 2] = 0.0);
        maps
    }

    fn bits(numbers: &[f32]) -> Vec<u32> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    #[test]
    fn every_bit_is_the_core_s_whatever_the_number_of_threads() {
        for (channels, size, scale) in [
            (40, Size::new(14, 14), 1.0),
            (7, Size::new(5, 9), 1e-30),
            (24, Size::new(20, 23), 1e30),
            (3, Size::new(1, 2), 0.0),
        ] {
            let maps = maps(channels, size, scale);
            let (n, view) = (size.area(), Maps::chw(&maps, channels, size.height, size.width).unwrap());
            let mut expected = [vec![0.0; n * n], vec![0.0; n * n]];
            let mut scratch = vec![0.0; affinity::local_scratch_len(size.height, size.width)];
            affinity::affinity(&view, &mut expected[0], &mut scratch).unwrap();
            affinity::local_affinity(&view, 3.0, &mut expected[1], &mut scratch).unwrap();
            let mut averaged = vec![0.0; maps.len()];
            for (map, averaged) in maps.chunks_exact(n).zip(averaged.chunks_exact_mut(n)) {
                affinity::share(&expected[0], map, averaged).unwrap();
            }
            for threads in [1, 2, 3] {
                workers::shared(threads, || {
                    let found = of(&maps, size).unwrap();
                    assert!(bits(&found) == bits(&expected[0]), "{size} by {threads}");
                    assert!(
                        bits(&local(&maps, size, 3.0).unwrap()) == bits(&expected[1]),
                        "{size} by {threads}, local"
                    );
                    let mut maps = maps.clone();
                    share(&found, &mut maps, n).unwrap();
                    assert!(bits(&maps) == bits(&averaged), "{size} by {threads}, shared");
                });
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let size = Size::new(2, 2);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut maps = maps(3, size, 1.0);
            let matrix = of(&maps, size).unwrap();
            maps[5] = bad;
            assert_eq!(of(&maps, size), Err(Error::NonFinite));
            assert_eq!(local(&maps, size, 3.0), Err(Error::NonFinite));
            assert_eq!(share(&matrix, &mut maps, 4), Err(Error::NonFinite));
        }
    }
}
