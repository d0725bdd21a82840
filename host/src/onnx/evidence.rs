//! Whether a score's gradient reaches a layer, by one backward pass with a random picture.

use super::gradient::append_straight_gradient;
use crate::random::Random;
use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use tract_onnx::tract_core::ops::cnn::{MaxPool, SumPool};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::*;

/// How much of a layer a score's gradient reaches.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// Share of the positions where the gradient of some channel is not zero.
    pub positions: f64,
    /// Channels whose gradient is not zero somewhere.
    pub channels: usize,
    /// The scores of the random picture.
    pub scores: Vec<f32>,
}

/// How much work may be done to find a layer, in operations: a file decides how much its network takes, and a small one may ask for years.
#[derive(Debug)]
pub struct Budget(Cell<f64>);

impl Budget {
    /// Every network may take so many, a second or two.
    const LEAST: f64 = 5e10;
    /// One with many weights may take so many for each: more than networks do that use a weight at every pixel of a photo of 512 x 512.
    const PER_WEIGHT: f64 = 2e4;

    /// Of a network with so many weights.
    pub fn of(weights: usize) -> Self {
        Self(Cell::new(Self::LEAST.max(Self::PER_WEIGHT * weights as f64)))
    }

    fn spend(&self, work: f64) -> Result<()> {
        let left = self.0.get();
        ensure!(
            work <= left,
            "not checked, because that would take {work:.0e} operations where {left:.0e} are left for a network of this size"
        );
        self.0.set(left - work);
        Ok(())
    }
}

/// Operations that a network takes: products and divisions, and some for each number that is made.
fn work(network: &TypedModel) -> Result<f64> {
    const PER_NUMBER: f64 = 10.0;
    let mut sum = 0.0;
    for node in network.eval_order()? {
        let node = network.node(node);
        let made: f64 = node.outputs.iter().map(|output| volume(&output.fact)).sum();
        let inputs: Vec<TypedFact> =
            node.inputs.iter().map(|input| network.outlet_fact(*input).cloned()).collect::<TractResult<_>>()?;
        let costs = node.op.cost(&inputs.iter().collect::<Vec<_>>()).unwrap_or_default();
        let computed = costs.iter().filter(|(cost, _)| cost.is_compute());
        sum += computed.map(|(_, times)| times.to_i64().map_or(0.0, |times| times as f64)).sum::<f64>();
        // tract does not count what is looked at in pooling.
        let pooled = node.op_as::<MaxPool>().map(|pool| &pool.pool_spec);
        let pooled = pooled.or(node.op_as::<SumPool>().map(|pool| &pool.pool_spec));
        let seen: f64 = pooled.map_or(1.0, |pool| pool.kernel_shape.iter().map(|side| *side as f64).product());
        sum += made * seen.max(PER_NUMBER);
    }
    Ok(sum)
}

fn volume(fact: &TypedFact) -> f64 {
    fact.shape.as_concrete().map_or(0.0, |shape| shape.iter().map(|length| *length as f64).product())
}

/// How far the gradient of the largest score of a random picture reaches, the ends of integers' ranges passed. The network's outputs are the scores and the layer; `maps` turns the layer's gradient
/// into maps of so many positions. The work is paid from `budget`.
///
/// # Errors
/// An operator without a rule, a network that fails, and one that takes more than the budget.
pub fn reach(
    mut network: TypedModel,
    maps: &dyn Fn(Vec<f32>) -> Vec<f32>,
    positions: usize,
    budget: &Budget,
) -> Result<Reach> {
    let (scores, layer) = (network.outputs[0], network.outputs[1]);
    let shape = network.outlet_fact(scores)?.shape.as_concrete().context("scores of unknown shape")?.to_vec();
    let rank = shape.len();
    let target = network.add_source("evidence.target", f32::fact(&shape))?;
    let products = network.wire_node("evidence.products", math::mul(), &[scores, target])?;
    let value = network.wire_node("evidence.score", Reduce::new((0..rank).collect(), Reducer::Sum), &products)?[0];
    let gradient = append_straight_gradient(&mut network, value, layer)?;
    network.outputs = vec![gradient];
    budget.spend(work(&network)?)?;
    let picture = random_picture(&network)?;
    network.outputs = vec![scores];
    let mut forward = network.clone();
    forward.inputs.truncate(1);
    forward.compact()?;
    let found = runnable(forward)?.run(tvec!(picture.clone().into()))?;
    let found = found[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    let best = found.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    let mut wanted = vec![0f32; found.len()];
    wanted[best.context("no score")?.0] = 1.0;
    network.outputs = vec![gradient];
    let wanted = Tensor::from_shape(&shape, &wanted)?;
    let gradient = runnable(network)?.run(tvec!(picture.into(), wanted.into()))?;
    let maps = maps(gradient[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec());
    let reached = (0..positions).filter(|at| maps.iter().skip(*at).step_by(positions).any(|value| *value != 0.0));
    let channels = maps.chunks_exact(positions).filter(|map| map.iter().any(|value| *value != 0.0));
    Ok(Reach { positions: reached.count() as f64 / positions as f64, channels: channels.count(), scores: found })
}

/// The scores of the random picture that [`reach`] takes, by a network as it is. The work is paid from `budget`.
///
/// # Errors
/// A network that fails, and one that takes more than the budget.
pub fn scores(network: TypedModel, budget: &Budget) -> Result<Vec<f32>> {
    budget.spend(work(&network)?)?;
    let picture = random_picture(&network)?;
    let found = SimplePlan::new(network)?.run(tvec!(picture.into()))?;
    Ok(found[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
}

/// How far scores are apart: the root of the summed squares of their differences over that of the first. None if the first are not finite.
pub fn difference(scores: &[f32], others: &[f32]) -> Option<f64> {
    let length =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if scores.len() != others.len() || !scores.iter().all(|score| score.is_finite()) {
        return None;
    }
    let apart = length(&mut scores.iter().zip(others).map(|(a, b)| a - b));
    Some(if apart == 0.0 { 0.0 } else { apart / length(&mut scores.iter().copied()) })
}

/// The network, optimised if tract can.
fn runnable(network: TypedModel) -> TractResult<Arc<TypedRunnableModel>> {
    let mut optimised = network.clone();
    if optimised.optimize().is_ok() {
        return SimplePlan::new(optimised);
    }
    SimplePlan::new(network)
}

/// Normalised values between -2 and 2.
fn random_picture(network: &TypedModel) -> Result<Tensor> {
    let shape = network.outlet_fact(network.inputs[0])?.shape.as_concrete().context("a picture of unknown shape")?;
    let mut random = Random::new(12);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (4.0 * random.uniform() - 2.0) as f32).collect();
    Tensor::from_shape(shape, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_spent_and_grows_with_the_weights() {
        let budget = Budget::of(0);
        budget.spend(0.6 * Budget::LEAST).unwrap();
        let error = budget.spend(0.6 * Budget::LEAST).unwrap_err().to_string();
        assert!(error.starts_with("not checked, because"), "{error}");
        budget.spend(0.3 * Budget::LEAST).unwrap();
        let weights = 10_000_000;
        Budget::of(weights).spend(Budget::PER_WEIGHT * weights as f64).unwrap();
        assert!(Budget::of(weights).spend(1.01 * Budget::PER_WEIGHT * weights as f64).is_err());
    }

    #[test]
    fn work_counts_products_and_numbers() {
        let mut network = TypedModel::default();
        let x = network.add_source("x", f32::fact([4, 5])).unwrap();
        let doubled = network.wire_node("doubled", math::mul(), &[x, x]).unwrap();
        network.outputs = doubled.to_vec();
        let least = 2.0 * 20.0;
        let found = work(&network).unwrap();
        assert!((least..100.0 * least).contains(&found), "{found}");
    }

    #[test]
    fn a_network_beyond_the_budget_is_not_run() {
        let mut network = TypedModel::default();
        let x = network.add_source("x", f32::fact([1, 3, 1 << 16, 1 << 16])).unwrap();
        let doubled = network.wire_node("doubled", math::add(), &[x, x]).unwrap()[0];
        let score = network.wire_node("score", Reduce::new(tvec!(1, 2, 3), Reducer::Sum), &[doubled]).unwrap()[0];
        network.outputs = vec![score, doubled];
        let error = reach(network, &|maps| maps, 1 << 32, &Budget::of(0)).unwrap_err().to_string();
        assert!(error.contains("not checked"), "{error}");
    }
}
