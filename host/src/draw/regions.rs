//! Where a map is high, as boxes.

use crate::error::Sorted as _;
use crate::photo::Rect;
use crate::{Error, Result, Size};
use anyhow::ensure;
use serde::Serialize;

/// A connected place where a map is high.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Region {
    /// The box around it, in pixels.
    #[serde(flatten)]
    pub bounds: Rect,
    /// Its share of the sum of the map, of what is above zero.
    pub share: f64,
}

/// The 8-connected regions of `map >= threshold * maximum`, by falling share; none of a map without anything above zero.
///
/// # Errors
/// [`Error::Options`] unless the threshold is above 0 and at most 1; [`Error::Output`] when the map has another length than the picture has pixels.
pub fn regions(map: &[f32], size: Size, threshold: f32) -> Result<Vec<Region>> {
    let check = |holds: bool, message: String| {
        ensure!(holds, "{message}");
        Ok(())
    };
    let named =
        format!("threshold of regions: expected a share of the maximum above 0 and at most 1, found {threshold}");
    check(threshold > 0.0 && threshold <= 1.0, named).kind(Error::Options)?;
    let found = format!("cannot find a map's regions: expected {size} samples, found {}", map.len());
    check(map.len() == size.area(), found).kind(Error::Output)?;

    if map.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = map.chunks_exact(size.width).map(Row::of).collect();
    let sum: f64 = rows.iter().map(|row| row.sum).sum();
    let maximum = rows.iter().map(|row| row.maximum).fold(0.0, f32::max);
    if sum <= 0.0 {
        return Ok(Vec::new());
    }
    let mut regions = joined_runs(map, &rows, size.width, threshold * maximum);
    regions.iter_mut().for_each(|region| region.share /= sum);
    regions.sort_by(|a, b| b.share.total_cmp(&a.share));
    Ok(regions)
}

/// What is above zero in a row.
struct Row {
    sum: f64,
    maximum: f32,
}

impl Row {
    fn of(values: &[f32]) -> Self {
        const LANES: usize = 8;
        let (mut sums, mut maxima) = ([0.0f64; LANES], [0.0f32; LANES]);
        let (eights, rest) = values.as_chunks::<LANES>();
        for values in eights {
            for ((sum, maximum), value) in sums.iter_mut().zip(&mut maxima).zip(values) {
                let value = if *value > 0.0 { *value } else { 0.0 };
                *sum += f64::from(value);
                *maximum = if value > *maximum { value } else { *maximum };
            }
        }
        for ((sum, maximum), value) in sums.iter_mut().zip(&mut maxima).zip(rest) {
            *sum += f64::from(value.max(0.0));
            *maximum = maximum.max(*value);
        }
        Self { sum: sums.iter().sum(), maximum: maxima.iter().copied().fold(0.0, f32::max) }
    }
}

/// Neighbours of a row at or above the threshold.
struct Run {
    row: usize,
    start: usize,
    end: usize,
    sum: f64,
    /// The run itself, or an earlier one of the same region.
    earlier: usize,
}

/// The 8-connected regions of `map >= threshold`, the one whose first pixel comes first before the others; the share is a sum of values.
fn joined_runs(map: &[f32], rows: &[Row], width: usize, threshold: f32) -> Vec<Region> {
    let mut runs: Vec<Run> = Vec::new();
    let mut above = 0;
    for ((row, values), Row { maximum, .. }) in map.chunks_exact(width).enumerate().zip(rows) {
        let first = runs.len();
        // Most rows have nothing.
        if *maximum < threshold {
            above = first;
            continue;
        }
        let mut at = 0;
        while let Some(start) = values[at..].iter().position(|value| *value >= threshold).map(|ahead| at + ahead) {
            let end = start + values[start..].iter().take_while(|value| **value >= threshold).count();
            let sum = values[start..end].iter().map(|value| f64::from(*value)).sum();
            let index = runs.len();
            runs.push(Run { row, start, end, sum, earlier: index });
            // Those of the row above that touch it, also across a corner.
            while above < first && runs[above].end < start {
                above += 1;
            }
            for other in above..first {
                if runs[other].start > end {
                    break;
                }
                join(&mut runs, other, index);
            }
            at = end;
        }
        above = first;
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut region_of = vec![0; runs.len()];
    for index in 0..runs.len() {
        let root = root(&mut runs, index);
        let Run { row, start, end, sum, .. } = runs[index];
        let bounds = Rect::new(row, start, Size::new(1, end - start));
        if root == index {
            region_of[index] = regions.len();
            regions.push(Region { bounds, share: sum });
        } else {
            let region = &mut regions[region_of[root]];
            (region.bounds, region.share) = (region.bounds.joined(bounds), region.share + sum);
        }
    }
    regions
}

/// The first run of a run's region, as far as it is known.
fn root(runs: &mut [Run], mut index: usize) -> usize {
    while runs[index].earlier != index {
        runs[index].earlier = runs[runs[index].earlier].earlier;
        index = runs[index].earlier;
    }
    index
}

fn join(runs: &mut [Run], a: usize, b: usize) {
    let (a, b) = (root(runs, a), root(runs, b));
    runs[a.max(b)].earlier = a.min(b);
}
