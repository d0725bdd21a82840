//! A 1x1 convolution and the depthwise convolution that alone reads it, as one operator of tract's graph.
//!
//! Networks such as MobileNet expand a few channels to many, filter each, and sum them to a few again. The many channels are the largest tensors of the network;
//! here they exist for some rows and a few channels at a time, near the processor. Every number is that of the two operators, bit for bit.

use super::by_picture;
use super::depthwise::Depthwise;
use super::planes::{Geometry, Planes};
use super::pointwise::Pointwise;
use crate::arithmetic::processor::{Processor, Work, best};
use crate::arithmetic::products::{self, BLOCK, Factor};
use crate::workers;
use anyhow::ensure;
use std::cell::RefCell;
use tract_onnx::tract_core::internal::*;

/// `y = depthwise(pointwise(x))`. Tensors are ... x channels x height x width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expanded {
    pointwise: Pointwise,
    depthwise: Depthwise,
}

/// Memory that is kept from pass to pass.
#[derive(Default)]
struct Scratch {
    /// Rows of the input, in panels.
    panels: Vec<f32>,
    /// The same rows of a block of expanded channels.
    planes: Vec<f32>,
    /// One of them with its padding.
    padded: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Numbers of the input, and of a block of expanded channels, that are held at the same time: together they stay near, in a cache of a megabyte.
const TOGETHER: usize = 128 * 1024;

/// Puts the operator in the place of a depthwise convolution and of the 1x1 convolution before it, if nobody else reads that.
pub(super) fn replace(model: &mut TypedModel, id: usize) -> TractResult<bool> {
    let node = model.node(id);
    let Some(depthwise) = node.op_as::<Depthwise>() else { return Ok(false) };
    let before = model.node(node.inputs[0].node);
    let Some(pointwise) = before.op_as::<Pointwise>() else { return Ok(false) };
    let alone = before.outputs[0].successors.len() == 1 && !model.outputs.contains(&before.id.into());
    let plain = before.inputs.len() == 1 && depthwise.multiplier == 1 && depthwise.geometry.spread == [1, 1];
    let [height, width] = depthwise.geometry.input;
    if !alone || !plain || pointwise.rows != depthwise.channels || pointwise.columns != height * width {
        return Ok(false);
    }
    let operator = Expanded { pointwise: pointwise.clone(), depthwise: depthwise.clone() };
    let input = before.inputs[0];
    let mut patch = TypedModelPatch::default();
    let inputs = [patch.tap_model(model, input)?];
    let output = patch.wire_node(&model.node(id).name, operator, &inputs)?[0];
    patch.shunt_outside(model, id.into(), output)?;
    patch.apply(model)?;
    Ok(true)
}

impl Op for Expanded {
    fn name(&self) -> StaticName {
        "decomcam.Expanded".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok([self.pointwise.info()?, self.depthwise.info()?].concat())
    }

    op_as_typed_op!();
}

impl EvalOp for Expanded {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let Self { pointwise, depthwise } = self;
        let (weights, bias) = (pointwise.weights.try_as_plain_ram()?, pointwise.bias.try_as_plain_ram()?);
        let (weights, bias) = (weights.as_slice::<f32>()?, bias.as_slice::<f32>()?);
        let (kernel, offsets) = (depthwise.kernel.try_as_plain_ram()?, depthwise.bias.try_as_plain_ram()?);
        let (kernel, offsets) = (kernel.as_slice::<f32>()?, offsets.as_slice::<f32>()?);
        let channels = depthwise.channels;
        let area: usize = depthwise.geometry.output.iter().product();
        let operations = channels * pointwise.columns * pointwise.depth + kernel.len() * area;
        // One portion for each thread: each copies the whole input.
        let portion = workers::portion(channels, BLOCK, 1, operations);
        let input_length = pointwise.depth * pointwise.columns;
        by_picture(&inputs, input_length, &depthwise.shape, channels * area, |_, input, output| {
            workers::portions(output, portion * area, |at, output| {
                let (first, count) = (at * portion, output.len() / area);
                let taps = kernel.len() / channels;
                SCRATCH.with_borrow_mut(|scratch| {
                    best(Rows {
                        factor: pointwise.factor(weights, bias, first, count),
                        geometry: &depthwise.geometry,
                        kernel: &kernel[first * taps..][..count * taps],
                        bias: &offsets[first..][..count],
                        low: depthwise.low,
                        high: depthwise.high,
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

impl TypedOp for Expanded {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 1, "expected one input, found {}", inputs.len());
        Ok(tvec!(f32::fact(&self.depthwise.shape)))
    }

    as_op!();
}

#[cfg(test)]
impl Expanded {
    /// What it multiplies with.
    pub(super) fn weights(&self) -> Arc<Tensor> {
        self.pointwise.weights()
    }
}

/// The work of one thread: some output channels, some rows at a time.
struct Rows<'a> {
    /// The 1x1 convolution.
    factor: Factor<'a>,
    geometry: &'a Geometry,
    kernel: &'a [f32],
    bias: &'a [f32],
    low: f32,
    high: f32,
    input: &'a [f32],
    output: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Work for Rows<'_> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let Rows { factor, geometry: g, kernel, bias, low, high, input, output, scratch } = self;
        let Scratch { panels, planes, padded } = scratch;
        let ([height, width], [outputs, output_width]) = (g.input, g.output);
        let (stride, taps) = (g.stride[0], g.kernel[0] * g.kernel[1]);
        let reach = (g.kernel[0] - 1) * g.dilation[0] + 1;
        let held = (TOGETHER / ((factor.depth + BLOCK) * width)).max(reach + stride);
        let together = (held - reach) / stride + 1;
        for first in (0..outputs).step_by(together) {
            let count = together.min(outputs - first);
            // The first row of the input that is read, and the one after the last, as if there were rows above and below it.
            let top = (first * stride) as isize - g.before[0];
            let bottom = top + ((count - 1) * stride + reach) as isize;
            let [from, to] = [top, bottom].map(|row| row.clamp(0, height as isize) as usize);
            let part = Geometry {
                input: [to - from, width],
                output: [count, output_width],
                before: [from as isize - top, g.before[1]],
                ..*g
            };
            let positions = (to - from) * width;
            lengthen(panels, products::panels_len(positions, factor.depth));
            products::copy(&input[from * width..], height * width, positions, factor.depth, panels);
            lengthen(planes, BLOCK * positions);
            for (block, bias) in bias.chunks(BLOCK).enumerate() {
                let channel = block * BLOCK;
                factor.block(block).sums::<P>(0, panels, positions, None, planes, positions);
                Planes {
                    geometry: &part,
                    multiplier: 1,
                    kernel: &kernel[channel * taps..][..bias.len() * taps],
                    bias,
                    low,
                    high,
                    input: planes,
                    output: &mut output[channel * outputs * output_width + first * output_width..],
                    pitch: outputs * output_width,
                    scratch: padded,
                }
                .run::<P>();
            }
        }
    }
}

/// Makes scratch as long as this, at least.
fn lengthen(scratch: &mut Vec<f32>, length: usize) {
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
}
