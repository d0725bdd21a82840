//! The Gaussian blur of what is masked out.

use super::Planes;
use crate::Size;

/// Columns summed side by side in [`blur`].
const BLUR_LANES: usize = 32;

/// Separable Gaussian blur of every plane: scipy's `gaussian_filter(plane, sigma, truncate=truncate)`.
///
/// # Conventions
/// `radius = floor(truncate * sigma + 0.5)` taps on either side, `exp(-i² / 2 sigma²)` divided by the sum; borders
/// mirrored with the edge sample repeated (`d c b a | a b c d | d c b a`, scipy's `reflect`), as often as the radius
/// needs; along columns first, then along rows. A `sigma` of zero or less leaves the planes as they are.
///
/// # Accuracy
/// Within 1e-6 of scipy for samples in 0..=1 (`scipy_blurs_alike` in `tests/host/photo.rs`). Sums run in a fixed order:
/// the centre, then outwards in pairs.
pub fn blur(planes: &Planes, sigma: f32, truncate: f32) -> Planes {
    let Size { height, width } = planes.size;
    let kernel = gaussian(f64::from(sigma), f64::from(truncate));
    let mut blurred = planes.clone();
    if height == 0 || width == 0 || kernel.len() == 1 {
        return blurred;
    }
    let radius = kernel.len() - 1;
    let mirrored_rows = mirrored(height, radius);
    let mirrored_columns = mirrored(width, radius);
    // Whole groups of lanes, so that the hot loops have no remainder.
    let stride = width.next_multiple_of(BLUR_LANES);
    let mut source = vec![0.0; height * stride];
    let mut line = vec![0.0; stride + 2 * radius];
    let mut column_sums = vec![0.0; stride];

    for plane in blurred.data.chunks_exact_mut(height * width) {
        for (target, row) in source.chunks_exact_mut(stride).zip(plane.chunks_exact(width)) {
            target[..width].copy_from_slice(row);
        }
        for (index, row) in plane.chunks_exact_mut(width).enumerate() {
            for (group, sums) in column_sums.as_chunks_mut::<BLUR_LANES>().0.iter_mut().enumerate() {
                let lanes = |padded: usize| -> &[f32; BLUR_LANES] {
                    &source[mirrored_rows[padded] * stride..][..stride].as_chunks().0[group]
                };
                *sums =
                    symmetric_sum(&kernel, |offset| (lanes(index + radius - offset), lanes(index + radius + offset)));
            }
            for (sample, &column) in line.iter_mut().zip(&mirrored_columns) {
                *sample = column_sums[column];
            }
            for (group, target) in row.chunks_mut(BLUR_LANES).enumerate() {
                let centre = group * BLUR_LANES + radius;
                let lanes = |at: usize| line[at..].first_chunk::<BLUR_LANES>().expect("the line has whole groups");
                let sums = symmetric_sum(&kernel, |offset| (lanes(centre - offset), lanes(centre + offset)));
                target.copy_from_slice(&sums[..target.len()]);
            }
        }
    }
    blurred
}

/// `kernel[0] x_0 + sum over i > 0 of kernel[i] (x_-i + x_i)` in every lane; `pair(i)` is `(x_-i, x_i)`.
#[inline(always)]
fn symmetric_sum<'a, const LANES: usize>(
    kernel: &[f32],
    pair: impl Fn(usize) -> (&'a [f32; LANES], &'a [f32; LANES]),
) -> [f32; LANES] {
    let mut sums = pair(0).0.map(|sample| kernel[0] * sample);
    for (offset, &weight) in kernel.iter().enumerate().skip(1) {
        let (before, after) = pair(offset);
        for lane in 0..LANES {
            sums[lane] += weight * (before[lane] + after[lane]);
        }
    }
    sums
}

/// The centre and one side of a normalised Gaussian, without the far end that no `f32` sum could notice.
fn gaussian(sigma: f64, truncate: f64) -> Vec<f32> {
    const UNNOTICED: f64 = 1e-12;
    let mut side = vec![1.0];
    if sigma > 0.0 {
        let radius = (truncate * sigma + 0.5) as usize;
        let weights = (1..=radius).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp());
        side.extend(weights.take_while(|&weight| weight > UNNOTICED));
    }
    let sum = 2.0 * side.iter().sum::<f64>() - 1.0;
    side.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// For each of `radius + len + radius` positions the index that mirroring at the borders brings there.
fn mirrored(len: usize, radius: usize) -> Vec<usize> {
    let period = 2 * len;
    let start = period - radius % period;
    let fold = |at: usize| if at < len { at } else { period - 1 - at };
    (start..start + len + 2 * radius).map(|at| fold(at % period)).collect()
}
