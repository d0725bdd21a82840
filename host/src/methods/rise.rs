//! RISE: random masks weighted by the scores of the photos that they leave.

use super::{Map, Scorer};
use crate::error::Sorted as _;
use crate::random::Random;
use crate::{Error, Result, Size, workers};
use anyhow::ensure;

/// Masks unless another number is asked for.
pub const RISE_MASKS: usize = 1000;

/// Cells along each side of the masks, and the share of them that is kept.
const CELLS: usize = 7;
const KEPT: f64 = 0.5;

/// The mean over the masks of score x mask, divided by the share that masks keep. The masks depend on the seed alone and are summed in their order, so the
/// map is the same on any number of threads.
///
/// # Shapes
/// `input` 3 x height x width of `size`, which the map has too.
///
/// # Reference
/// Petsiuk et al., BMVC 2018, equation 6.
///
/// # Errors
/// No masks, and those of `score`.
pub fn rise((input, size): (&[f32], Size), masks: usize, seed: u64, threads: usize, score: &Scorer<'_>) -> Result<Map> {
    at_least_one(masks).kind(Error::Options)?;
    let mask = |number: usize| {
        let mut random = Random::new(seed);
        let mut random = Random::new(random.bits().wrapping_add(number as u64));
        let grid: Vec<f32> = (0..CELLS * CELLS).map(|_| f32::from(u8::from(random.uniform() < KEPT))).collect();
        let offset = [size.height, size.width].map(|side| random.below(side.div_ceil(CELLS)));
        rise_mask(&grid, offset, size)
    };
    let masked = |number: usize| {
        let mask = mask(number);
        let input: Vec<f32> = input.iter().zip(mask.iter().cycle()).map(|(value, weight)| value * weight).collect();
        score(&input)
    };
    let scores = workers::each(masks, threads, masked)?;
    let mut sum = vec![0.0; size.area()];
    for (number, score) in scores.iter().enumerate() {
        sum.iter_mut().zip(mask(number)).for_each(|(sum, weight)| *sum += score * weight);
    }
    let unit = masks as f32 * KEPT as f32;
    sum.iter_mut().for_each(|value| *value /= unit);
    Ok(Map { values: sum, size })
}

fn at_least_one(masks: usize) -> anyhow::Result<()> {
    ensure!(masks > 0, "rise_masks: expected at least one mask, found 0");
    Ok(())
}

/// One mask: the grid of 7 x 7 cells resized to the size of 8 x 8 (bilinear, mirrored at the border as in scikit-image), and a part of that.
pub fn rise_mask(grid: &[f32], [top, left]: [usize; 2], size: Size) -> Vec<f32> {
    let at = |index: usize, side: usize| {
        let whole = (CELLS + 1) * side.div_ceil(CELLS);
        let position = (index as f32 + 0.5) * CELLS as f32 / whole as f32 - 0.5;
        let below = position.floor();
        let mirrored = |cell: isize| {
            let last = CELLS as isize - 1;
            (if cell < 0 {
                -cell
            } else if cell > last {
                2 * last - cell
            } else {
                cell
            }) as usize
        };
        (mirrored(below as isize), mirrored(below as isize + 1), position - below)
    };
    let mut mask = Vec::with_capacity(size.area());
    for y in 0..size.height {
        let (above, below, down) = at(y + top, size.height);
        for x in 0..size.width {
            let (before, after, along) = at(x + left, size.width);
            let row = |y: usize| grid[y * CELLS + before] * (1.0 - along) + grid[y * CELLS + after] * along;
            mask.push(row(above) * (1.0 - down) + row(below) * down);
        }
    }
    mask
}
