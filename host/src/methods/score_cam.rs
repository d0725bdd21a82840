//! Score-CAM: channels weighted by the score of the photo that they mask.

use super::{Map, Scorer};
use crate::encoders::activations::Activations;
use crate::{Result, Size, workers};

/// sum over the chosen channels of softmax(s)_c A_c, with s_c the score of the input times A_c, upsampled (bilinear, corners aligned) and min-max scaled.
///
/// # Conventions
/// The released gScoreCAM also gives each channel that is not chosen the weight of a score of zero. Its paper does not, and neither does this function.
///
/// # Shapes
/// `input` 3 x height x width of `size`; the map has the layer's size.
///
/// # Reference
/// Wang et al., CVPRW 2020, 10.1109/CVPRW50498.2020.00020.
///
/// # Errors
/// Those of `score`.
pub fn score_cam(
    activations: &Activations,
    chosen: &[usize],
    (input, size): (&[f32], Size),
    threads: usize,
    score: &Scorer<'_>,
) -> Result<Map> {
    let grid = activations.size;
    let map = |channel: usize| &activations.values[channel * grid.area()..(channel + 1) * grid.area()];
    let masked = |at: usize| {
        let mut mask = bilinear(map(chosen[at]), grid, size);
        let (low, high) = mask.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        mask.iter_mut().for_each(|value| *value = (*value - low) / (high - low + 1e-8));
        let input: Vec<f32> = input.iter().zip(mask.iter().cycle()).map(|(value, weight)| value * weight).collect();
        score(&input)
    };
    let scores = workers::each(chosen.len(), threads, masked)?;
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f32 = powers.iter().sum();
    let mut sum = vec![0.0; grid.area()];
    for (channel, power) in chosen.iter().zip(&powers) {
        sum.iter_mut().zip(map(*channel)).for_each(|(sum, value)| *sum += power / total * value);
    }
    Ok(Map { values: sum, size: grid })
}

/// A map at another size, corners on corners.
fn bilinear(map: &[f32], from: Size, to: Size) -> Vec<f32> {
    let at = |index: usize, len: usize, out: usize| {
        let position = index as f32 * (len - 1) as f32 / (out - 1).max(1) as f32;
        let below = (position as usize).min(len - 1);
        (below, (below + 1).min(len - 1), position - below as f32)
    };
    let mut out = Vec::with_capacity(to.area());
    for y in 0..to.height {
        let (top, bottom, down) = at(y, from.height, to.height);
        for x in 0..to.width {
            let (left, right, along) = at(x, from.width, to.width);
            let row = |y: usize| map[y * from.width + left] * (1.0 - along) + map[y * from.width + right] * along;
            out.push(row(top) * (1.0 - down) + row(bottom) * down);
        }
    }
    out
}
