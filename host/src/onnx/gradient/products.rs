//! Matrix products and convolutions.

use super::{Rule, Tape};
use anyhow::{Context, ensure};
use std::collections::HashSet;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;

pub(super) fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<EinSum>() {
        return Some(einsum);
    }
    if op.is::<Conv>() {
        return Some(conv);
    }
    if op.is::<Deconv>() {
        return Some(deconv);
    }
    None
}

/// Why an operator of these has no rule as it is used, if it has none.
pub(super) fn beyond_rule(network: &TypedModel, node: &TypedNode) -> Option<&'static str> {
    if let Some(op) = node.op_as::<EinSum>() {
        let (inputs, _) = op.axes.to_strs();
        return match inputs.len() {
            1 | 2 if inputs.iter().any(|axes| repeats(axes)) => Some("of a diagonal"),
            1 | 2 => None,
            _ => Some("of more than two tensors"),
        };
    }
    let has_kernel = node.op_is::<Conv>() || node.op_is::<Deconv>();
    let computed = |kernel: &OutletId| network.outlet_fact(*kernel).is_ok_and(|fact| fact.konst.is_none());
    (has_kernel && node.inputs.get(1).is_some_and(computed)).then_some("with a kernel that is computed")
}

/// Whether an axis stands twice.
fn repeats(axes: &str) -> bool {
    axes.chars().collect::<HashSet<_>>().len() != axes.chars().count()
}

/// y = sum of products, such as y\[m,n\] = sum over k of a\[m,k\] b\[k,n\]: ds/da is the sum of products of g and b
/// over the axes that a lacks, here ds/da\[m,k\] = sum over n of g\[m,n\] b\[k,n\].
///
/// An axis that only a has was summed over: ds/da is repeated along it.
fn einsum(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<EinSum>().context("an EinSum")?;
    ensure!(
        op.q_params.is_none() && op.operating_dt == f32::datum_type() && (1..=2).contains(&node.inputs.len()),
        "only a product of one or two f32 tensors has a rule"
    );
    let (inputs, outputs) = op.axes.to_strs();
    let (ours, output) = (&inputs[slot], &outputs[0]);
    let shape = tape.shape(node.inputs[slot])?;
    ensure!(!inputs.iter().any(|axes| repeats(axes)), "a diagonal has no rule");
    if node.inputs.len() == 1 {
        let axes = AxesMapping::from_strs(&[output], &[ours])?;
        let back = tape.wire("einsum", EinSum::new(axes, op.operating_dt), &[g])?;
        return tape.broadcast(back, &shape);
    }
    let other = &inputs[1 - slot];
    let factor = match tape.constant_behind(node.inputs[1 - slot])? {
        Some(weights) => tape.constant(weights)?,
        None => node.inputs[1 - slot],
    };
    // An axis of ours that neither g nor the other input has comes out with length one.
    let axes = AxesMapping::from_strs(&[output, other], &[ours])?;
    let back = tape.wire("einsum", EinSum::new(axes, op.operating_dt), &[g, factor])?;
    tape.broadcast(back, &shape)
}

/// y\[o,p\] = sum over i, k of w\[o,i,k\] x\[i, p stride + k dilation - pad\]: the transposed convolution,
/// ds/dx\[i,q\] = sum over o, k of w\[o,i,k\] g\[o,p\] with p stride = q + pad - k dilation.
fn conv(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Conv>().context("a Conv")?;
    ensure!(slot == 0, "a convolution's kernel and bias have no gradient rule");
    ensure!(
        op.q_params.is_none() && op.kernel_fmt == KernelFormat::OIHW,
        "only f32 convolutions with kernels laid out OIHW have a rule"
    );
    let (kernel, no_bias) = kernel_back(tape, node, op.group)?;
    let pool = &op.pool_spec;
    let input = pool.data_format.shape(tape.shape(node.inputs[0])?)?;
    let output = pool.data_format.shape(tape.shape(node.id.into())?)?;
    let (mut before, mut after, mut beyond) = (tvec!(), tvec!(), tvec!());
    for (axis, pad) in pool.computed_padding(input.hw_dims()).iter().enumerate() {
        let reach = reach(pool, axis, output.hw_dims()[axis]);
        // A stride can leave rows at the end that no output reads: their derivative is zero.
        let padded = input.hw_dims()[axis] + pad.pad_before + pad.pad_after;
        beyond.push(padded.checked_sub(reach).context("a convolution that reads past its padding has no rule")?);
        before.push(pad.pad_before);
        after.push(pad.pad_after);
    }
    let back = pool_back(pool, before, after);
    tape.wire("deconv", Deconv::new(back, KernelFormat::OIHW, beyond, op.group), &[g, kernel, no_bias])
}

/// The transposed convolution y\[o, p stride + k dilation - pad\] = sum over i, k of w\[o,i,k\] x\[i,p\]: the convolution that it
/// transposes, ds/dx\[i,p\] = sum over o, k of w\[o,i,k\] g\[o, p stride + k dilation - pad\].
fn deconv(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Deconv>().context("a Deconv")?;
    ensure!(slot == 0, "a transposed convolution's kernel and bias have no gradient rule");
    ensure!(op.kernel_format == KernelFormat::OIHW, "only kernels laid out OIHW have a rule");
    let (kernel, no_bias) = kernel_back(tape, node, op.group)?;
    let pool = &op.pool_spec;
    let input = pool.data_format.shape(tape.shape(node.inputs[0])?)?;
    let output = pool.data_format.shape(tape.shape(node.id.into())?)?;
    let padding = pool.padding.compute_for_deconv(
        input.hw_dims(),
        &pool.kernel_shape,
        &pool.dilations(),
        &pool.strides(),
        &op.adjustments,
    )?;
    let (mut before, mut after) = (tvec!(), tvec!());
    for (axis, pad) in padding.iter().enumerate() {
        // As many rows behind as make the convolution come out as long as x; a stride may leave some of g unread.
        let reach = reach(pool, axis, input.hw_dims()[axis]);
        before.push(pad.pad_before);
        after.push(reach.saturating_sub(pad.pad_before + output.hw_dims()[axis]));
    }
    let spec = pool_back(pool, before, after);
    let conv = Conv { pool_spec: spec, kernel_fmt: KernelFormat::OIHW, group: op.group, q_params: None };
    tape.wire("conv", conv, &[g, kernel, no_bias])
}

/// Positions from the first that a kernel reads or writes along an axis to the last, when it stands at `count` places.
fn reach(pool: &PoolSpec, axis: usize, count: usize) -> usize {
    (count - 1) * pool.stride(axis) + (pool.kernel_shape[axis] - 1) * pool.dilation(axis) + 1
}

/// The way back through the same kernel: channels in and out change places, and the padding is another.
fn pool_back(pool: &PoolSpec, before: TVec<usize>, after: TVec<usize>) -> PoolSpec {
    PoolSpec {
        padding: PaddingSpec::Explicit(before, after),
        input_channels: pool.output_channels,
        output_channels: pool.input_channels,
        ..pool.clone()
    }
}

/// The kernel of the way back, and no bias.
fn kernel_back(tape: &mut Tape, node: &TypedNode, group: usize) -> TractResult<(OutletId, OutletId)> {
    let kernel = tape.constant_behind(node.inputs[1])?.context("a computed kernel has no rule")?;
    Ok((tape.constant(transposed(&kernel, group)?)?, tape.constant(tensor0(0f32))?))
}

/// Swaps a kernel's output and input channels within each group: (group o) i ... to (group i) o ...
fn transposed(kernel: &Tensor, group: usize) -> TractResult<Tensor> {
    let kernel = kernel.clone().split_axis(0, group)?.move_axis(1, 2)?;
    Ok(kernel.collapse_axis_with_next(0))
}
