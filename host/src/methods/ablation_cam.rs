//! Ablation-CAM: channels weighted by how much silencing them costs.

use super::{Map, Scorer};
use crate::encoders::activations::Activations;
use crate::{Result, workers};

/// sum_c w_c A_c with w_c = (y - y_c) / |y|, y the score (`whole`) and y_c that of the layer with channel c at zero.
///
/// # Conventions
/// The paper divides by y, not by |y|; a negative score would then reverse the map.
///
/// # Reference
/// Desai and Ramaswamy, WACV 2020, equation 4.
///
/// # Errors
/// Those of `score`, which is called with the layer's activations, channels x height x width.
pub fn ablation_cam(activations: &Activations, whole: f32, threads: usize, score: &Scorer<'_>) -> Result<Map> {
    let Activations { channels, size, values, .. } = activations;
    let positions = size.area();
    let silenced = |channel: usize| {
        let mut others = values.clone();
        others[channel * positions..(channel + 1) * positions].fill(0.0);
        score(&others)
    };
    let scores = workers::each(*channels, threads, silenced)?;
    let unit = if whole == 0.0 { 1.0 } else { whole.abs() };
    let mut sum = vec![0.0; positions];
    for (map, without) in values.chunks_exact(positions).zip(scores) {
        let weight = (whole - without) / unit;
        sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += weight * value);
    }
    Ok(Map { values: sum, size: *size })
}
