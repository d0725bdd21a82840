//! Operators of our own for what tract computes slowly, put in the place of tract's when a graph is complete.
//!
//! [`optimise`] is called once the gradient is appended: the gradient's rules know tract's operators only. What is replaced gives the same numbers; what has a
//! form that is not known here stays with tract. With `DECOMCAM_KERNELS=tract` in the environment, everything does.

mod depthwise;
mod expanded;
mod linear;
mod planes;
mod pointwise;

use super::sharing::{share_constants, shared};
use anyhow::Context;
use std::sync::OnceLock;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_core::ops::konst::Const;

/// Whose operators run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Ours, wherever there is one.
    Ours,
    /// tract's alone.
    Tract,
}

impl Kernels {
    /// What the environment says: `DECOMCAM_KERNELS=tract` switches ours off.
    pub fn from_environment() -> Self {
        static CHOSEN: OnceLock<Kernels> = OnceLock::new();
        *CHOSEN.get_or_init(|| match std::env::var("DECOMCAM_KERNELS") {
            Ok(name) if name == "tract" => Self::Tract,
            _ => Self::Ours,
        })
    }
}

/// Makes a complete graph fast: with the operators of this folder, as the environment says, and then by tract's own means.
///
/// # Errors
/// None but tract's own on an inconsistent graph.
pub fn optimise(model: &mut TypedModel) -> TractResult<()> {
    optimise_with(model, Kernels::from_environment())
}

/// As [`optimise`], with the operators that are named.
///
/// # Errors
/// Those of [`optimise`].
pub fn optimise_with(model: &mut TypedModel, kernels: Kernels) -> TractResult<()> {
    if kernels == Kernels::Ours {
        replace(model)?;
    }
    model.optimize()?;
    share_constants(model);
    Ok(())
}

/// Replaces what there is an operator for, and says how many nodes that were.
fn replace(model: &mut TypedModel) -> TractResult<usize> {
    let mut replaced = 0;
    for id in model.eval_order()? {
        // A node before may have taken this one along.
        let ours = depthwise::replace(model, id)? || pointwise::replace(model, id)? || linear::replace(model, id)?;
        if ours {
            forget_inputs(model, id);
            replaced += 1;
        }
    }
    if replaced > 0 {
        for id in model.eval_order()? {
            expanded::replace(model, id)?;
        }
        model.compact()?;
    }
    Ok(replaced)
}

/// Takes its inputs from a node that nobody reads any more, and its weights out of memory: an operator of our own has laid them out anew.
fn forget_inputs(model: &mut TypedModel, id: usize) {
    for (slot, input) in std::mem::take(&mut model.nodes[id].inputs).into_iter().enumerate() {
        let edge = InletId::new(id, slot);
        let given = model.outputs.contains(&input);
        let from = &mut model.nodes[input.node];
        from.outputs[input.slot].successors.retain(|successor| *successor != edge);
        if from.op_is::<Const>() && from.outputs[input.slot].successors.is_empty() && !given {
            from.op = Box::new(Dummy::new());
            from.outputs[input.slot].fact.konst = None;
        }
    }
}

/// The clamps that follow a node and that nobody else looks behind.
struct Following {
    /// The last of them, or the node itself.
    last: usize,
    low: f32,
    high: f32,
}

impl Following {
    /// The clamps after node `id`. Where the value before a clamp has another reader, such as the gradient, the clamp stays what it is.
    fn clamps(model: &TypedModel, id: usize) -> TractResult<Self> {
        let mut found = Self { last: id, low: f32::NEG_INFINITY, high: f32::INFINITY };
        while let Some((next, slot)) = only_reader(model, found.last) {
            let Some(binary) = next.op_as::<TypedBinOp>() else { break };
            let bound = model.outlet_fact(next.inputs[1 - slot])?.uniform.as_ref();
            let bound = bound.and_then(|bound| bound.cast_to_scalar::<f32>().ok()).filter(|bound| !bound.is_nan());
            let same = next.outputs[0].fact.without_value() == model.node(found.last).outputs[0].fact.without_value();
            let (Some(bound), true) = (bound, same) else { break };
            match binary.0.name() {
                // min(max(x, low), high) with low above high is high: what comes last counts.
                "Max" if bound <= found.high => found.low = found.low.max(bound),
                "Min" if bound >= found.low => found.high = found.high.min(bound),
                _ => break,
            }
            found.last = next.id;
        }
        Ok(found)
    }
}

/// The one node that reads a node's only output, and at which input; `None` if it has several readers or the graph gives the value out.
fn only_reader(model: &TypedModel, id: usize) -> Option<(&TypedNode, usize)> {
    let node = model.node(id);
    let [output] = &*node.outputs else { return None };
    let [reader] = *output.successors else { return None };
    if model.outputs.contains(&id.into()) {
        return None;
    }
    let next = model.node(reader.node);
    (next.inputs.len() == 2 && next.outputs.len() == 1).then_some((next, reader.slot))
}

/// The numbers of a constant tensor of floats, if they are all finite.
fn finite_numbers(model: &TypedModel, tensor: OutletId) -> Option<Vec<f32>> {
    let constant = model.outlet_fact(tensor).ok()?.konst.clone()?;
    let plain = constant.try_as_plain_ram().ok()?;
    let numbers = plain.as_slice::<f32>().ok()?;
    numbers.iter().all(|number| number.is_finite()).then(|| numbers.to_vec())
}

/// A tensor of these numbers, [`shared`].
fn constant(numbers: &[f32]) -> Arc<Tensor> {
    shared(tensor1(numbers).into_arc_tensor())
}

/// The output of an operator of our own: `compute` makes each picture of it from the number of the picture and the same picture of the input.
fn by_picture(
    inputs: &TVec<TValue>,
    input_length: usize,
    shape: &[usize],
    output_length: usize,
    compute: impl Fn(usize, &[f32], &mut [f32]) -> TractResult<()>,
) -> TractResult<TVec<TValue>> {
    let input = inputs.first().context("no input")?.try_as_plain_ram()?;
    let pictures = input.as_slice::<f32>()?.chunks_exact(input_length);
    let mut output = unwritten(shape)?;
    let mut to = output.try_as_plain_ram_mut()?;
    for (at, (input, output)) in pictures.zip(to.as_slice_mut::<f32>()?.chunks_exact_mut(output_length)).enumerate() {
        compute(at, input, output)?;
    }
    Ok(tvec!(output.into_tvalue()))
}

/// A tensor of floats for a kernel that writes every number of it. Zeros written first would cost a kernel up to half of its time.
#[allow(
    unsafe_code,
    reason = "tract has no safe way to a tensor that is not filled first, and its own operators take this one"
)]
fn unwritten(shape: &[usize]) -> TractResult<Tensor> {
    // SAFETY: every bit pattern is a float, and the kernels write all numbers before any is read; a test holds each kernel to that.
    unsafe { Tensor::uninitialized::<f32>(shape) }
}

/// The weights of an operator of our own.
#[cfg(test)]
pub(crate) fn weights(op: &dyn TypedOp) -> Option<Arc<Tensor>> {
    let depthwise = op.downcast_ref::<depthwise::Depthwise>().map(depthwise::Depthwise::weights);
    let pointwise = op.downcast_ref::<pointwise::Pointwise>().map(pointwise::Pointwise::weights);
    let expanded = op.downcast_ref::<expanded::Expanded>().map(expanded::Expanded::weights);
    let linear = op.downcast_ref::<linear::Linear>().map(linear::Linear::weights);
    depthwise.or(pointwise).or(expanded).or(linear)
}
