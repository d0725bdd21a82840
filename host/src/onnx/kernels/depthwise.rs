//! Depthwise convolutions, each channel by a small kernel of its own, as an operator of tract's graph; and the way back through one.

use super::planes::{Geometry, Planes};
use super::{Following, by_picture, constant, finite_numbers};
use crate::arithmetic::processor::best;
use crate::workers;
use anyhow::ensure;
use std::cell::RefCell;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// `y[m c + i] = clamp(x[c] * kernel[m c + i] + bias[m c + i])` for channels c, and i below the multiplier m. Tensors are ... x channels x height x width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Depthwise {
    pub(super) geometry: Geometry,
    pub(super) channels: usize,
    pub(super) multiplier: usize,
    pub(super) kernel: Arc<Tensor>,
    pub(super) bias: Arc<Tensor>,
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) shape: TVec<usize>,
}

// A bound is never NaN.
impl Eq for Depthwise {}

thread_local! {
    /// One padded plane. It is kept from pass to pass.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Puts the operator in the place of a node, with the clamps that follow it, if the node is a depthwise convolution in two dimensions.
pub(super) fn replace(model: &mut TypedModel, id: usize) -> TractResult<bool> {
    let node = model.node(id);
    let found = if let Some(conv) = node.op_as::<Conv>() {
        forward(model, node, conv)?
    } else if let Some(deconv) = node.op_as::<Deconv>() {
        backward(model, node, deconv)?
    } else {
        None
    };
    let Some(mut operator) = found else { return Ok(false) };
    let Following { last, low, high } = Following::clamps(model, id)?;
    (operator.low, operator.high) = (low, high);
    let mut patch = TypedModelPatch::default();
    let input = patch.tap_model(model, model.node(id).inputs[0])?;
    let output = patch.wire_node(&model.node(id).name, operator, &[input])?[0];
    patch.shunt_outside(model, last.into(), output)?;
    patch.apply(model)?;
    Ok(true)
}

/// y\[p\] = sum over k of w\[k\] x\[p stride + k dilation - pad\].
fn forward(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Depthwise>> {
    let pool = &conv.pool_spec;
    if conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW || conv.group != pool.input_channels {
        return Ok(None);
    }
    let Some(input) = plane_of(model, node.inputs[0], pool)? else { return Ok(None) };
    let padding = pool.computed_padding(&input);
    operator(model, node, pool, false, |output| Geometry {
        input,
        output,
        kernel: pair(&pool.kernel_shape),
        stride: [pool.stride(0), pool.stride(1)],
        dilation: [pool.dilation(0), pool.dilation(1)],
        before: [0, 1].map(|axis| padding[axis].pad_before as isize),
        spread: [1, 1],
    })
}

/// y\[p stride + k dilation - pad\] = sum over k of w\[k\] x\[p\]: with zeros between the numbers of x, the convolution by the kernel turned round.
fn backward(model: &TypedModel, node: &TypedNode, deconv: &Deconv) -> TractResult<Option<Depthwise>> {
    let pool = &deconv.pool_spec;
    let depthwise = deconv.group == pool.input_channels && deconv.group == pool.output_channels;
    if !depthwise || deconv.kernel_format != KernelFormat::OIHW {
        return Ok(None);
    }
    let Some(input) = plane_of(model, node.inputs[0], pool)? else { return Ok(None) };
    let (dilations, strides) = (pool.dilations(), pool.strides());
    let padding =
        pool.padding.compute_for_deconv(&input, &pool.kernel_shape, &dilations, &strides, &deconv.adjustments)?;
    operator(model, node, pool, true, |output| Geometry {
        input,
        output,
        kernel: pair(&pool.kernel_shape),
        stride: [1, 1],
        dilation: [dilations[0], dilations[1]],
        before: [0, 1]
            .map(|axis| ((pool.kernel_shape[axis] - 1) * dilations[axis]) as isize - padding[axis].pad_before as isize),
        spread: [strides[0], strides[1]],
    })
}

/// Height and width of a tensor of floats that is channels x height x width, or a batch of such.
fn plane_of(model: &TypedModel, tensor: OutletId, pool: &PoolSpec) -> TractResult<Option<[usize; 2]>> {
    let fact = model.outlet_fact(tensor)?;
    let Some(shape) = fact.shape.as_concrete() else { return Ok(None) };
    let fits = matches!((pool.data_format, shape.len()), (DataFormat::NCHW, 4) | (DataFormat::CHW, 3));
    // A plane without numbers is left to tract.
    if !fits || fact.datum_type != f32::datum_type() || shape.contains(&0) {
        return Ok(None);
    }
    Ok(Some(pair(&shape[shape.len() - 2..])))
}

fn pair(lengths: &[usize]) -> [usize; 2] {
    [lengths[0], lengths[1]]
}

/// The operator, if weights and bias are constants. Where a weight is not finite, zeros of the padding would not come to nothing.
fn operator(
    model: &TypedModel,
    node: &TypedNode,
    pool: &PoolSpec,
    turned: bool,
    geometry: impl FnOnce([usize; 2]) -> Geometry,
) -> TractResult<Option<Depthwise>> {
    let (channels, outputs) = (pool.input_channels, pool.output_channels);
    let fact = model.outlet_fact(node.id.into())?;
    let Some(shape) = fact.shape.as_concrete().filter(|shape| !shape.contains(&0)) else { return Ok(None) };
    let [Some(kernel), Some(bias)] = [1, 2].map(|slot| finite_numbers(model, node.inputs[slot])) else {
        return Ok(None);
    };
    let taps: usize = pool.kernel_shape.iter().product();
    if channels == 0 || outputs % channels != 0 || kernel.len() != outputs * taps || taps == 0 {
        return Ok(None);
    }
    let bias = match bias.len() {
        1 => vec![bias[0]; outputs],
        length if length == outputs => bias,
        _ => return Ok(None),
    };
    let mut kernel = kernel;
    if turned {
        kernel.chunks_exact_mut(taps).for_each(<[f32]>::reverse);
    }
    Ok(Some(Depthwise {
        geometry: geometry(pair(&shape[shape.len() - 2..])),
        channels,
        multiplier: outputs / channels,
        kernel: constant(&kernel),
        bias: constant(&bias),
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
        shape: shape.into(),
    }))
}

impl Op for Depthwise {
    fn name(&self) -> StaticName {
        "decomcam.Depthwise".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?}, {} to {}", self.geometry, self.low, self.high)])
    }

    op_as_typed_op!();
}

impl EvalOp for Depthwise {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (kernel, bias) = (self.kernel.try_as_plain_ram()?, self.bias.try_as_plain_ram()?);
        let (kernel, bias) = (kernel.as_slice::<f32>()?, bias.as_slice::<f32>()?);
        let [input_area, output_area] =
            [self.geometry.input, self.geometry.output].map(|[height, width]| height * width);
        let taps = kernel.len() / bias.len();
        // Two portions for each thread: one that is held up has less to catch up with.
        let planes = workers::portion(bias.len(), self.multiplier, 2, kernel.len() * output_area);
        by_picture(&inputs, self.channels * input_area, &self.shape, bias.len() * output_area, |_, input, output| {
            workers::portions(output, planes * output_area, |at, output| {
                let (first, count) = (at * planes, output.len() / output_area);
                SCRATCH.with_borrow_mut(|scratch| {
                    best(Planes {
                        geometry: &self.geometry,
                        multiplier: self.multiplier,
                        kernel: &kernel[first * taps..][..count * taps],
                        bias: &bias[first..][..count],
                        low: self.low,
                        high: self.high,
                        input: &input[first / self.multiplier * input_area..],
                        output,
                        pitch: output_area,
                        scratch,
                    });
                });
                Ok(())
            })
        })
    }
}

impl TypedOp for Depthwise {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == 1, "expected one input, found {}", inputs.len());
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}

#[cfg(test)]
impl Depthwise {
    /// What it multiplies with.
    pub(super) fn weights(&self) -> Arc<Tensor> {
        Arc::clone(&self.kernel)
    }
}
