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

    let positive = |at: usize| f64::from(map[at].max(0.0));
    let sum: f64 = (0..map.len()).map(positive).sum();
    let maximum = map.iter().copied().fold(0.0, f32::max);
    if sum <= 0.0 {
        return Ok(Vec::new());
    }
    let mut unseen: Vec<bool> = map.iter().map(|value| *value >= threshold * maximum).collect();
    let mut regions = Vec::new();
    for start in 0..map.len() {
        if !std::mem::take(&mut unseen[start]) {
            continue;
        }
        let mut border = vec![start];
        let mut region = Region { bounds: Rect::pixel(start / size.width, start % size.width), share: 0.0 };
        while let Some(at) = border.pop() {
            let (y, x) = (at / size.width, at % size.width);
            region.bounds = region.bounds.joined(Rect::pixel(y, x));
            region.share += positive(at) / sum;
            for y in y.saturating_sub(1)..(y + 2).min(size.height) {
                for x in x.saturating_sub(1)..(x + 2).min(size.width) {
                    let next = y * size.width + x;
                    if std::mem::take(&mut unseen[next]) {
                        border.push(next);
                    }
                }
            }
        }
        regions.push(region);
    }
    regions.sort_by(|a, b| b.share.total_cmp(&a.share));
    Ok(regions)
}
