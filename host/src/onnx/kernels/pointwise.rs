//! 1x1 convolutions, each output channel a weighted sum of the input's, as an operator of tract's graph; and the way back through one.

use super::{Following, by_picture, constant, finite_numbers, only_reader};
use crate::arithmetic::processor::{best, is_fused};
use crate::arithmetic::products::{BLOCK, Factor, Product, packed};
use crate::workers;
use anyhow::ensure;
use std::cell::RefCell;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// `y = clamp(w x + bias + residual)`: x is ... x input channels x positions, y is ... x output channels x positions, and the residual, a second input, is
/// of y's shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pointwise {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) weights: Arc<Tensor>,
    pub(super) bias: Arc<Tensor>,
    low: f32,
    high: f32,
    shape: TVec<usize>,
}

// A bound is never NaN.
impl Eq for Pointwise {}

thread_local! {
    /// One panel. It is kept from pass to pass.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Fewer positions than this are left to tract, which multiplies by few vectors faster; of a single one is [`super::linear`].
const FEWEST_POSITIONS: usize = 16;

/// How a product is a 1x1 convolution.
struct Form {
    /// The input that holds the weights.
    weights: usize,
    /// Whether their first axis is the input's channels.
    turned: bool,
    /// Axes that follow that of the channels.
    behind: usize,
}

/// Puts the operator in the place of a node, with the bias, the residual and the clamps that follow it, if the node is a 1x1 convolution with constant weights.
///
/// Without fused multiply-add, tract's product is faster.
pub(super) fn replace(model: &mut TypedModel, id: usize) -> TractResult<bool> {
    let node = model.node(id);
    let Some(form) = node.op_as::<EinSum>().filter(|_| is_fused()).and_then(|op| form(model, node, op)) else {
        return Ok(false);
    };
    let fact = &node.outputs[0].fact;
    let input = node.inputs[1 - form.weights];
    let shapes = (fact.shape.as_concrete(), model.outlet_fact(input)?.shape.as_concrete());
    let (Some(shape), Some(from)) = shapes else { return Ok(false) };
    let axis = shape.len() - form.behind - 1;
    let (rows, depth) = (shape[axis], from[from.len() - form.behind - 1]);
    let columns: usize = shape[axis + 1..].iter().product();
    if columns < FEWEST_POSITIONS || shape.contains(&0) || depth == 0 {
        return Ok(false);
    }
    let Some(weights) = finite_numbers(model, node.inputs[form.weights]) else { return Ok(false) };
    if weights.len() != rows * depth {
        return Ok(false);
    }
    let turned = form.turned;
    let weights = packed(|row, k| if turned { weights[k * rows + row] } else { weights[row * depth + k] }, rows, depth);
    let (bias, last) = bias_after(model, id, axis, rows).unwrap_or_else(|| (vec![0.0; rows], id));
    let (residual, last) = residual_after(model, last).map_or((None, last), |(residual, last)| (Some(residual), last));
    let Following { last, low, high } = Following::clamps(model, last)?;
    let operator = Pointwise {
        rows,
        depth,
        columns,
        weights: constant(&weights),
        bias: constant(&bias),
        low,
        high,
        shape: shape.into(),
    };
    let mut patch = TypedModelPatch::default();
    let mut inputs = tvec!(patch.tap_model(model, input)?);
    if let Some(residual) = residual {
        inputs.push(patch.tap_model(model, residual)?);
    }
    let output = patch.wire_node(&model.node(id).name, operator, &inputs)?[0];
    patch.shunt_outside(model, last.into(), output)?;
    patch.apply(model)?;
    Ok(true)
}

/// The product as sums over one axis, in whose place another comes: y\[..., o, ...\] = sum over i of w\[o, i\] x\[..., i, ...\].
fn form(model: &TypedModel, node: &TypedNode, op: &EinSum) -> Option<Form> {
    if op.q_params.is_some() || op.operating_dt != f32::datum_type() || node.inputs.len() != 2 {
        return None;
    }
    let (inputs, outputs) = op.axes.to_strs();
    let weights = (0..2).find(|&slot| {
        let fact = model.outlet_fact(node.inputs[slot]);
        fact.is_ok_and(|fact| fact.konst.is_some() && fact.rank() == 2 && fact.datum_type == f32::datum_type())
    })?;
    let both: Vec<char> = inputs[weights].chars().collect();
    let long = |names: &str, tensor: OutletId| -> Option<Vec<char>> {
        let shape = model.outlet_fact(tensor).ok()?.shape.as_concrete()?.to_vec();
        // A batch of one may come or go.
        let one = shape.first() == Some(&1) && !names.starts_with(&both[..]);
        Some(names.chars().skip(usize::from(one)).collect())
    };
    let from = long(&inputs[1 - weights], node.inputs[1 - weights])?;
    let to = long(outputs.first()?, node.id.into())?;
    let axis = (0..from.len()).find(|&axis| both.contains(&from[axis]))?;
    let turned = both[0] == from[axis];
    let (i, o) = if turned { (both[0], both[1]) } else { (both[1], both[0]) };
    let expected: Vec<char> = from.iter().map(|&name| if name == i { o } else { name }).collect();
    let distinct = |names: &[char]| (1..names.len()).all(|at| !names[..at].contains(&names[at]));
    let f32s = model.outlet_fact(node.inputs[1 - weights]).is_ok_and(|fact| fact.datum_type == f32::datum_type());
    let behind = from.len() - axis - 1;
    (f32s && i != o && !from.contains(&o) && distinct(&from) && expected == to).then_some(Form {
        weights,
        turned,
        behind,
    })
}

/// A constant for each output channel that is added to a node's value, and the node that adds it.
pub(super) fn bias_after(model: &TypedModel, id: usize, axis: usize, rows: usize) -> Option<(Vec<f32>, usize)> {
    let (next, other) = sum_after(model, id)?;
    let shape = model.outlet_fact(other).ok()?.shape.as_concrete()?.to_vec();
    let along = (0..shape.len()).all(|at| shape[at] == if at == axis { rows } else { 1 });
    Some((finite_numbers(model, other).filter(|_| along)?, next))
}

/// A computed tensor of the same shape that is added to a node's value, and the node that adds it.
fn residual_after(model: &TypedModel, id: usize) -> Option<(OutletId, usize)> {
    let (next, other) = sum_after(model, id)?;
    let [ours, theirs] = [OutletId::new(id, 0), other].map(|tensor| model.outlet_fact(tensor).ok());
    let (ours, theirs) = (ours?, theirs?);
    let same = ours.shape == theirs.shape && ours.datum_type == theirs.datum_type && theirs.konst.is_none();
    same.then_some((other, next))
}

/// The sum that a node's value goes into and nothing else, and what is added to it.
fn sum_after(model: &TypedModel, id: usize) -> Option<(usize, OutletId)> {
    let (next, slot) = only_reader(model, id)?;
    next.op_as::<TypedBinOp>().filter(|op| op.0.name() == "Add" && op.1.is_none())?;
    let same = next.outputs[0].fact.without_value() == model.node(id).outputs[0].fact.without_value();
    same.then(|| (next.id, next.inputs[1 - slot]))
}

impl Pointwise {
    /// What `count` output channels from `first` on, which a block begins with, are made by; `weights` and `bias` are the operator's own.
    pub(super) fn factor<'a>(&self, weights: &'a [f32], bias: &'a [f32], first: usize, count: usize) -> Factor<'a> {
        Factor {
            rows: count,
            depth: self.depth,
            weights: &weights[first * self.depth..][..count.next_multiple_of(BLOCK) * self.depth],
            bias: &bias[first..][..count],
            low: self.low,
            high: self.high,
        }
    }
}

impl Op for Pointwise {
    fn name(&self) -> StaticName {
        "decomcam.Pointwise".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{} x {} x {}, {} to {}", self.rows, self.depth, self.columns, self.low, self.high)])
    }

    op_as_typed_op!();
}

impl EvalOp for Pointwise {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let residual = inputs.get(1).map(|residual| residual.try_as_plain_ram()).transpose()?;
        let residual = residual.as_ref().map(|residual| residual.as_slice::<f32>()).transpose()?;
        let (weights, bias) = (self.weights.try_as_plain_ram()?, self.bias.try_as_plain_ram()?);
        let (weights, bias) = (weights.as_slice::<f32>()?, bias.as_slice::<f32>()?);
        let area = self.rows * self.columns;
        // One portion for each thread: each copies the whole input.
        let rows = workers::portion(self.rows, BLOCK, 1, area * self.depth);
        by_picture(&inputs, self.depth * self.columns, &self.shape, area, |picture, input, output| {
            workers::portions(output, rows * self.columns, |at, output| {
                let (first, count) = (at * rows, output.len() / self.columns);
                let residual = residual.map(|residual| &residual[picture * area + first * self.columns..]);
                SCRATCH.with_borrow_mut(|scratch| {
                    best(Product {
                        factor: self.factor(weights, bias, first, count),
                        columns: self.columns,
                        residual,
                        input,
                        output,
                        scratch,
                    });
                });
                Ok(())
            })
        })
    }
}

impl TypedOp for Pointwise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!((1..=2).contains(&inputs.len()), "expected one input or two, found {}", inputs.len());
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}

#[cfg(test)]
impl Pointwise {
    /// What it multiplies with.
    pub(super) fn weights(&self) -> Arc<Tensor> {
        Arc::clone(&self.weights)
    }
}
