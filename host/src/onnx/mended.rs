//! What tract's simplifications get wrong, written so that they leave it alone.
//!
//! tract merges steps into the convolution before them, also from the other side of what lies between: a stride, or every n-th row that is taken. It forgets with
//! which row the steps begin, and it computes padding that a file leaves open ("SAME") anew for the larger stride. So such padding becomes numbers, and every
//! n-th number becomes a choice of numbers. Where its operators compute something else than ONNX Runtime and PyTorch, they are given other inputs.

use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::resize::CoordTransformer;
use tract_onnx::tract_hir::internal::*;
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Resize};

/// Does all of it. Nothing may have been simplified yet.
pub(super) fn mend(network: &mut TypedModel) -> TractResult<()> {
    explicit_padding(network)?;
    chosen(network)?;
    resized(network)
}

/// Resizing by factors that give no whole lengths, as ONNX Runtime and PyTorch do it: what stays as large as it is, is left alone, and corners are aligned with
/// those of the result, whose length is rounded.
fn resized(network: &mut TypedModel) -> TractResult<()> {
    for id in 0..network.nodes.len() {
        let node = network.node(id);
        let Some(op) = node.op_as::<Resize>() else { continue };
        let CoordTransform::Plain(coordinates) = &op.coord_transformer else { continue };
        let (input, fact) = (node.inputs[0], network.outlet_fact(node.inputs[0])?);
        let (Some(from), Some(to)) = (fact.shape.as_concrete(), node.outputs[0].fact.shape.as_concrete()) else {
            continue;
        };
        let mut patch = TypedModelPatch::default();
        let mut resized = patch.tap_model(network, input)?;
        if from != to {
            if *coordinates != CoordTransformer::AlignCorners || op.optional_scales_input.is_none() {
                continue;
            }
            let sizes: Vec<i64> = op.resized_axes(to.len())?.iter().map(|&axis| to[axis] as i64).collect();
            let sizes = patch.add_const(format!("{}.sizes", node.name), tensor1(&sizes))?;
            let op = Resize {
                keep_aspect_ratio_policy: AspectRatio::Stretch,
                optional_roi_input: None,
                optional_scales_input: None,
                optional_sizes_input: Some(1),
                ..op.clone()
            };
            resized = patch.wire_node(&node.name, op, &[resized, sizes])?[0];
        }
        patch.shunt_outside(network, id.into(), resized)?;
        patch.apply(network)?;
    }
    Ok(())
}

/// Writes the padding of all convolutions and poolings as numbers. Shapes have to be known.
fn explicit_padding(network: &mut TypedModel) -> TractResult<()> {
    for id in 0..network.nodes.len() {
        let node = network.node(id);
        let Some(&input) = node.inputs.first() else { continue };
        let Some(shape) = network.outlet_fact(input)?.shape.as_concrete() else { continue };
        let op: Box<dyn TypedOp> = if let Some(op) = node.op_as::<Conv>() {
            let Some(pool_spec) = explicit(&op.pool_spec, shape)? else { continue };
            Box::new(Conv { pool_spec, ..op.clone() })
        } else if let Some(op) = node.op_as::<MaxPool>() {
            let Some(pool_spec) = explicit(&op.pool_spec, shape)? else { continue };
            Box::new(MaxPool { pool_spec, ..op.clone() })
        } else if let Some(op) = node.op_as::<SumPool>() {
            let Some(pool_spec) = explicit(&op.pool_spec, shape)? else { continue };
            Box::new(SumPool { pool_spec, ..op.clone() })
        } else {
            continue;
        };
        network.nodes[id].op = op;
    }
    Ok(())
}

/// The same windows, if their padding is to be computed.
fn explicit(pool: &PoolSpec, shape: &[usize]) -> TractResult<Option<PoolSpec>> {
    if !matches!(pool.padding, PaddingSpec::SameUpper | PaddingSpec::SameLower) {
        return Ok(None);
    }
    let shape = pool.data_format.shape(TVec::from(shape))?;
    let pads = pool.computed_padding(shape.hw_dims());
    let (before, after) = pads.iter().map(|pad| (pad.pad_before, pad.pad_after)).unzip::<_, _, Vec<_>, Vec<_>>();
    Ok(Some(PoolSpec { padding: PaddingSpec::Explicit(before.into(), after.into()), ..pool.clone() }))
}

/// What a slice takes along an axis.
pub(super) struct Taken {
    /// How many indices there are.
    length: usize,
    /// Those that it takes.
    pub(super) indices: Vec<i64>,
}

impl Taken {
    fn is_all(&self) -> bool {
        self.indices.len() == self.length && self.indices.iter().zip(0..).all(|(index, at)| *index == at)
    }

    fn has_steps(&self) -> bool {
        self.indices.windows(2).any(|pair| pair[1] - pair[0] != 1)
    }
}

/// Makes every n-th number of an axis a choice by constants.
fn chosen(network: &mut TypedModel) -> TractResult<()> {
    for id in 0..network.nodes.len() {
        let node = network.node(id);
        if &*node.op.name() != "StridedSlice" {
            continue;
        }
        let taken = taken(network, node)?.filter(|taken| taken.iter().any(Taken::has_steps));
        let Some(taken) = taken else { continue };
        let name = node.name.clone();
        let mut patch = TypedModelPatch::default();
        let mut from = patch.tap_model(network, node.inputs[0])?;
        for (axis, taken) in taken.iter().enumerate().filter(|(_, taken)| !taken.is_all()) {
            let indices = patch.add_const(format!("{name}.of_axis_{axis}"), tensor1(&taken.indices))?;
            from = patch.wire_node(format!("{name}.chosen_{axis}"), Gather::new(axis), &[from, indices])?[0];
        }
        patch.shunt_outside(network, id.into(), from)?;
        patch.apply(network)?;
    }
    Ok(())
}

/// What a slice takes along each axis, which is what it makes of the indices themselves; none if that is not known.
pub(super) fn taken(network: &TypedModel, node: &TypedNode) -> TractResult<Option<Vec<Taken>>> {
    let (from, to) = (network.outlet_fact(node.inputs[0])?, &node.outputs[0].fact);
    let (Some(from), Some(to)) = (from.shape.as_concrete(), to.shape.as_concrete()) else { return Ok(None) };
    if from.len() != to.len() {
        return Ok(None);
    }
    let mut constants = Vec::new();
    for input in &node.inputs[1..] {
        let Some(constant) = network.outlet_fact(*input)?.konst.clone() else { return Ok(None) };
        constants.push(constant);
    }
    let mut taken = Vec::new();
    for axis in 0..from.len() {
        let mut shape = vec![1; axis];
        shape.push(from[axis]);
        shape.resize(from.len(), 1);
        let indices: Vec<i64> = (0..from[axis] as i64).collect();
        let indices = Tensor::from_shape(&shape, &indices)?.broadcast_to_shape(from)?;
        let constants = constants.iter().map(|constant| Arc::clone(constant).into_tvalue());
        let inputs = std::iter::once(indices.into_tvalue()).chain(constants).collect();
        let Some(found) = node.op.eval_out_of_plan(inputs)? else { return Ok(None) };
        let view = found[0].to_plain_array_view::<i64>()?;
        let mut at = vec![0; to.len()];
        let along = (0..to[axis]).map(|index| {
            at[axis] = index;
            view[&at[..]]
        });
        taken.push(Taken { length: from[axis], indices: along.collect() });
    }
    Ok(Some(taken))
}
