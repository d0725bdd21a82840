//! How good a saliency map is: whether it lies on the object, and whether the score depends on what it marks.
//!
//! Maps and masks are height x width, row-major, on the network's input. Maps are not negative, as [`crate::photo::placement::Placement::saliency`] makes them.
//! Inputs are three planes in normalised space, where zero is the mean colour. Everything is in `f64`, in one written order, and checked against numpy,
//! scipy, scikit-learn and grad-cam by `tests/metrics.rs`.

use crate::random::Random;
use anyhow::{Result, ensure};

/// A number that judges a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// [`pointing`].
    Pointing,
    /// [`energy`].
    Energy,
    /// [`best_iou`].
    BestIou,
    /// [`box_hits`], the share of maps that hit at the threshold that is best for all.
    MaxBoxAcc,
    /// [`pxap`].
    Pxap,
    /// [`deletion_or_insertion`] towards zero; lower is better.
    Deletion,
    /// [`deletion_or_insertion`] from the blurred input.
    Insertion,
    /// [`average_drop`]; lower is better.
    AverageDrop,
    /// [`average_increase`].
    AverageIncrease,
    /// [`road`].
    Road,
}

impl Metric {
    /// Every metric, in the order of tables.
    pub const ALL: [Self; 10] = [
        Self::Pointing,
        Self::Energy,
        Self::BestIou,
        Self::MaxBoxAcc,
        Self::Pxap,
        Self::Deletion,
        Self::Insertion,
        Self::AverageDrop,
        Self::AverageIncrease,
        Self::Road,
    ];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pointing => "pointing",
            Self::Energy => "energy",
            Self::BestIou => "best_iou",
            Self::MaxBoxAcc => "max_box_acc",
            Self::Pxap => "pxap",
            Self::Deletion => "deletion",
            Self::Insertion => "insertion",
            Self::AverageDrop => "average_drop",
            Self::AverageIncrease => "average_increase",
            Self::Road => "road",
        }
    }

    /// Whether it compares the map with a mask; the others run the network.
    pub const fn needs_mask(self) -> bool {
        matches!(self, Self::Pointing | Self::Energy | Self::BestIou | Self::MaxBoxAcc | Self::Pxap)
    }

    /// Whether a larger number is better.
    pub const fn higher_is_better(self) -> bool {
        !matches!(self, Self::Deletion | Self::AverageDrop)
    }
}

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

/// The energy pointing game: the map's sum inside the mask over its whole sum. Any sharpening of a map raises it. A map of zeros says no more than one
/// of ones, and gets the same: the mask's share.
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
/// Choe et al., CVPR 2020, section 3.4 (who pool the pixels of all photos; here it is the mean over photos that is reported).
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

/// Positions by falling value, equal values in their order.
fn falling(map: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..map.len() as u32).collect();
    order.sort_by(|&a, &b| map[b as usize].total_cmp(&map[a as usize]));
    order
}

/// A rectangle of pixels: top and left inside, bottom and right outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Box {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// One past the last row.
    pub bottom: usize,
    /// One past the last column.
    pub right: usize,
}

impl Box {
    /// The box around one pixel.
    pub const fn around(y: usize, x: usize) -> Self {
        Self { top: y, left: x, bottom: y + 1, right: x + 1 }
    }

    /// The smallest box that holds both.
    pub fn joined(self, other: Self) -> Self {
        Self {
            top: self.top.min(other.top),
            left: self.left.min(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }

    fn area(self) -> usize {
        self.bottom.saturating_sub(self.top) * self.right.saturating_sub(self.left)
    }

    /// Intersection over union.
    pub fn iou(self, other: Self) -> f64 {
        let both = Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.min(other.bottom),
            right: self.right.min(other.right),
        }
        .area();
        both as f64 / (self.area() + other.area() - both) as f64
    }
}

/// Which thresholds, in hundredths of the maximum, make a box that hits: the box around the largest 8-connected region of {map >= t max} has an
/// intersection over union of at least one half with one of `boxes`. Of regions of one size the one that reached it at the highest threshold counts.
///
/// # Cost
/// One sort of the pixels, and one union-find in which regions grow as the threshold falls.
///
/// # Reference
/// Choe et al., CVPR 2020, section 3.4 (MaxBoxAcc; they measure regions by the area that their contour encloses).
pub fn box_hits(map: &[f32], width: usize, boxes: &[Box]) -> Vec<u8> {
    let height = map.len() / width;
    let highest = f64::from(map[peak(map)]);
    let order = falling(map);
    const NONE: u32 = u32::MAX;
    let mut parents = vec![NONE; map.len()];
    let mut regions = vec![(0u32, Box::around(0, 0)); map.len()];
    let mut largest: Option<(u32, Box)> = None;
    let mut rest = order.iter().peekable();
    let mut hits = Vec::new();
    for percent in (0..BOX_THRESHOLDS).rev() {
        let threshold = percent as f64 / BOX_THRESHOLDS as f64 * highest;
        while let Some(&at) = rest.next_if(|&&at| f64::from(map[at as usize]) >= threshold) {
            let (y, x) = (at as usize / width, at as usize % width);
            parents[at as usize] = at;
            regions[at as usize] = (1, Box::around(y, x));
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

/// Scores an input: three planes in normalised space.
pub type Scorer<'a> = dyn Fn(&[f32]) -> Result<f32> + 'a;

/// Area under the score while pixels of `start` become those of `finish`, most salient first, `step` pixels at a time:
/// (sum s - s_0 / 2 - s_N / 2) / N over the N + 1 scores. Deletion goes from the input to zero, insertion from the [`blurred`] input to the input.
///
/// # Reference
/// Petsiuk et al. (RISE), BMVC 2018, section 4.2: 224 pixels a step on 224 x 224. Equally salient pixels go in their order.
pub fn deletion_or_insertion(
    map: &[f32],
    start: &[f32],
    finish: &[f32],
    step: usize,
    score: &Scorer<'_>,
) -> Result<f64> {
    let plane = map.len();
    ensure!(step > 0 && start.len() == 3 * plane && finish.len() == 3 * plane, "deletion: inputs of another size");
    let mut input = start.to_vec();
    let mut scores = vec![f64::from(score(&input)?)];
    for pixels in falling(map).chunks(step) {
        for &at in pixels {
            for channel in 0..3 {
                let at = channel * plane + at as usize;
                input[at] = finish[at];
            }
        }
        scores.push(f64::from(score(&input)?));
    }
    let ends = (scores[0] + scores[scores.len() - 1]) / 2.0;
    Ok((scores.iter().sum::<f64>() - ends) / (scores.len() - 1) as f64)
}

/// The input that insertion starts from: RISE's 11-tap Gaussian of sigma 5, beyond the border zero.
///
/// # Conventions
/// The taps are scipy's `gaussian_filter` of a single one in 11 places, which folds what falls outside back in.
pub fn blurred(input: &[f32], width: usize) -> Vec<f32> {
    const TAPS: usize = 11;
    let gaussian = |offset: i32| (-0.5 * (f64::from(offset) / 5.0).powi(2)).exp();
    let total: f64 = (-20..=20).map(gaussian).sum();
    let mut taps = [0.0; TAPS];
    for (at, tap) in taps.iter_mut().enumerate() {
        for offset in -20..=20 {
            let folded = (at as i32 + offset).rem_euclid(2 * TAPS as i32);
            let folded = if folded < TAPS as i32 { folded } else { 2 * TAPS as i32 - 1 - folded };
            if folded == TAPS as i32 / 2 {
                *tap += gaussian(offset) / total;
            }
        }
    }
    let plane = input.len() / 3;
    let height = plane / width;
    let along = |source: &[f32], len: usize, stride: usize, at: usize, place: usize| -> f32 {
        let mut sum = 0.0;
        for (tap, weight) in taps.iter().enumerate() {
            if let Some(from) = (place + tap).checked_sub(TAPS / 2).filter(|from| *from < len) {
                sum += weight * f64::from(source[at + from * stride]);
            }
        }
        sum as f32
    };
    let mut out = vec![0.0; input.len()];
    for (source, out) in input.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
        let rows: Vec<f32> = (0..plane).map(|at| along(source, height, width, at % width, at / width)).collect();
        for (at, place) in out.iter_mut().enumerate() {
            *place = along(&rows, width, 1, at - at % width, at % width);
        }
    }
    out
}

/// The input times the map, in normalised space: what is left for [`average_drop`] and [`average_increase`] to score.
pub fn kept(input: &[f32], map: &[f32]) -> Vec<f32> {
    input.iter().zip(map.iter().cycle()).map(|(value, weight)| value * weight).collect()
}

/// max(0, y - o) / y, with y the score of the input and o that of the [`kept`] input. None unless y is above zero.
///
/// # Reference
/// Chattopadhyay et al., WACV 2018, section 5.1 (grad-cam's `DropInConfidence` is a difference, not this).
pub fn average_drop(whole: f64, kept: f64) -> Option<f64> {
    (whole > 0.0).then(|| (whole - kept).max(0.0) / whole)
}

/// 1 if o > y, else 0.
///
/// # Reference
/// Chattopadhyay et al., WACV 2018, section 5.1.
pub fn average_increase(whole: f64, kept: f64) -> f64 {
    f64::from(u8::from(kept > whole))
}

/// Deviation of the noise that [`road`] adds to what it fills in, in normalised space: without it the network could see the removed pixels' outline.
pub const ROAD_NOISE: f32 = 0.01;

/// ROAD, combined: the mean over removed shares of 10%, 20% ... 90% of (score with the least salient removed - score with the most salient removed)
/// / 2. Removed pixels are [`filled_in`], with noise of deviation `noise`.
///
/// # Conventions
/// Those of grad-cam's `ROADCombined`: at percentile p what is kept has map < percentile_p(map), and for the least salient 1 - map < percentile_p(1 -
/// map), numpy's linear percentiles. Where nothing is kept (a map of one value) the input is zero.
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

/// numpy's linear percentile of sorted values; `share` in 0..=1.
fn percentile(sorted: &[f32], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let (low, high) = (f64::from(sorted[below]), f64::from(sorted[(below + 1).min(sorted.len() - 1)]));
    low + (high - low) * (at - below as f64)
}

/// The input with the pixels that are not kept replaced, so that each is the mean of its neighbours: 1/6 for each beside it, 1/12 for each at a corner,
/// over the sum of the weights inside the picture. All zero if none is kept.
///
/// # Accuracy
/// Within 1e-3 of a direct solution (`tests/metrics.rs`): conjugate gradients until the residual is 1e-6 of the largest value.
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

    /// Preconditioned conjugate gradients.
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

    /// The sum over all levels of what the residual is there, brought back: smooth errors go as fast as rough ones.
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

/// Which cells at half the size a bilinear field of `height` x `width` is made of: pixel, cell, weight.
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

/// Spearman's rank correlation of two maps, equal values sharing their mean rank; 0 where a map is constant.
pub fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let ranks = |map: &[f32]| {
        let order = falling(map);
        let mut ranks = vec![0.0; map.len()];
        let mut start = 0;
        while start < order.len() {
            let same = |at: &&u32| map[**at as usize] == map[order[start] as usize];
            let end = start + order[start..].iter().take_while(same).count();
            // The mean of the places start .. end - 1, less the mean of all.
            let rank = (start + end - 1) as f64 / 2.0 - (order.len() - 1) as f64 / 2.0;
            order[start..end].iter().for_each(|&at| ranks[at as usize] = rank);
            start = end;
        }
        ranks
    };
    let (a, b) = (ranks(a), ranks(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
    if lengths > 0.0 { dot(&a, &b) / lengths } else { 0.0 }
}

/// A mean and the ends of its 95% bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The mean over all values.
    pub mean: f64,
    /// The 2.5% point of the means of resamples.
    pub low: f64,
    /// The 97.5% point.
    pub high: f64,
}

/// Resamples behind an [`Estimate`].
pub const RESAMPLES: usize = 2000;

/// Values in groups that are resampled together (the pairs of one photo), each a row of one or several columns; the statistic is the largest of the
/// columns' means. One column: the mean. A column a threshold: MaxBoxAcc.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Sums of the rows, and how many.
    groups: Vec<(Vec<f64>, usize)>,
}

impl Sample {
    /// Starts a group, to which [`Sample::push`] adds.
    pub fn group(&mut self) {
        self.groups.push((Vec::new(), 0));
    }

    /// Adds a row to the last group.
    pub fn push(&mut self, row: &[f64]) {
        if let Some((sums, count)) = self.groups.last_mut() {
            sums.resize(row.len(), 0.0);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            *count += 1;
        }
    }

    /// Rows in all groups.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|(_, count)| count).sum()
    }

    fn statistic(&self, drawn: impl Iterator<Item = usize>) -> Option<f64> {
        let (mut totals, mut count) = (Vec::new(), 0);
        for group in drawn {
            let (sums, rows) = &self.groups[group];
            totals.resize(totals.len().max(sums.len()), 0.0);
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            count += rows;
        }
        (count > 0).then(|| totals.iter().copied().fold(f64::NEG_INFINITY, f64::max) / count as f64)
    }

    /// The statistic. None if there are no rows.
    pub fn mean(&self) -> Option<f64> {
        self.statistic(0..self.groups.len())
    }

    /// The statistic with its interval: groups drawn with replacement [`RESAMPLES`] times. None if there are no rows.
    pub fn estimate(&self, seed: u64) -> Option<Estimate> {
        self.against(&Sample { groups: vec![(vec![0.0], 1); self.groups.len()] }, seed)
    }

    /// The statistic of these less that of `other`, whose groups are the same, with the interval of the difference: both are drawn together.
    pub fn against(&self, other: &Sample, seed: u64) -> Option<Estimate> {
        let groups = self.groups.len();
        let difference =
            |drawn: &[usize]| Some(self.statistic(drawn.iter().copied())? - other.statistic(drawn.iter().copied())?);
        let mean = difference(&(0..groups).collect::<Vec<_>>())?;
        let mut random = Random::new(seed);
        let mut drawn = vec![0; groups];
        let mut means: Vec<f64> = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            drawn.iter_mut().for_each(|group| *group = random.below(groups));
            means.extend(difference(&drawn));
        }
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means.get((share * (means.len() - 1) as f64).round() as usize).copied().unwrap_or(mean);
        Some(Estimate { mean, low: at(0.025), high: at(0.975) })
    }
}
