//! 1x1 convolutions, each output channel a weighted sum of the input's, as an operator of tract's graph; and the way back through one.

use super::{Following, by_picture, constant, finite_numbers, only_reader};
use crate::arithmetic::processor::{best, has_fast_products};
use crate::arithmetic::products::{BLOCK, Product, packed};
use crate::workers;
use anyhow::ensure;
use std::cell::RefCell;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// `y = clamp(w x + bias + residual)`: x is ... x input channels x positions, y is ... x output channels x positions, and the residual, a second input, is
/// of y's shape. With `channels_last`, x is positions x input channels and y positions x output channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pointwise {
    rows: usize,
    depth: usize,
    columns: usize,
    channels_last: bool,
    /// Packed; with `channels_last` input channels x output channels, and below them the bias.
    weights: Arc<Tensor>,
    /// Empty with `channels_last`.
    bias: Arc<Tensor>,
    low: f32,
    high: f32,
    shape: TVec<usize>,
}

// A bound is never NaN.
impl Eq for Pointwise {}

thread_local! {
    /// One panel. It is kept from pass to pass.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// Positions in blocks, where channels are last.
    static BLOCKS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Fewer positions than this are left to tract, which multiplies by vectors faster.
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
/// Elsewhere than on a processor with fused multiply-add and in a browser with vectors, tract's product is faster.
pub(super) fn replace(model: &mut TypedModel, id: usize) -> TractResult<bool> {
    let node = model.node(id);
    let Some(form) = node.op_as::<EinSum>().filter(|_| has_fast_products()).and_then(|op| form(model, node, op)) else {
        return Ok(false);
    };
    let fact = &node.outputs[0].fact;
    let input = node.inputs[1 - form.weights];
    let shapes = (fact.shape.as_concrete(), model.outlet_fact(input)?.shape.as_concrete());
    let (Some(shape), Some(from)) = shapes else { return Ok(false) };
    let axis = shape.len() - form.behind - 1;
    let (rows, depth) = (shape[axis], from[from.len() - form.behind - 1]);
    // In a browser, tract itself puts the channels last, as its depthwise convolutions there want them. Elsewhere only networks that come so have them there,
    // and tract's product is taken.
    let channels_last = form.behind == 0 && cfg!(target_arch = "wasm32");
    let columns: usize = if channels_last { &shape[..axis] } else { &shape[axis + 1..] }.iter().product();
    if columns < FEWEST_POSITIONS || shape.contains(&0) || depth == 0 {
        return Ok(false);
    }
    let Some(weights) = finite_numbers(model, node.inputs[form.weights]) else { return Ok(false) };
    if weights.len() != rows * depth {
        return Ok(false);
    }
    let turned = form.turned;
    let weight = |row: usize, k: usize| if turned { weights[k * rows + row] } else { weights[row * depth + k] };
    let (bias, last) = bias_after(model, id, axis, rows).unwrap_or_else(|| (vec![0.0; rows], id));
    let (residual, last) = residual_after(model, last).map_or((None, last), |(residual, last)| (Some(residual), last));
    let Following { last, low, high } = Following::clamps(model, last)?;
    let (weights, bias) = if channels_last {
        let below = (0..depth).flat_map(|k| (0..rows).map(move |row| weight(row, k))).chain(bias);
        (below.collect(), Vec::new())
    } else {
        (packed(weight, rows, depth), bias)
    };
    let operator = Pointwise {
        rows,
        depth,
        columns,
        channels_last,
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
fn bias_after(model: &TypedModel, id: usize, axis: usize, rows: usize) -> Option<(Vec<f32>, usize)> {
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
        if self.channels_last {
            return by_picture(&inputs, self.depth * self.columns, &self.shape, area, |_, positions, output| {
                BLOCKS.with_borrow_mut(|blocks| self.product_of_rows(positions, weights, residual, output, blocks));
                Ok(())
            });
        }
        // One portion for each thread: each copies the whole input.
        let rows = workers::portion(self.rows, BLOCK, 1, area * self.depth);
        by_picture(&inputs, self.depth * self.columns, &self.shape, area, |picture, input, output| {
            workers::portions(output, rows * self.columns, |at, output| {
                let (first, count) = (at * rows, output.len() / self.columns);
                let residual = residual.map(|residual| &residual[picture * area + first * self.columns..]);
                SCRATCH.with_borrow_mut(|scratch| {
                    best(Product {
                        rows: count,
                        columns: self.columns,
                        weights: &weights[first * self.depth..][..count.next_multiple_of(BLOCK) * self.depth],
                        bias: &bias[first..],
                        residual,
                        low: self.low,
                        high: self.high,
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

impl Pointwise {
    /// The product where channels are last: each position is a row of weights, with a 1 for the bias, and the weights are what is multiplied.
    fn product_of_rows(
        &self,
        positions: &[f32],
        weights: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
        blocks: &mut Vec<f32>,
    ) {
        let (depth, rows) = (self.depth, self.columns);
        let length = rows.div_ceil(BLOCK) * BLOCK * (depth + 1);
        // No bias for a position of its own.
        blocks.clear();
        blocks.resize(length + rows, 0.0);
        let (blocks, bias) = blocks.split_at_mut(length);
        for (block, rows) in blocks.chunks_exact_mut(BLOCK * (depth + 1)).zip(positions.chunks(BLOCK * depth)) {
            for (at, row) in rows.chunks_exact(depth).enumerate() {
                let numbers = row.iter().copied().chain([1.0]);
                block[at..].iter_mut().step_by(BLOCK).zip(numbers).for_each(|(to, number)| *to = number);
            }
        }
        SCRATCH.with_borrow_mut(|scratch| {
            best(Product {
                rows,
                columns: self.rows,
                weights: blocks,
                bias,
                residual,
                low: self.low,
                high: self.high,
                input: weights,
                output,
                scratch,
            });
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// What the operator makes of an input, and of a residual of the output's shape.
    fn outputs(operator: Pointwise, input: &Tensor, residual: &Tensor) -> Vec<f32> {
        let mut model = TypedModel::default();
        let fact = |tensor: &Tensor| f32::fact(tensor.shape());
        let sources =
            [("x", input), ("residual", residual)].map(|(name, tensor)| model.add_source(name, fact(tensor)).unwrap());
        let outputs = model.wire_node("y", operator, &sources).unwrap();
        model.select_output_outlets(&outputs).unwrap();
        let run =
            model.into_runnable().unwrap().run(tvec!(input.clone().into_tvalue(), residual.clone().into_tvalue()));
        run.unwrap()[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn channels_last_have_the_bits_of_channels_first() {
        let mut random = Random::new(5);
        let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| random.uniform() as f32 - 0.5).collect() };
        for (rows, depth, columns) in [(1, 1, 16), (6, 5, 16), (13, 24, 49), (40, 3, 17), (96, 16, 30)] {
            let (w, x, bias, residual) =
                (numbers(rows * depth), numbers(depth * columns), numbers(rows), numbers(rows * columns));
            let turned = |from: &[f32], width: usize| -> Vec<f32> {
                (0..from.len()).map(|at| from[at % (from.len() / width) * width + at / (from.len() / width)]).collect()
            };
            let tensor = |shape: &[usize], numbers: &[f32]| Tensor::from_shape(shape, numbers).unwrap();
            let first = Pointwise {
                rows,
                depth,
                columns,
                channels_last: false,
                weights: constant(&packed(|row, k| w[row * depth + k], rows, depth)),
                bias: constant(&bias),
                low: -0.75,
                high: 0.5,
                shape: tvec![1, rows, columns],
            };
            let below: Vec<f32> = turned(&w, depth).into_iter().chain(bias).collect();
            let last = Pointwise {
                channels_last: true,
                weights: constant(&below),
                bias: constant(&[]),
                shape: tvec![1, columns, rows],
                ..first.clone()
            };
            let by_channel = outputs(first, &tensor(&[1, depth, columns], &x), &tensor(&[1, rows, columns], &residual));
            let by_position = outputs(
                last,
                &tensor(&[1, columns, depth], &turned(&x, columns)),
                &tensor(&[1, columns, rows], &turned(&residual, columns)),
            );
            let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&turned(&by_channel, columns)), bits(&by_position), "{rows} x {depth} x {columns}");
        }
    }
}
