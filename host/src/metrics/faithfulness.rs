//! Whether the score depends on what a map marks.

use crate::error::Sorted as _;
use crate::stats::falling;
use crate::{Error, Result};
use anyhow::ensure;

/// Scores an input: three planes in normalised space.
pub type Scorer<'a> = dyn Fn(&[f32]) -> Result<f32> + 'a;

/// Area under the score while pixels of `start` become those of `finish`, most salient first, `step` pixels at a time:
/// (sum s - s_0 / 2 - s_N / 2) / N over the N + 1 scores. Deletion goes from the input to zero, insertion from the [`blurred`] input to the input.
///
/// # Errors
/// [`Error::Options`] for inputs of another size than the map's and for steps of no pixel; those of `score`.
///
/// # Reference
/// Petsiuk et al. (RISE), BMVC 2018, section 4.2: 224 pixels at each step on 224 x 224. Equally salient pixels change in their order.
pub fn deletion_or_insertion(
    map: &[f32],
    start: &[f32],
    finish: &[f32],
    step: usize,
    score: &Scorer<'_>,
) -> Result<f64> {
    let plane = map.len();
    let sizes = || {
        ensure!(step > 0, "deletion and insertion: expected at least one pixel a step, found none");
        ensure!(start.len() == 3 * plane && finish.len() == 3 * plane, "deletion: inputs of another size");
        Ok(())
    };
    sizes().kind(Error::Options)?;
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

/// The input that insertion starts from: blurred by RISE's Gaussian of 11 taps and sigma 5, with zeros beyond the border.
///
/// # Conventions
/// The taps are scipy's `gaussian_filter` of a single 1 among 11 places, which adds what falls outside to the places inside.
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

/// The input times the map, in normalised space, which [`average_drop`] and [`average_increase`] score.
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
