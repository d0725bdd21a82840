//! ROAD: removes pixels in such a way that the network cannot see where they were removed.

use super::Scorer;
use crate::Result;
use crate::random::Random;
use crate::stats::percentile;

/// Deviation of the noise that [`road`] adds to what it fills in, in normalised space: without it the network could see the removed pixels' outline.
pub const ROAD_NOISE: f32 = 0.01;

/// How often [`road`] runs the network: nine shares of the most salient pixels, and nine of the least.
pub const ROAD_PASSES: usize = 18;

/// ROAD, combined: the mean over removed shares of 10%, 20% ... 90% of (score with the least salient removed - score with the most salient removed)
/// / 2. Removed pixels are [`filled_in`], with noise of deviation `noise`.
///
/// # Conventions
/// Those of grad-cam's `ROADCombined`: at percentile p the pixels with map < percentile_p(map) are kept, and for the least salient 1 - map < percentile_p(1 -
/// map), numpy's linear percentiles. Where nothing is kept (a map of one value) the input is zero.
///
/// # Errors
/// Those of `score`.
///
/// # Reference
/// Rong et al., ICML 2022, section 4.2.
pub fn road(map: &[f32], input: &[f32], width: usize, noise: f32, seed: u64, score: &Scorer<'_>) -> Result<f64> {
    let mut random = Random::new(seed);
    let upside_down: Vec<f32> = map.iter().map(|value| 1.0 - value).collect();
    let mut sums = [0.0; 2];
    for (map, sum) in [map, &upside_down].into_iter().zip(&mut sums) {
        let mut sorted: Vec<f32> = map.to_vec();
        sorted.sort_by(f32::total_cmp);
        for tenths in 1..10 {
            let threshold = percentile(&sorted, f64::from(tenths) / 10.0);
            let keep: Vec<bool> = map.iter().map(|value| f64::from(*value) < threshold).collect();
            let mut filled = filled_in(input, &keep, width);
            for plane in filled.chunks_exact_mut(keep.len()) {
                for (value, keep) in plane.iter_mut().zip(&keep) {
                    *value += if *keep { 0.0 } else { noise * random.normal() };
                }
            }
            *sum += f64::from(score(&filled)?) / 9.0;
        }
    }
    let [most, least] = sums;
    Ok((least - most) / 2.0)
}

/// The input with the pixels that are not kept replaced, so that each is the mean of its neighbours: 1/6 for each beside it, 1/12 for each at a corner,
/// over the sum of the weights inside the picture. All zero if none is kept.
///
/// # Accuracy
/// Within 1e-3 of a direct solution (`tests/host/metrics.rs`): conjugate gradients until the residual is 1e-6 of the largest value.
///
/// # Reference
/// Rong et al., ICML 2022, section 4.1.
pub fn filled_in(input: &[f32], keep: &[bool], width: usize) -> Vec<f32> {
    if !keep.contains(&true) {
        return vec![0.0; input.len()];
    }
    let system = Filling::new(keep, width);
    let mut out = input.to_vec();
    for plane in out.chunks_exact_mut(keep.len()) {
        let known: Vec<f64> = plane.iter().zip(keep).map(|(v, keep)| if *keep { f64::from(*v) } else { 0.0 }).collect();
        let filled = system.solved(&known);
        for ((value, filled), keep) in plane.iter_mut().zip(filled).zip(keep) {
            *value = if *keep { *value } else { filled as f32 };
        }
    }
    out
}

/// The linear system of [`filled_in`], on whole fields that are zero where pixels are kept.
struct Filling {
    /// 1 where a value is sought, 0 elsewhere; then the same at half the size again and again, 1 where all that a cell reaches is sought.
    sought: Vec<Field>,
    diagonal: Vec<f64>,
}

/// Values of a level, and their width.
type Field = (Vec<f64>, usize);

impl Filling {
    fn new(keep: &[bool], width: usize) -> Self {
        let mut sought = vec![(keep.iter().map(|keep| f64::from(u8::from(!keep))).collect::<Vec<f64>>(), width)];
        while let Some((fine, width)) = sought.last()
            && fine.len() > 16
        {
            let height = fine.len() / width;
            let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
            let all = |y: usize, x: usize| {
                let mut patch = ((2 * y).saturating_sub(1)..(2 * y + 3).min(height))
                    .flat_map(|y| ((2 * x).saturating_sub(1)..(2 * x + 3).min(*width)).map(move |x| y * width + x));
                f64::from(u8::from(patch.all(|at| fine[at] > 0.0)))
            };
            sought.push(((0..rows * columns).map(|at| all(at / columns, at % columns)).collect(), columns));
        }
        let diagonal = neighbours(&vec![1.0; keep.len()], width);
        Self { sought, diagonal }
    }

    /// Solves by preconditioned conjugate gradients.
    fn solved(&self, known: &[f64]) -> Vec<f64> {
        const STEPS: usize = 500;
        let (sought, width) = (&self.sought[0].0, self.sought[0].1);
        let largest = known.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let mut residual: Vec<f64> = neighbours(known, width).iter().zip(sought).map(|(b, s)| b * s).collect();
        let mut x = vec![0.0; known.len()];
        let mut direction = vec![0.0; known.len()];
        let mut before = 0.0;
        for _ in 0..STEPS {
            if residual.iter().all(|value| value.abs() <= 1e-6 * largest) {
                break;
            }
            let step = self.preconditioned(&residual);
            let square: f64 = residual.iter().zip(&step).map(|(a, b)| a * b).sum();
            let beta = if before > 0.0 { square / before } else { 0.0 };
            before = square;
            direction.iter_mut().zip(&step).for_each(|(d, z)| *d = z + beta * *d);
            let mut product = neighbours(&direction, width);
            for (((p, d), diagonal), s) in product.iter_mut().zip(&direction).zip(&self.diagonal).zip(sought) {
                *p = s * (diagonal * d - *p);
            }
            let alpha = square / direction.iter().zip(&product).map(|(a, b)| a * b).sum::<f64>();
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += alpha * d);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= alpha * p);
        }
        x
    }

    /// The residual, summed over all levels, so that smooth errors shrink as fast as rough ones.
    fn preconditioned(&self, residual: &[f64]) -> Vec<f64> {
        let mut levels = vec![residual.to_vec()];
        for (level, (sought, width)) in self.sought.iter().enumerate().skip(1) {
            let mut coarse = vec![0.0; sought.len()];
            let (fine, fine_width) = (&levels[level - 1], self.sought[level - 1].1);
            between(fine.len() / fine_width, fine_width, |at, from, weight| coarse[from] += weight * fine[at]);
            debug_assert_eq!(*width, fine_width.div_ceil(2));
            coarse.iter_mut().zip(sought).for_each(|(value, sought)| *value *= sought);
            levels.push(coarse);
        }
        while levels.len() > 1
            && let Some(coarse) = levels.pop()
        {
            let level = levels.len() - 1;
            let (sought, width) = &self.sought[level];
            let fine = &mut levels[level];
            between(fine.len() / width, *width, |at, from, weight| fine[at] += weight * coarse[from]);
            fine.iter_mut().zip(sought).for_each(|(value, sought)| *value *= sought);
        }
        levels.pop().unwrap_or_default()
    }
}

/// sum of each pixel's neighbours, 1/6 for those beside it and 1/12 for those at a corner; beyond the border zero.
fn neighbours(x: &[f64], width: usize) -> Vec<f64> {
    let height = x.len() / width;
    let mut out = vec![0.0; x.len()];
    let mut column = vec![0.0; width + 2];
    let none = vec![0.0; width];
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        let row = |y: usize| x.get(y * width..(y + 1) * width).unwrap_or(&none);
        let above = if y > 0 { row(y - 1) } else { &none };
        let below = if y + 1 < height { row(y + 1) } else { &none };
        let here = row(y);
        for (((sum, a), b), c) in column[1..].iter_mut().zip(above).zip(here).zip(below) {
            *sum = a + 2.0 * b + c;
        }
        let sides = column.iter().zip(&column[1..]).zip(&column[2..]);
        for ((out, ((left, middle), right)), value) in out.iter_mut().zip(sides).zip(here) {
            *out = (left + 2.0 * middle + right - 4.0 * value) / 12.0;
        }
    }
    out
}

/// Calls `each` with every pixel of a field, the cells at half the size that it is interpolated from, and their weights.
fn between(height: usize, width: usize, mut each: impl FnMut(usize, usize, f64)) {
    let half = width.div_ceil(2);
    let sides = |at: usize, len: usize| {
        let near = at / 2;
        let far = if at.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(len.div_ceil(2) - 1) };
        [(near, 0.75), (far, 0.25)]
    };
    for y in 0..height {
        for x in 0..width {
            for (row, a) in sides(y, height) {
                for (column, b) in sides(x, width) {
                    each(y * width + x, row * half + column, a * b);
                }
            }
        }
    }
}
