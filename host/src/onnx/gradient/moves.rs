//! Operators that move numbers, repeat some and drop others, or mix neighbours with fixed weights.

use super::{Rule, Tape, pointwise};
use anyhow::{Context, ensure};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{
    Gather, GatherElements, GatherNd, MultiBroadcastTo, Pad, PadMode, Slice, StridedSlice, Tile, TypedConcat,
};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::{NearestUpsample, Resize};

pub(super) fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    let selects = op.is::<Slice>()
        || op.is::<StridedSlice>()
        || op.is::<Downsample>()
        || op.is::<Gather>()
        || op.is::<GatherElements>()
        || op.is::<GatherNd>()
        || op.is::<NearestUpsample>()
        || op.is::<Pad>()
        || op.is::<Tile>();
    if selects {
        return Some(selection);
    }
    if op.is::<AxisOp>() {
        return Some(axes);
    }
    if op.is::<TypedConcat>() {
        return Some(concat);
    }
    if op.is::<MultiBroadcastTo>() {
        return Some(repetition);
    }
    if op.is::<Resize>() {
        return Some(resize);
    }
    // tract has no operator of that kind left behind a tensor that is kept, but one of ours.
    if op.is::<Identity>() || matches!(&*op.name(), "Kept" | "DynamicRounding") {
        return Some(identity);
    }
    if op.is::<Iff>() {
        return Some(pointwise::choice);
    }
    if op.is::<Cast>() {
        return Some(pointwise::float_cast);
    }
    None
}

/// Axes added, removed, moved or reshaped: the same, undone.
fn axes(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<AxisOp>().context("an AxisOp")?;
    tape.wire("axes", op.recip(), &[g])
}

fn identity(_tape: &mut Tape, _node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    Ok(g)
}

/// y = the inputs one after the other: ds/dx is x's part of g.
fn concat(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let axis = node.op_as::<TypedConcat>().context("a TypedConcat")?.axis;
    let mut start = 0;
    for input in &node.inputs[..slot] {
        start += tape.shape(*input)?[axis];
    }
    let end = start + tape.shape(node.inputs[slot])?[axis];
    tape.wire("slice", Slice::new(axis, start, end), &[g])
}

/// y = x repeated along axes: ds/dx is the sum of g along them.
fn repetition(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let (from, to) = (tape.shape(node.inputs[0])?, tape.shape(node.id.into())?);
    if from.len() == to.len() { tape.unbroadcast(g, node.inputs[0]) } else { selection(tape, node, slot, g) }
}

/// y holds numbers of x, some perhaps several times, and constants: ds/dx_j is the sum of g where x_j went.
///
/// Where that is, the operator itself tells: it is run once, now, on the numbers 1, 2, 3 ...
fn selection(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    ensure!(slot == 0, "only the tensor that is selected from has a gradient rule");
    let shape = tape.shape(node.inputs[0])?;
    let count: usize = shape.iter().product();
    ensure!(count < 1 << f32::MANTISSA_DIGITS, "a selection from more than 2^24 numbers has no gradient rule");
    let mut op = node.op.clone();
    if let Some(pad) = op.downcast_ref::<Pad>()
        && let PadMode::Constant(_) = pad.mode
    {
        op = Box::new(Pad { pads: pad.pads.clone(), mode: PadMode::default() });
    }
    let numbers: Vec<f32> = (1..=count).map(|number| number as f32).collect();
    let selected = run(tape, node, op, Tensor::from_shape(&shape, &numbers)?)?;
    let from = selected.try_as_plain_ram()?.as_slice::<f32>()?.iter().map(|&number| number as u32).collect();
    tape.wire("scatter", Scatter { from, shape }, &[g])
}

/// The output of a node's operator for another first input; its other inputs must be constants.
fn run(tape: &Tape, node: &TypedNode, op: Box<dyn TypedOp>, input: Tensor) -> TractResult<TValue> {
    let mut model = TypedModel::default();
    let mut inputs = tvec!(model.add_const("x", input)?);
    for (slot, other) in node.inputs.iter().enumerate().skip(1) {
        let constant = tape.constant_behind(*other)?.context("only constant indices have a gradient rule")?;
        inputs.push(model.add_const(format!("input.{slot}"), constant)?);
    }
    let output = model.wire_node("y", op, &inputs)?;
    model.select_output_outlets(&output)?;
    let mut outputs = SimplePlan::new(model)?.run(tvec!())?;
    ensure!(outputs.len() == 1, "expected one output");
    Ok(outputs.remove(0))
}

/// y_j = sum of g_i over all i with `from_i` = j + 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scatter {
    from: Arc<[u32]>,
    shape: TVec<usize>,
}

impl Op for Scatter {
    fn name(&self) -> StaticName {
        "Scatter".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Scatter {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let g = args_1!(inputs);
        let mut out = Tensor::zero::<f32>(&self.shape)?;
        let mut sums = out.try_as_plain_ram_mut()?;
        let sums = sums.as_slice_mut::<f32>()?;
        for (&from, &g) in self.from.iter().zip(g.try_as_plain_ram()?.as_slice::<f32>()?) {
            // Zero stands for a constant.
            if let Some(sum) = (from as usize).checked_sub(1).and_then(|from| sums.get_mut(from)) {
                *sum += g;
            }
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for Scatter {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].shape.volume() == self.from.len().to_dim(), "a scatter of another tensor");
        Ok(tvec!(f32::fact(&self.shape)))
    }

    as_op!();
}

/// y = x resampled: along each axis a matrix M, ds/dx = M'g along it.
///
/// The matrices are what the operator itself makes of unit vectors. Its weights for one number sum to one, so that other
/// axes, along which the unit vectors are constant, do not show.
fn resize(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    ensure!(slot == 0, "only the tensor that is resampled has a gradient rule");
    let (from, to) = (tape.shape(node.inputs[0])?, tape.shape(node.id.into())?);
    let mut g = g;
    // An axis may be resampled and stay as long as it is. The first two are pictures and channels, which unit vectors lie along.
    for axis in (0..from.len()).filter(|&axis| axis > 1 || from[axis] != to[axis]) {
        let matrix = resampling(tape, node, axis, &from, &to)?;
        if from[axis] == to[axis] && is_identity(&matrix)? {
            continue;
        }
        let matrix = tape.constant(matrix)?;
        let letters: String = ('a'..).take(from.len()).collect();
        let (before, after) = (&letters[..axis], &letters[axis + 1..]);
        let wide = format!("{before}z{after}");
        let pair = format!("z{}", &letters[axis..=axis]);
        let axes = AxesMapping::from_strs(&[&wide, &pair], &[&letters])?;
        g = tape.wire("resample", EinSum::new(axes, f32::datum_type()), &[g, matrix])?;
    }
    Ok(g)
}

fn is_identity(matrix: &Tensor) -> TractResult<bool> {
    let view = matrix.to_plain_array_view::<f32>()?;
    Ok(view.indexed_iter().all(|(at, value)| *value == f32::from(u8::from(at[0] == at[1]))))
}

/// The matrix of a resampling along one axis, to x from.
fn resampling(tape: &Tape, node: &TypedNode, axis: usize, from: &[usize], to: &[usize]) -> TractResult<Tensor> {
    let (long, wide) = (to[axis], from[axis]);
    let mut matrix = vec![0f32; long * wide];
    // Unit vectors side by side, one a channel, until all are through.
    let lanes = if axis == 1 || from.len() < 2 { 1 } else { from[1] };
    let strides = |shape: &[usize]| (shape[axis + 1..].iter().product::<usize>(), shape[2..].iter().product::<usize>());
    let (stride, _) = strides(from);
    let (stride_to, channel_to) = strides(to);
    let channel_of = |index: usize| if lanes == 1 { 0 } else { index / from[2..].iter().product::<usize>() % lanes };
    for first in (0..wide).step_by(lanes) {
        let unit = |index: usize| f32::from(u8::from(index / stride % wide == first + channel_of(index)));
        let x: Vec<f32> = (0..from.iter().product()).map(unit).collect();
        let y = run(tape, node, node.op.clone(), Tensor::from_shape(from, &x)?)?;
        let y = y.try_as_plain_ram()?;
        let y = y.as_slice::<f32>()?;
        for lane in 0..lanes.min(wide - first) {
            for row in 0..long {
                matrix[row * wide + first + lane] = y[lane * channel_to * usize::from(lanes > 1) + row * stride_to];
            }
        }
    }
    Tensor::from_shape(&[long, wide], &matrix)
}
