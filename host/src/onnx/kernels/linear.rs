//! A vector times a constant matrix, such as the classes of a classifier are computed with, and the way back, as an operator of tract's graph.
//!
//! The weights are read as they lie in the network's file, so that every graph of the network has the same ones in memory: both ways, and at each size. tract
//! lays them out anew for each of these.

use super::pointwise::bias_after;
use super::{Following, by_picture, constant};
use crate::arithmetic::lanes::Dots;
use crate::arithmetic::processor::{Processor, Work, best};
use crate::arithmetic::rows::{Finish, Mix};
use crate::onnx::sharing::shared;
use crate::workers;
use anyhow::ensure;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// `y = clamp(w x + bias)` of one vector x.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    rows: usize,
    depth: usize,
    /// Rows x depth, or the other way round if `turned`.
    weights: Arc<Tensor>,
    turned: bool,
    bias: Arc<Tensor>,
    low: f32,
    high: f32,
    shape: TVec<usize>,
}

// A bound is never NaN.
impl Eq for Linear {}

/// Puts the operator in the place of a node, with the bias and the clamps that follow it, if the node multiplies one vector with a constant matrix.
pub(super) fn replace(model: &mut TypedModel, id: usize) -> TractResult<bool> {
    let node = model.node(id);
    let Some(Form { weights, turned, axis }) = node.op_as::<EinSum>().and_then(|op| form(model, node, op)) else {
        return Ok(false);
    };
    let (input, fact) = (node.inputs[1 - weights], &node.outputs[0].fact);
    let (Some(shape), Some(weights)) =
        (fact.shape.as_concrete(), model.outlet_fact(node.inputs[weights])?.konst.clone())
    else {
        return Ok(false);
    };
    let (rows, depth) =
        if turned { (weights.shape()[1], weights.shape()[0]) } else { (weights.shape()[0], weights.shape()[1]) };
    let alone = |shape: &[usize], length: usize| shape.iter().product::<usize>() == length;
    let from = model.outlet_fact(input)?.shape.as_concrete();
    if !alone(shape, rows) || !from.is_some_and(|from| alone(from, depth)) || weights.len() == 0 {
        return Ok(false);
    }
    let (shape, weights) = (shape.into(), shared(weights));
    let (bias, last) = bias_after(model, id, axis, rows).unwrap_or_else(|| (vec![0.0; rows], id));
    let Following { last, low, high } = Following::clamps(model, last)?;
    let operator = Linear { rows, depth, weights, turned, bias: constant(&bias), low, high, shape };
    let mut patch = TypedModelPatch::default();
    let inputs = [patch.tap_model(model, input)?];
    let output = patch.wire_node(&model.node(id).name, operator, &inputs)?[0];
    patch.shunt_outside(model, last.into(), output)?;
    patch.apply(model)?;
    Ok(true)
}

/// Where the weights of a product are, and how they lie.
struct Form {
    /// Which input they are.
    weights: usize,
    /// Inputs x outputs, instead of outputs x inputs.
    turned: bool,
    /// The axis of the result that runs over the outputs.
    axis: usize,
}

/// The product as sums over one axis of the weights, with their other axis in the result. The vector and the result may have any axes of length one besides, in
/// common or not: a sum over one position is none.
fn form(model: &TypedModel, node: &TypedNode, op: &EinSum) -> Option<Form> {
    if op.q_params.is_some() || op.operating_dt != f32::datum_type() || node.inputs.len() != 2 {
        return None;
    }
    let facts = [model.outlet_fact(node.inputs[0]).ok()?, model.outlet_fact(node.inputs[1]).ok()?];
    let (inputs, outputs) = op.axes.to_strs();
    let weights = (0..2).find(|&slot| facts[slot].konst.is_some() && facts[slot].rank() == 2)?;
    let (first, second) = inputs[weights].chars().next().zip(inputs[weights].chars().nth(1))?;
    let (vector, result) = (&inputs[1 - weights], outputs.first()?);
    let summed = |name: char| vector.contains(name) && !result.contains(name);
    let kept = |name: char| result.contains(name) && !vector.contains(name);
    let turned = summed(first) && kept(second);
    let floats = facts.iter().all(|fact| fact.datum_type == f32::datum_type());
    (floats && (turned || summed(second) && kept(first))).then_some(())?;
    let axis = result.chars().position(|name| name == if turned { second } else { first })?;
    Some(Form { weights, turned, axis })
}

impl Linear {
    /// What it multiplies with.
    #[cfg(test)]
    pub(super) fn weights(&self) -> Arc<Tensor> {
        Arc::clone(&self.weights)
    }
}

/// Some of the outputs, each from a row of weights.
struct Products<'a> {
    dots: Dots<'a>,
    finish: Finish<'a>,
}

impl Work for Products<'_> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let Self { dots: Dots { length, rows, vectors, output }, finish } = self;
        Dots { length, rows, vectors, output }.run::<P>();
        finish.apply(output);
    }
}

impl Op for Linear {
    fn name(&self) -> StaticName {
        "decomcam.Linear".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{} x {}, {} to {}", self.rows, self.depth, self.low, self.high)])
    }

    op_as_typed_op!();
}

impl EvalOp for Linear {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Self { rows, depth, turned, low, high, .. } = *self;
        let (weights, bias) = (self.weights.try_as_plain_ram()?, self.bias.try_as_plain_ram()?);
        let (weights, bias) = (weights.as_slice::<f32>()?, bias.as_slice::<f32>()?);
        // Whole lines of the processor's cache, so that no two threads share one.
        let portion = workers::portion(rows, 16, 1, rows * depth);
        by_picture(&inputs, depth, &self.shape, rows, |_, input, output| {
            workers::portions(output, portion, |at, output| {
                let first = at * portion;
                let finish = Finish { bias: &bias[first..][..output.len()], low, high };
                if turned {
                    best(Mix { input, weights: &weights[first..], pitch: rows, finish, output });
                } else {
                    let rows = &weights[first * depth..][..output.len() * depth];
                    best(Products { dots: Dots { length: depth, rows, vectors: input, output }, finish });
                }
                Ok(())
            })
        })
    }
}

impl TypedOp for Linear {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 1, "expected one input, found {}", inputs.len());
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}
