//! Operators that make one number of many: reductions, poolings, softmax, normalisations.

use super::{Rule, Tape, pointwise};
use anyhow::{Context, bail, ensure};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

pub(super) fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    if op.downcast_ref::<Reduce>().is_some_and(|op| has_rule(&op.reducer)) {
        return Some(reduce);
    }
    if op.is::<Softmax>() {
        return Some(softmax);
    }
    if op.is::<RmsNorm>() {
        return Some(rms_norm);
    }
    if op.is::<SumPool>() {
        return Some(sum_pool);
    }
    if op.downcast_ref::<MaxPool>().is_some_and(|op| op.with_index_outputs.is_none()) {
        return Some(max_pool);
    }
    None
}

fn has_rule(reducer: &Reducer) -> bool {
    matches!(reducer, Reducer::Sum | Reducer::MeanOfSquares | Reducer::Max | Reducer::Min | Reducer::Prod)
}

/// Over some axes, of which one number is made: y = sum x: ds/dx = g; y = mean x^2: 2 g x / n; y = max x or min x: g shared by
/// all x = y; y = product of x: g y / x.
fn reduce(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Reduce>().context("a Reduce")?;
    let x = node.inputs[0];
    let shape = tape.shape(x)?;
    let g = tape.broadcast(g, &shape)?;
    let y = OutletId::from(node.id);
    match op.reducer {
        Reducer::Sum => Ok(g),
        Reducer::MeanOfSquares => {
            let count: usize = op.axes.iter().map(|&axis| shape[axis]).product();
            let g = tape.mul(g, x)?;
            tape.scale(g, 2. / count as f32)
        }
        Reducer::Max | Reducer::Min => {
            let y = tape.broadcast(y, &shape)?;
            let holders = tape.wire("equal", TypedBinOp(Box::new(pointwise::Pair::Equal), None), &[x, y])?;
            let count = tape.sum(holders, &op.axes)?;
            let share = tape.wire("div", math::div(), &[holders, count])?;
            tape.mul(g, share)
        }
        Reducer::Prod => {
            let others = tape.wire("div", math::div(), &[y, x])?;
            tape.mul(g, others)
        }
        reducer => bail!("no gradient rule for reducing by {reducer:?}"),
    }
}

/// y = softmax(x): ds/dx = y (g - sum(g y)); y = log softmax(x): g - e^y sum(g). Sums run over the softmax's axes.
fn softmax(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Softmax>().context("a Softmax")?;
    ensure!(op.quant_output_dt.is_none(), "no gradient rule for a softmax of integers");
    let y = OutletId::from(node.id);
    match op.kind {
        SoftmaxKind::Softmax => {
            let weighted = tape.mul(g, y)?;
            let mean = tape.sum(weighted, &op.axes)?;
            let centred = tape.wire("sub", math::sub(), &[g, mean])?;
            tape.mul(centred, y)
        }
        SoftmaxKind::LogSoftmax => {
            let probabilities = tape.wire("exp", math::exp(), &[y])?;
            let total = tape.sum(g, &op.axes)?;
            let expected = tape.mul(probabilities, total)?;
            tape.wire("sub", math::sub(), &[g, expected])
        }
    }
}

/// y = x r with r = 1 / sqrt(mean(x^2) + eps): ds/dx = r (g - y mean(g y)).
fn rms_norm(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<RmsNorm>().context("an RmsNorm")?;
    let (x, y) = (node.inputs[0], OutletId::from(node.id));
    let shape = tape.shape(x)?;
    let squares = tape.wire("squares", Reduce::new(tvec!(op.axis), Reducer::MeanOfSquares), &[x])?;
    let eps = op.eps.cast_to::<f32>()?.into_owned();
    let eps = tape.constant(eps.broadcast_into_rank(shape.len())?)?;
    let shifted = tape.wire("add", math::add(), &[squares, eps])?;
    let r = tape.wire("rsqrt", math::rsqrt(), &[shifted])?;
    let along = tape.mul(g, y)?;
    let along = tape.sum(along, &[op.axis])?;
    let along = tape.scale(along, 1. / shape[op.axis] as f32)?;
    let along = tape.mul(y, along)?;
    let across = tape.wire("sub", math::sub(), &[g, along])?;
    tape.mul(across, r)
}

/// y = sum of x over a window, or its mean: g goes to every place of the window.
fn sum_pool(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<SumPool>().context("a SumPool")?;
    let shape = tape.shape(node.inputs[0])?;
    let windows = Windows::new(&op.pool_spec, &shape)?;
    let share = match (op.normalize, op.count_include_pad) {
        (false, _) => Share::Whole,
        (true, false) => Share::OfPlaces,
        (true, true) => Share::OfPadded,
    };
    tape.wire("unpool", SumUnpool { windows, share }, &[g])
}

/// y = maximum of x over a window: g goes to the first place that holds it.
fn max_pool(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<MaxPool>().context("a MaxPool")?;
    let shape = tape.shape(node.inputs[0])?;
    let windows = Windows::new(&op.pool_spec, &shape)?;
    tape.wire("unpool", MaxUnpool { windows }, &[g, node.inputs[0]])
}

/// Where the windows of a pooling lie, on planes that are pooled each by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Windows {
    shape: TVec<usize>,
    /// Height and width of a plane, before and after.
    from: [usize; 2],
    to: [usize; 2],
    /// For each row of windows and for each column of windows: the rows and the columns of x that it covers.
    rows: Vec<TVec<usize>>,
    columns: Vec<TVec<usize>>,
    /// How many rows and columns each covers of the padded x. With ONNX's `ceil_mode` the last may reach beyond.
    padded: [TVec<usize>; 2],
}

impl Windows {
    fn new(spec: &PoolSpec, shape: &[usize]) -> TractResult<Self> {
        let full = spec.data_format.shape(TVec::from(shape))?;
        let hw: TVec<usize> = full.hw_dims().into();
        ensure!((1..=2).contains(&hw.len()), "no gradient rule for pooling in {} dimensions", hw.len());
        ensure!(shape.ends_with(&hw), "no gradient rule for pooling with the channels last");
        let padding = spec.computed_padding(&hw);
        let covered = |axis: usize| -> Vec<TVec<usize>> {
            let pad = &padding[axis];
            let place = |out: usize, k: usize| {
                let place = (out * spec.stride(axis) + k * spec.dilation(axis)).checked_sub(pad.pad_before)?;
                (place < hw[axis]).then_some(place)
            };
            let places = |out: usize| (0..spec.kernel_shape[axis]).filter_map(|k| place(out, k)).collect();
            (0..pad.convoluted).map(places).collect()
        };
        let of_padded = |axis: usize| -> TVec<usize> {
            let end = match &spec.padding {
                PaddingSpec::ExplicitOnnxPool(before, after, true) => before[axis] + hw[axis] + after[axis],
                _ => usize::MAX,
            };
            let inside = |out: usize, k: &usize| out * spec.stride(axis) + k * spec.dilation(axis) < end;
            (0..padding[axis].convoluted)
                .map(|out| (0..spec.kernel_shape[axis]).filter(|k| inside(out, k)).count())
                .collect()
        };
        let (rows, columns, padded) = match hw.len() {
            1 => (vec![tvec!(0)], covered(0), [tvec!(1), of_padded(0)]),
            _ => (covered(0), covered(1), [of_padded(0), of_padded(1)]),
        };
        let from = if hw.len() == 1 { [1, hw[0]] } else { [hw[0], hw[1]] };
        Ok(Self { shape: shape.into(), from, to: [rows.len(), columns.len()], rows, columns, padded })
    }

    /// Calls `spread` with each plane of ds/dx, its place among the planes, and its window's number and places.
    fn spread(&self, mut spread: impl FnMut(&mut [f32], usize, usize, &[usize])) -> TractResult<TValue> {
        let mut out = Tensor::zero::<f32>(&self.shape)?;
        let mut view = out.try_as_plain_ram_mut()?;
        let mut places: Vec<usize> = Vec::new();
        let size = self.from[0] * self.from[1];
        for (plane, sums) in view.as_slice_mut::<f32>()?.chunks_exact_mut(size).enumerate() {
            for (i, rows) in self.rows.iter().enumerate() {
                for (j, columns) in self.columns.iter().enumerate() {
                    places.clear();
                    let width = self.from[1];
                    places.extend(rows.iter().flat_map(|row| columns.iter().map(move |column| row * width + column)));
                    spread(sums, plane, i * self.to[1] + j, &places);
                }
            }
        }
        Ok(out.into_tvalue())
    }

    fn fact(&self) -> TVec<TypedFact> {
        tvec!(f32::fact(&self.shape))
    }
}

/// What of g each place of a window gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Share {
    Whole,
    OfPlaces,
    OfPadded,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SumUnpool {
    windows: Windows,
    share: Share,
}

impl Op for SumUnpool {
    fn name(&self) -> StaticName {
        "SumUnpool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SumUnpool {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let g = args_1!(inputs);
        let g = g.try_as_plain_ram()?;
        let g = g.as_slice::<f32>()?;
        let count = self.windows.to[0] * self.windows.to[1];
        let x = self.windows.spread(|sums, plane, window, places| {
            let share = match self.share {
                Share::Whole => 1,
                Share::OfPlaces => places.len(),
                Share::OfPadded => {
                    let [rows, columns] = &self.windows.padded;
                    rows[window / columns.len()] * columns[window % columns.len()]
                }
            };
            let g = g[plane * count + window] / share as f32;
            places.iter().for_each(|&place| sums[place] += g);
        })?;
        Ok(tvec!(x))
    }
}

impl TypedOp for SumUnpool {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.windows.fact())
    }

    as_op!();
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct MaxUnpool {
    windows: Windows,
}

impl Op for MaxUnpool {
    fn name(&self) -> StaticName {
        "MaxUnpool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for MaxUnpool {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (g, x) = args_2!(inputs);
        let (g, x) = (g.try_as_plain_ram()?, x.try_as_plain_ram()?);
        let (g, x) = (g.as_slice::<f32>()?, x.as_slice::<f32>()?);
        let count = self.windows.to[0] * self.windows.to[1];
        let size = self.windows.from[0] * self.windows.from[1];
        let back = self.windows.spread(|sums, plane, window, places| {
            let x = &x[plane * size..(plane + 1) * size];
            let first = places.iter().copied().reduce(|best, place| if x[place] > x[best] { place } else { best });
            if let Some(first) = first {
                sums[first] += g[plane * count + window];
            }
        })?;
        Ok(tvec!(back))
    }
}

impl TypedOp for MaxUnpool {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.windows.fact())
    }

    as_op!();
}
