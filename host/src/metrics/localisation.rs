//! Whether a map lies on the object.

use crate::photo::Rect;
use crate::stats::falling;

/// Pixels, at an input of 224, within which the maximum may miss the mask in [`pointing`].
pub const POINTING_TOLERANCE: f64 = 15.0;

/// Thresholds of [`box_hits`]: 0.00, 0.01 ... 0.99 of the maximum.
pub const BOX_THRESHOLDS: usize = 100;

/// Where the map has its maximum; the first of several.
fn peak(map: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in map.iter().enumerate() {
        if *value > map[best] {
            best = at;
        }
    }
    best
}

/// The pointing game: whether a pixel of the mask is within `tolerance` pixels of the map's (first) maximum. False for an empty mask.
///
/// # Reference
/// Zhang et al., IJCV 2018, section 4.2.
pub fn pointing(map: &[f32], mask: &[bool], width: usize, tolerance: f64) -> bool {
    let (y, x) = (peak(map) / width, peak(map) % width);
    mask.iter().enumerate().any(|(at, inside)| {
        let (dy, dx) = ((at / width).abs_diff(y) as f64, (at % width).abs_diff(x) as f64);
        *inside && dy * dy + dx * dx <= tolerance * tolerance
    })
}

/// The energy pointing game: the map's sum inside the mask over its whole sum. Any sharpening of a map raises it. A map of zeros is treated as a map of ones, so its
/// energy is the share of the mask.
///
/// # Reference
/// Wang et al. (Score-CAM), CVPRW 2020, equation 8.
pub fn energy(map: &[f32], mask: &[bool]) -> f64 {
    let sum = |wanted: &dyn Fn(bool) -> bool| -> f64 {
        map.iter().zip(mask).filter(|(_, inside)| wanted(**inside)).map(|(value, _)| f64::from(*value)).sum()
    };
    let whole = sum(&|_| true);
    if whole > 0.0 {
        sum(&|inside| inside) / whole
    } else {
        mask.iter().filter(|inside| **inside).count() as f64 / mask.len() as f64
    }
}

/// The largest intersection over union of the mask with {map >= t max}, over t = 0.1, 0.2 ... 0.9.
pub fn best_iou(map: &[f32], mask: &[bool]) -> f64 {
    let highest = f64::from(map[peak(map)]);
    let iou = |tenths: u32| {
        let threshold = f64::from(tenths) / 10.0 * highest;
        let (mut both, mut either) = (0u32, 0u32);
        for (value, inside) in map.iter().zip(mask) {
            let above = f64::from(*value) >= threshold;
            both += u32::from(above && *inside);
            either += u32::from(above || *inside);
        }
        if either == 0 { 0.0 } else { f64::from(both) / f64::from(either) }
    };
    (1..10).map(iou).fold(0.0, f64::max)
}

/// PxAP of one map: sum over the distinct values of the map, from the highest, of (recall gained) x (precision), scikit-learn's
/// `average_precision_score`. 0 for an empty mask.
///
/// # Reference
/// Choe et al., CVPR 2020, section 3.4 (they pool the pixels of all photos; here the mean over photos is reported).
pub fn pxap(map: &[f32], mask: &[bool]) -> f64 {
    let order = falling(map);
    let all = mask.iter().filter(|inside| **inside).count();
    let (mut hits, mut before, mut sum) = (0usize, 0usize, 0.0);
    for (rank, &at) in order.iter().enumerate() {
        hits += usize::from(mask[at as usize]);
        let ends = order.get(rank + 1).is_none_or(|&next| map[next as usize] < map[at as usize]);
        if ends {
            sum += (hits - before) as f64 * hits as f64 / (rank + 1) as f64;
            before = hits;
        }
    }
    if all == 0 { 0.0 } else { sum / all as f64 }
}

/// Which thresholds, in hundredths of the maximum, make a box that hits: the box around the largest 8-connected region of {map >= t max} has an
/// intersection over union of at least one half with one of `boxes`. Of several regions of the same size, the one that reached it at the highest threshold counts.
///
/// # Cost
/// One sort of the pixels, and one union-find in which regions grow as the threshold falls.
///
/// # Reference
/// Choe et al., CVPR 2020, section 3.4 (MaxBoxAcc; they measure the size of a region by the area inside its contour).
pub fn box_hits(map: &[f32], width: usize, boxes: &[Rect]) -> Vec<u8> {
    let height = map.len() / width;
    let highest = f64::from(map[peak(map)]);
    let order = falling(map);
    const NONE: u32 = u32::MAX;
    let mut parents = vec![NONE; map.len()];
    let mut regions = vec![(0u32, Rect::pixel(0, 0)); map.len()];
    let mut largest: Option<(u32, Rect)> = None;
    let mut rest = order.iter().peekable();
    let mut hits = Vec::new();
    for percent in (0..BOX_THRESHOLDS).rev() {
        let threshold = percent as f64 / BOX_THRESHOLDS as f64 * highest;
        while let Some(&at) = rest.next_if(|&&at| f64::from(map[at as usize]) >= threshold) {
            let (y, x) = (at as usize / width, at as usize % width);
            parents[at as usize] = at;
            regions[at as usize] = (1, Rect::pixel(y, x));
            let mut root = at;
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    let neighbour = (ny * width + nx) as u32;
                    if parents[neighbour as usize] == NONE {
                        continue;
                    }
                    let other = root_of(&mut parents, neighbour);
                    if other != root {
                        let ((a, box_a), (b, box_b)) = (regions[root as usize], regions[other as usize]);
                        let (winner, loser) = if a >= b { (root, other) } else { (other, root) };
                        parents[loser as usize] = winner;
                        regions[winner as usize] = (a + b, box_a.joined(box_b));
                        root = winner;
                    }
                }
            }
            let region = regions[root as usize];
            if largest.is_none_or(|(size, _)| region.0 > size) {
                largest = Some(region);
            }
        }
        if largest.is_some_and(|(_, found)| boxes.iter().any(|truth| found.iou(*truth) >= 0.5)) {
            hits.push(percent as u8);
        }
    }
    hits.reverse();
    hits
}

fn root_of(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
}
