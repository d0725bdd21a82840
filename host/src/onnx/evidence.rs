//! Whether a score's gradient reaches a layer, by one backward pass with a random picture.

use super::gradient::append_gradient;
use crate::random::Random;
use anyhow::{Context, Result};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::*;

/// How much of a layer a score's gradient reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// Share of the positions where the gradient of some channel is not zero.
    pub positions: f64,
    /// Channels whose gradient is not zero somewhere.
    pub channels: usize,
}

/// How far the gradient of the largest score of a random picture reaches. The network's outputs are the scores and the layer; `maps` turns the layer's gradient
/// into maps of so many positions.
///
/// # Errors
/// An operator without a rule, and a network that fails.
pub fn reach(mut network: TypedModel, maps: &dyn Fn(Vec<f32>) -> Vec<f32>, positions: usize) -> Result<Reach> {
    let (scores, layer) = (network.outputs[0], network.outputs[1]);
    let shape = network.outlet_fact(scores)?.shape.as_concrete().context("scores of unknown shape")?.to_vec();
    let rank = shape.len();
    let target = network.add_source("evidence.target", f32::fact(&shape))?;
    let products = network.wire_node("evidence.products", math::mul(), &[scores, target])?;
    let value = network.wire_node("evidence.score", Reduce::new((0..rank).collect(), Reducer::Sum), &products)?[0];
    let gradient = append_gradient(&mut network, value, layer)?;
    let picture = random_picture(&network)?;
    network.outputs = vec![scores];
    let mut forward = network.clone();
    forward.inputs.truncate(1);
    forward.compact()?;
    let found = forward.into_optimized()?.into_runnable()?.run(tvec!(picture.clone().into()))?;
    let found = found[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    let best = found.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let mut wanted = vec![0f32; found.len()];
    wanted[best.context("no score")?.0] = 1.0;
    network.outputs = vec![gradient];
    let wanted = Tensor::from_shape(&shape, &wanted)?;
    let gradient = network.into_optimized()?.into_runnable()?.run(tvec!(picture.into(), wanted.into()))?;
    let maps = maps(gradient[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec());
    let reached = (0..positions).filter(|at| maps.iter().skip(*at).step_by(positions).any(|value| *value != 0.0));
    let channels = maps.chunks_exact(positions).filter(|map| map.iter().any(|value| *value != 0.0));
    Ok(Reach { positions: reached.count() as f64 / positions as f64, channels: channels.count() })
}

/// Normalised values between -2 and 2.
fn random_picture(network: &TypedModel) -> Result<Tensor> {
    let shape = network.outlet_fact(network.inputs[0])?.shape.as_concrete().context("a picture of unknown shape")?;
    let mut random = Random::new(12);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (4.0 * random.uniform() - 2.0) as f32).collect();
    Tensor::from_shape(shape, &values)
}
