//! Where the picture's rows and columns are in every tensor of a network.
//!
//! A tensor is an explanation's layer if its positions are places of the picture. Shapes do not tell: 64 channels are no grid of 8 x 8. So the two axes are
//! carried through the graph from the input on. Every index along an axis adds to the row and the column of the places it stands for, or to neither; an index
//! along a token axis may stand for none, as a class token does. Reshapes merge and split axes, transposes move them, slices and concatenations choose, and
//! convolutions and poolings make new rows of old ones. What windows and rolled pictures (Swin) do to the places is followed through the operators that reverse it.

use super::layout::LayerLayout;
use super::mended::{Taken, taken};
use crate::Size;
use std::collections::HashMap;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Gather, Pad, Slice, TypedConcat};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_hir::internal::*;

/// Indices along an axis that are followed one by one: as many as a picture of 512 x 512 has pixels. Longer axes, as group normalisation merges them, are followed as sums of [`Steps`].
const LONGEST_AXIS: usize = 1 << 18;
/// Indices that are followed in all, where axes are merged, split or chosen from: a bound for damaged files.
const MOST_FOLLOWED: usize = 1 << 25;

/// What an index along an axis adds to row and column; nothing if it stands for no place, as a class token.
type Place = Option<[i32; 2]>;

/// What the indices along an axis stand for.
#[derive(Debug, Clone, PartialEq)]
enum Along {
    /// Not the picture's places: channels, heads, a batch.
    Elsewhere,
    /// Places, in a way that is not followed.
    Mixed,
    /// These places.
    Places(Arc<Vec<Place>>),
    /// More places than are listed, where they are regular.
    Long(Steps),
}

impl Along {
    fn count(&self) -> usize {
        if let Self::Places(places) = self { places.len() } else { 0 }
    }
}

/// How a tensor holds places of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The order of its axes, those of length one aside.
    pub layout: LayerLayout,
    /// Channels.
    pub channels: usize,
    /// Height and width, in positions.
    pub size: Size,
    /// With [`LayerLayout::Tokens`]: tokens before those of the grid.
    pub before: usize,
    /// With [`LayerLayout::Tokens`]: tokens after those of the grid.
    pub after: usize,
}

impl std::fmt::Display for Grid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} channels of {} positions ({})", self.channels, self.size, self.layout.name())?;
        match self.before + self.after {
            0 => Ok(()),
            _ => write!(out, ", {} tokens before and {} after them", self.before, self.after),
        }
    }
}

/// The places of all tensors of a network.
pub struct Places(HashMap<OutletId, Vec<Along>>);

impl Places {
    /// Follows a picture of batch x channels x height x width from the network's first input on.
    ///
    /// # Errors
    /// None but tract's own on an inconsistent graph.
    pub fn of(network: &TypedModel) -> TractResult<Self> {
        let mut places = HashMap::new();
        let Some(&picture) = network.inputs.first() else { return Ok(Self(places)) };
        let shape = network.outlet_fact(picture)?.shape.as_concrete().map(<[usize]>::to_vec);
        let Some([_, _, height, width]) = shape.as_deref() else { return Ok(Self(places)) };
        if *height > LONGEST_AXIS || *width > LONGEST_AXIS {
            return Ok(Self(places));
        }
        let mut followed = 0;
        places.insert(picture, vec![Along::Elsewhere, Along::Elsewhere, rows(*height), columns(*width)]);
        for id in network.eval_order()? {
            let node = network.node(id);
            let inputs: Vec<Option<&Vec<Along>>> = node.inputs.iter().map(|input| places.get(input)).collect();
            if inputs.iter().all(Option::is_none) {
                continue;
            }
            let found = (0..node.outputs.len()).map(|slot| follow(network, node, &inputs, slot)).collect::<Vec<_>>();
            for (slot, along) in found.into_iter().enumerate() {
                if let Some(along) = along? {
                    if node.op_is::<AxisOp>() || node.op_is::<TypedConcat>() || node.op_is::<Slice>() {
                        followed += along.iter().map(Along::count).sum::<usize>();
                    }
                    if followed > MOST_FOLLOWED {
                        return Ok(Self(places));
                    }
                    places.insert(OutletId::new(id, slot), along);
                }
            }
        }
        Ok(Self(places))
    }

    /// The tensor as a grid of the picture's places, if it is one.
    pub fn grid(&self, network: &TypedModel, tensor: OutletId) -> Option<Grid> {
        let fact = network.outlet_fact(tensor).ok()?;
        let shape = fact.shape.as_concrete()?;
        let along = self.0.get(&tensor).filter(|along| along.len() == shape.len())?;
        let axes: Vec<(usize, &Along)> = shape.iter().copied().zip(along).filter(|(length, _)| *length > 1).collect();
        let (size, layout, channels) = match axes[..] {
            [(channels, Along::Elsewhere), (height, down), (width, across)]
                if is_line(down, 0) && is_line(across, 1) =>
            {
                (Size::new(height, width), LayerLayout::Maps, channels)
            }
            [(height, down), (width, across)] if is_line(down, 0) && is_line(across, 1) => {
                (Size::new(height, width), LayerLayout::Maps, 1)
            }
            [(height, down), (width, across), (channels, Along::Elsewhere)]
                if is_line(down, 0) && is_line(across, 1) =>
            {
                (Size::new(height, width), LayerLayout::ChannelsLast, channels)
            }
            [(_, Along::Places(places)), (channels, Along::Elsewhere)] => return tokens(places, channels),
            _ => return None,
        };
        Some(Grid { layout, channels, size, before: 0, after: 0 })
    }
}

/// Rows or columns along an axis, counted in those that the last windows made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) first: i32,
    pub(super) step: i32,
    pub(super) length: usize,
}

impl Places {
    /// The rows (`dimension` 0) or columns (1) along an axis.
    pub(super) fn line(&self, tensor: OutletId, axis: usize, dimension: usize) -> Option<Line> {
        let along = self.0.get(&tensor)?.get(axis)?;
        let [first, step] = line_of(along, dimension)?;
        Some(Line { first, step, length: along.count() })
    }

    /// Whether some axis of a tensor stands for places of the picture, or may.
    pub(super) fn may_stand_for_places(&self, tensor: OutletId) -> bool {
        self.0.get(&tensor).is_none_or(|along| along.iter().any(|along| *along != Along::Elsewhere))
    }

    /// The rows and the columns of a tensor that is a [`Places::grid`].
    pub(super) fn lines(&self, tensor: OutletId, grid: &Grid) -> Option<[Line; 2]> {
        let along = self.0.get(&tensor)?;
        if grid.layout == LayerLayout::Tokens {
            let places =
                along.iter().find_map(|along| if let Along::Places(places) = along { Some(places) } else { None })?;
            let at = |index: usize| places.get(grid.before + index).copied().flatten();
            let (first, below, beside) = (at(0)?, at(grid.size.width)?, at(1)?);
            let line = |dimension: usize, next: [i32; 2], length: usize| Line {
                first: first[dimension],
                step: next[dimension] - first[dimension],
                length,
            };
            return Some([line(0, below, grid.size.height), line(1, beside, grid.size.width)]);
        }
        let of = |dimension: usize| (0..along.len()).find_map(|axis| self.line(tensor, axis, dimension));
        Some([of(0)?, of(1)?])
    }
}

/// The first of the axes that a pooling's windows slide along, and that of the channels.
pub(super) fn window_axes(pool: &PoolSpec, rank: usize) -> (usize, usize) {
    match pool.data_format {
        DataFormat::NCHW => (2, 1),
        DataFormat::NHWC => (1, rank - 1),
        DataFormat::CHW => (1, 0),
        DataFormat::HWC => (0, rank - 1),
    }
}

fn rows(height: usize) -> Along {
    line(height, |row| [row, 0])
}

fn columns(width: usize) -> Along {
    line(width, |column| [0, column])
}

fn line(length: usize, place: impl Fn(i32) -> [i32; 2]) -> Along {
    if length <= 1 {
        return Along::Elsewhere;
    }
    Along::Places(Arc::new((0..length as i32).map(|index| Some(place(index))).collect()))
}

/// Whether the indices are all rows (`dimension` 0) or all columns (1), evenly spaced and in order.
fn is_line(along: &Along, dimension: usize) -> bool {
    line_of(along, dimension).is_some()
}

/// The first row or column, and the step to the next, if the indices are all rows (`dimension` 0) or all columns (1), evenly spaced and in order.
fn line_of(along: &Along, dimension: usize) -> Option<[i32; 2]> {
    let Along::Places(places) = along else { return None };
    let places = places.iter().copied().collect::<Option<Vec<_>>>()?;
    let (first, second) = (places.first()?, places.get(1)?);
    let step = second[dimension] - first[dimension];
    let regular = |pair: &[[i32; 2]]| {
        pair[1][dimension] - pair[0][dimension] == step && pair[1][1 - dimension] == pair[0][1 - dimension]
    };
    (step > 0 && places.windows(2).all(regular)).then_some([first[dimension], step])
}

/// A grid of tokens, row by row, with others before and after.
fn tokens(places: &[Place], channels: usize) -> Option<Grid> {
    let before = places.iter().take_while(|place| place.is_none()).count();
    let after = places.iter().rev().take_while(|place| place.is_none()).count();
    let grid = places.get(before..places.len().checked_sub(after)?)?;
    let grid: Vec<[i32; 2]> = grid.iter().copied().collect::<Option<_>>()?;
    let first = grid.first()?;
    let width = grid.iter().take_while(|place| place[0] == first[0]).count();
    let height = grid.len() / width;
    let step = |index: usize, dimension: usize| grid.get(index).map_or(1, |place| place[dimension] - first[dimension]);
    let (down, across) = (step(width, 0), step(1, 1));
    let regular = (0..grid.len()).all(|index| {
        let (row, column) = ((index / width) as i32, (index % width) as i32);
        grid[index] == [first[0] + row * down, first[1] + column * across]
    });
    let is_grid = height > 1 && width > 1 && height * width == grid.len() && down > 0 && across > 0 && regular;
    is_grid.then_some(Grid { layout: LayerLayout::Tokens, channels, size: Size::new(height, width), before, after })
}

/// What is known of a node's output.
fn follow(
    network: &TypedModel,
    node: &TypedNode,
    inputs: &[Option<&Vec<Along>>],
    slot: usize,
) -> TractResult<Option<Vec<Along>>> {
    let output = &node.outputs[slot].fact;
    let Some(out) = output.shape.as_concrete() else { return Ok(None) };
    let op = &node.op;
    let first = inputs[0];
    let unary = |then: &dyn Fn(&Vec<Along>) -> Option<Vec<Along>>| Ok(first.and_then(then));
    if let Some(op) = op.downcast_ref::<AxisOp>() {
        return unary(&|along| moved(op, along));
    }
    if let Some(op) = op.downcast_ref::<Conv>() {
        return unary(&|along| windowed(&op.pool_spec, along, out));
    }
    if let Some(op) = op.downcast_ref::<MaxPool>() {
        return unary(&|along| windowed(&op.pool_spec, along, out));
    }
    if let Some(op) = op.downcast_ref::<SumPool>() {
        return unary(&|along| windowed(&op.pool_spec, along, out));
    }
    if let Some(op) = op.downcast_ref::<Deconv>() {
        return unary(&|along| windowed(&op.pool_spec, along, out));
    }
    if op.is::<Pad>() || matches!(&*op.name(), "Resize" | "NearestUpsample" | "Tile") {
        let fact = network.outlet_fact(node.inputs[0])?;
        return unary(&|along| resized(along, fact.shape.as_concrete()?, out));
    }
    if let Some(op) = op.downcast_ref::<Downsample>() {
        let chosen = |length: usize| (op.modulo..length).step_by(op.stride.unsigned_abs());
        return unary(&|along| select(along, op.axis, &|places| chosen(places.len()).map(|at| places[at]).collect()));
    }
    if let Some(op) = op.downcast_ref::<Slice>() {
        let Ok(start) = op.start.to_usize() else { return Ok(None) };
        return unary(&|along| select(along, op.axis, &|places| places[start..start + out[op.axis]].to_vec()));
    }
    if &*op.name() == "StridedSlice" {
        return strided(network, node, first);
    }
    if let Some(op) = op.downcast_ref::<TypedConcat>() {
        return joined(network, node, inputs, op.axis);
    }
    if let (Some(op), Some(along)) = (op.downcast_ref::<Gather>(), first) {
        return gathered(network, node, along, op.axis);
    }
    mapped(network, node, inputs, slot)
}

/// Axes added, removed, moved, merged or split.
fn moved(op: &AxisOp, along: &[Along]) -> Option<Vec<Along>> {
    let mut along = along.to_vec();
    match op {
        AxisOp::Add(axis) => along.insert(*axis, Along::Elsewhere),
        AxisOp::Rm(axis) => drop(along.remove(*axis)),
        AxisOp::Move(from, to) => {
            let axis = along.remove(*from);
            along.insert(*to, axis);
        }
        AxisOp::Reshape(at, from, to) => {
            let lengths = |dims: &[TDim]| dims.iter().map(|dim| dim.to_usize().ok()).collect::<Option<Vec<_>>>();
            let (from, to) = (lengths(from)?, lengths(to)?);
            let reshaped = reshaped(&along[*at..at + from.len()], &from, &to);
            along.splice(*at..at + from.len(), reshaped);
        }
    }
    Some(along)
}

/// Splits a reshape into the smallest groups of axes that hold as many numbers, and reshapes each.
fn reshaped(along: &[Along], from: &[usize], to: &[usize]) -> Vec<Along> {
    let mut result = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (first_i, first_j) = (i, j);
        let (mut taken, mut given) = (1, 1);
        // At least one of each, as far as there are.
        if i < from.len() {
            taken *= from[i];
            i += 1;
        }
        if j < to.len() {
            given *= to[j];
            j += 1;
        }
        while taken != given {
            if taken < given && i < from.len() {
                taken *= from[i];
                i += 1;
            } else if given < taken && j < to.len() {
                given *= to[j];
                j += 1;
            } else {
                break;
            }
        }
        if j == to.len() {
            i = from.len();
        }
        if i == from.len() {
            j = to.len();
        }
        result.extend(regrouped(&along[first_i..i], &from[first_i..i], &to[first_j..j]));
    }
    result
}

fn regrouped(along: &[Along], from: &[usize], to: &[usize]) -> Vec<Along> {
    if from == to {
        return along.to_vec();
    }
    let lost = |mixed: bool| vec![if mixed { Along::Mixed } else { Along::Elsewhere }; to.len()];
    if along.iter().all(|along| *along == Along::Elsewhere) {
        return lost(false);
    }
    let count = |lengths: &[usize]| lengths.iter().try_fold(1usize, |count, length| count.checked_mul(*length));
    let Some(count) = count(from).filter(|from| Some(*from) == count(to)) else { return lost(true) };
    if along.contains(&Along::Mixed) {
        return lost(true);
    }
    if let Some(steps) = Steps::merged(along, from) {
        return steps.split(to).unwrap_or_else(|| lost(true));
    }
    if count > LONGEST_AXIS {
        return lost(true);
    }
    let mut merged: Vec<Place> = vec![Some([0, 0])];
    for (along, &length) in along.iter().zip(from) {
        let Along::Places(places) = along else {
            merged = merged.iter().flat_map(|place| std::iter::repeat_n(*place, length)).collect();
            continue;
        };
        let plus = |a: &Place, b: &Place| Some([a.as_ref()?[0] + b.as_ref()?[0], a.as_ref()?[1] + b.as_ref()?[1]]);
        merged = merged.iter().flat_map(|outer| places.iter().map(move |inner| plus(outer, inner))).collect();
    }
    apart(merged, to).unwrap_or_else(|| lost(true))
}

/// The axes of these lengths, at least one, that one axis comes apart into, if every place is a sum of theirs.
fn apart(mut merged: Vec<Place>, lengths: &[usize]) -> Option<Vec<Along>> {
    let (_, outer) = lengths.split_last()?;
    let mut result = Vec::new();
    for &length in outer {
        let (outer, inner) = split(&merged, length)?;
        result.push(outer);
        merged = inner;
    }
    result.push(along_of(merged));
    Some(result)
}

/// Places that are a first one and a sum of steps: one for each digit of the index, which is read as a number with digits of these lengths, the largest first. A step of zero is that
/// of channels. Rows x columns in one axis are two digits; so are 16 channels x rows x columns, which are three.
#[derive(Debug, Clone, PartialEq)]
struct Steps {
    first: [i32; 2],
    digits: Vec<(usize, [i32; 2])>,
}

impl Steps {
    /// Of several axes that become one, unless one of them is irregular, as tokens with a class token among them are.
    fn merged(along: &[Along], lengths: &[usize]) -> Option<Self> {
        let mut merged = Self { first: [0, 0], digits: Vec::new() };
        for (along, &length) in along.iter().zip(lengths) {
            let steps = match along {
                Along::Elsewhere => Self { first: [0, 0], digits: vec![(length, [0, 0])] },
                Along::Places(places) => Self::of(places)?,
                Along::Long(steps) => steps.clone(),
                Along::Mixed => return None,
            };
            merged.first = [merged.first[0] + steps.first[0], merged.first[1] + steps.first[1]];
            merged.digits.extend(steps.digits);
        }
        Some(merged)
    }

    /// The regularity in a list of places, if there is one.
    fn of(places: &[Place]) -> Option<Self> {
        let mut left: Vec<[i32; 2]> = places.iter().copied().collect::<Option<_>>()?;
        let first = *left.first()?;
        let mut digits = Vec::new();
        let minus = |a: [i32; 2], b: [i32; 2]| [a[0] - b[0], a[1] - b[1]];
        while left.len() > 1 {
            let step = minus(left[1], left[0]);
            let length = 1 + left.windows(2).take_while(|pair| minus(pair[1], pair[0]) == step).count();
            if !left.len().is_multiple_of(length) {
                return None;
            }
            let regular = |chunk: &[[i32; 2]]| chunk.windows(2).all(|pair| minus(pair[1], pair[0]) == step);
            if !left.chunks_exact(length).all(regular) {
                return None;
            }
            digits.insert(0, (length, step));
            left = left.into_iter().step_by(length).collect();
        }
        Some(Self { first, digits })
    }

    /// The axes of these lengths that one axis comes apart into.
    fn split(mut self, lengths: &[usize]) -> Option<Vec<Along>> {
        let mut result = Vec::new();
        for &length in lengths.iter().rev() {
            let mut own = Vec::new();
            let mut wanted = length;
            while wanted > 1 {
                let (digit, step) = self.digits.pop()?;
                if digit > 0 && wanted.is_multiple_of(digit) {
                    own.insert(0, (digit, step));
                    wanted /= digit;
                } else if digit.is_multiple_of(wanted) {
                    let above = [step[0].checked_mul(wanted as i32)?, step[1].checked_mul(wanted as i32)?];
                    self.digits.push((digit / wanted, above));
                    own.insert(0, (wanted, step));
                    wanted = 1;
                } else {
                    return None;
                }
            }
            // The first place is counted once, with the innermost axis.
            let first = if result.is_empty() { self.first } else { [0, 0] };
            result.insert(0, Self { first, digits: own }.along());
        }
        Some(result)
    }

    fn along(self) -> Along {
        if self.digits.iter().all(|(_, step)| *step == [0, 0]) {
            return Along::Elsewhere;
        }
        if self.digits.iter().map(|(length, _)| length).product::<usize>() > LONGEST_AXIS {
            return Along::Long(self.simplified());
        }
        let mut places = vec![self.first];
        for (length, step) in &self.digits {
            let next = |place: &[i32; 2]| {
                let [row, column] = *place;
                (0..*length as i32)
                    .map(move |index| [row + index * step[0], column + index * step[1]])
                    .collect::<Vec<_>>()
            };
            places = places.iter().flat_map(next).collect();
        }
        along_of(places.into_iter().map(Some).collect())
    }

    /// With as few digits as there can be, so that equal ones are equal.
    fn simplified(self) -> Self {
        let mut digits: Vec<(usize, [i32; 2])> = Vec::new();
        for (length, step) in self.digits.into_iter().filter(|(length, _)| *length != 1) {
            match digits.last_mut() {
                Some((above, large)) if *large == [step[0] * length as i32, step[1] * length as i32] => {
                    (*above, *large) = (*above * length, step);
                }
                _ => digits.push((length, step)),
            }
        }
        Self { first: self.first, digits }
    }
}

fn along_of(places: Vec<Place>) -> Along {
    if places.iter().all(|place| *place == Some([0, 0])) {
        return Along::Elsewhere;
    }
    Along::Places(Arc::new(places))
}

/// Splits an axis into an outer one of so many indices and what is left, if every place is a sum of the two's.
fn split(places: &[Place], outer: usize) -> Option<(Along, Vec<Place>)> {
    if outer == 1 {
        return Some((Along::Elsewhere, places.to_vec()));
    }
    let rest = places.len() / outer;
    let inner = &places[..rest];
    let base = inner.first().copied().flatten()?;
    let steps: Vec<[i32; 2]> = places
        .chunks_exact(rest)
        .map(|chunk| chunk[0].map(|place| [place[0] - base[0], place[1] - base[1]]))
        .collect::<Option<_>>()?;
    let sums = places.iter().enumerate().all(|(index, place)| {
        let (step, inner) = (steps[index / rest], inner[index % rest]);
        inner.map(|inner| [inner[0] + step[0], inner[1] + step[1]]) == *place
    });
    sums.then(|| (along_of(steps.into_iter().map(Some).collect()), inner.to_vec()))
}

/// Windows that slide over the rows and columns: new ones come out.
fn windowed(pool: &PoolSpec, along: &[Along], out: &[usize]) -> Option<Vec<Along>> {
    let (first, channels) = window_axes(pool, out.len());
    let mut result = along.to_vec();
    for (index, &kernel) in pool.kernel_shape.iter().enumerate() {
        let axis = first + index;
        if kernel > 1 || pool.stride(index) > 1 || along.len() != out.len() {
            *result.get_mut(axis)? = renewed(&along[axis], out[axis]);
        }
    }
    // A convolution sums over its channels; a pooling has none that are places.
    *result.get_mut(channels)? = Along::Elsewhere;
    Some(result)
}

/// New rows of old rows, new columns of old columns.
fn renewed(along: &Along, length: usize) -> Along {
    match along {
        Along::Elsewhere => Along::Elsewhere,
        along if is_line(along, 0) => rows(length),
        along if is_line(along, 1) => columns(length),
        _ => Along::Mixed,
    }
}

fn resized(along: &[Along], from: &[usize], to: &[usize]) -> Option<Vec<Along>> {
    let axes = along.iter().zip(from.iter().zip(to));
    Some(axes.map(|(along, (from, to))| if from == to { along.clone() } else { renewed(along, *to) }).collect())
}

/// Some of the indices along an axis.
fn select(along: &[Along], axis: usize, chosen: &dyn Fn(&[Place]) -> Vec<Place>) -> Option<Vec<Along>> {
    let mut along = along.to_vec();
    match &along[axis] {
        Along::Places(places) => {
            let chosen = chosen(places);
            along[axis] = if chosen.len() > 1 { Along::Places(Arc::new(chosen)) } else { Along::Elsewhere };
        }
        Along::Long(_) => along[axis] = Along::Mixed,
        Along::Elsewhere | Along::Mixed => (),
    }
    Some(along)
}

fn strided(network: &TypedModel, node: &TypedNode, along: Option<&Vec<Along>>) -> TractResult<Option<Vec<Along>>> {
    let (Some(along), Some(taken)) = (along, taken(network, node)?) else { return Ok(None) };
    let chosen = |(along, Taken { indices, .. }): (&Along, Taken)| match along {
        Along::Elsewhere => Along::Elsewhere,
        Along::Places(_) if indices.len() <= 1 => Along::Elsewhere,
        Along::Places(places) => Along::Places(Arc::new(
            indices.into_iter().map(|index| places.get(index as usize).copied().flatten()).collect(),
        )),
        Along::Mixed | Along::Long(_) => Along::Mixed,
    };
    Ok(Some(along.iter().zip(taken).map(chosen).collect()))
}

/// One after the other: what is no part of the picture, such as a class token, stands for no place.
fn joined(
    network: &TypedModel,
    node: &TypedNode,
    inputs: &[Option<&Vec<Along>>],
    axis: usize,
) -> TractResult<Option<Vec<Along>>> {
    let mut result: Option<Vec<Along>> = None;
    for along in inputs.iter().copied().flatten() {
        result = Some(match result {
            None => along.clone(),
            Some(so_far) => so_far.iter().zip(along).map(|(a, b)| merged(a, b)).collect(),
        });
    }
    let Some(mut result) = result else { return Ok(None) };
    let axes = || inputs.iter().copied().flatten().map(|along| &along[axis]);
    result[axis] = if axes().any(|along| matches!(along, Along::Mixed | Along::Long(_))) {
        Along::Mixed
    } else if axes().all(|along| *along == Along::Elsewhere) {
        Along::Elsewhere
    } else {
        let mut places = Vec::new();
        for (along, input) in inputs.iter().zip(&node.inputs) {
            let fact = network.outlet_fact(*input)?;
            let Some(length) = fact.shape.as_concrete().map(|shape| shape[axis]) else { return Ok(None) };
            match along.map(|along| &along[axis]) {
                Some(Along::Places(own)) => places.extend(own.iter().copied()),
                _ => places.extend(std::iter::repeat_n(None, length.min(LONGEST_AXIS))),
            }
        }
        Along::Places(Arc::new(places))
    };
    Ok(Some(result))
}

fn gathered(network: &TypedModel, node: &TypedNode, along: &[Along], axis: usize) -> TractResult<Option<Vec<Along>>> {
    let mut outlet = node.inputs[1];
    let rank = network.outlet_fact(outlet)?.rank();
    // Constants stand behind casts until these are computed.
    while network.node(outlet.node).op_is::<Cast>() {
        outlet = network.node(outlet.node).inputs[0];
    }
    let mut result = along.to_vec();
    let places = result.remove(axis);
    let inner = match (&places, &network.outlet_fact(outlet)?.konst, rank) {
        (_, _, 0) => vec![],
        (Along::Elsewhere, _, rank) => vec![Along::Elsewhere; rank],
        // A table of indices is what unfolding makes: the rows of a window, and the windows.
        (Along::Places(places), Some(indices), rank) if indices.len() <= LONGEST_AXIS => {
            let shape = indices.shape().to_vec();
            let indices = indices.cast_to::<i64>()?;
            let indices = indices.try_as_plain_ram()?;
            let at = |index: &i64| usize::try_from(if *index < 0 { index + places.len() as i64 } else { *index });
            let chosen = indices.as_slice::<i64>()?.iter().map(|index| places.get(at(index).ok()?).copied());
            match chosen.collect::<Option<Vec<Place>>>() {
                Some(chosen) if chosen.len() > 1 && rank == 1 => vec![Along::Places(Arc::new(chosen))],
                Some(chosen) if chosen.len() > 1 => apart(chosen, &shape).unwrap_or_else(|| vec![Along::Mixed; rank]),
                Some(_) => vec![Along::Elsewhere; rank],
                None => vec![Along::Mixed; rank],
            }
        }
        (_, _, rank) => vec![Along::Mixed; rank],
    };
    result.splice(axis..axis, inner);
    Ok(Some(result))
}

/// Any other operator, as far as it says which axes of its inputs become which of its output.
fn mapped(
    network: &TypedModel,
    node: &TypedNode,
    inputs: &[Option<&Vec<Along>>],
    slot: usize,
) -> TractResult<Option<Vec<Along>>> {
    let facts = node.inputs.iter().map(|input| network.outlet_fact(*input)).collect::<TractResult<Vec<_>>>()?;
    let outputs: Vec<&TypedFact> = node.outputs.iter().map(|output| &output.fact).collect();
    let Ok(mapping) = node.op.axes_mapping(&facts, &outputs) else { return Ok(None) };
    let mut result = vec![Along::Elsewhere; outputs[slot].rank()];
    for axis in mapping.iter_all_axes() {
        for &to in &axis.outputs[slot] {
            for (along, from) in inputs.iter().zip(&axis.inputs) {
                let Some(along) = along else { continue };
                for &from in from {
                    result[to] = merged(&result[to], &along[from]);
                }
            }
        }
    }
    Ok(Some(result))
}

/// What both of two tensors stand for, taken together.
fn merged(a: &Along, b: &Along) -> Along {
    match (a, b) {
        (Along::Elsewhere, other) | (other, Along::Elsewhere) => other.clone(),
        (a, b) if a == b => a.clone(),
        (Along::Places(x), Along::Places(y)) if x.len() == y.len() && same_order(x, y) => a.clone(),
        // What shifted windows compute is not followed, but it is added to what is: the sum has its places.
        (Along::Places(_) | Along::Long(_), Along::Mixed) => a.clone(),
        (Along::Mixed, Along::Places(_) | Along::Long(_)) => b.clone(),
        _ => Along::Mixed,
    }
}

/// Whether two lists hold the same places, counted in steps of another length.
fn same_order(x: &[Place], y: &[Place]) -> bool {
    (0..2).all(|dimension| {
        let ranks = |places: &[Place]| -> Vec<Option<usize>> {
            let mut sorted: Vec<i32> = places.iter().flatten().map(|place| place[dimension]).collect();
            sorted.sort_unstable();
            sorted.dedup();
            places.iter().map(|place| place.and_then(|place| sorted.binary_search(&place[dimension]).ok())).collect()
        };
        ranks(x) == ranks(y)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(along: &Along) -> Vec<Place> {
        match along {
            Along::Places(places) => places.to_vec(),
            _ => vec![],
        }
    }

    #[test]
    fn rows_and_columns_merge_into_tokens_and_come_apart_again() {
        let picture = [Along::Elsewhere, rows(3), columns(4)];
        let tokens = reshaped(&picture, &[8, 3, 4], &[8, 12]);
        assert_eq!(places(&tokens[1])[7], Some([1, 3]));
        assert_eq!(reshaped(&tokens, &[8, 12], &[8, 3, 4]), picture);
        let cut = reshaped(&tokens, &[8, 12], &[8, 2, 6]);
        assert_eq!(cut[1..], [Along::Mixed, Along::Mixed]);
    }

    #[test]
    fn groups_of_channels_and_places_merge_and_come_apart_again_however_many_they_are() {
        let (height, width) = (56, 56);
        let picture = [Along::Elsewhere, rows(height), columns(width)];
        for channels in [256, 1 << 14] {
            let group = channels / 32 * height * width;
            let merged = reshaped(&picture, &[channels, height, width], &[32, group]);
            assert_eq!(merged[0], Along::Elsewhere);
            assert_eq!(matches!(merged[1], Along::Long(_)), group > LONGEST_AXIS);
            assert_eq!(reshaped(&merged, &[32, group], &[channels, height, width]), picture);
            assert_eq!(reshaped(&merged, &[32, group], &[32, channels / 32, height, width])[2..], picture[1..]);
            // Cut in another place, the picture's rows are lost.
            assert!(reshaped(&merged, &[32, group], &[channels, width * 2, height / 2])[1..] != picture[1..]);
        }
        let mut tokens = places(&reshaped(&picture[1..], &[height, width], &[height * width])[0]);
        assert_eq!(Steps::of(&tokens).map(|steps| steps.digits), Some(vec![(height, [1, 0]), (width, [0, 1])]));
        tokens.rotate_left(1);
        assert_eq!(Steps::of(&tokens), None);
        tokens[3] = None;
        assert_eq!(Steps::of(&tokens), None);
    }

    #[test]
    fn windows_are_undone() {
        // 6 x 6 in windows of 3 x 3, as Swin does: rows and columns split, moved, merged, and back.
        let split = reshaped(&[rows(6), columns(6)], &[6, 6], &[2, 3, 2, 3]);
        let order = [split[0].clone(), split[2].clone(), split[1].clone(), split[3].clone()];
        let windows = reshaped(&order, &[2, 2, 3, 3], &[4, 9]);
        let back = reshaped(&windows, &[4, 9], &[2, 2, 3, 3]);
        let back = [back[0].clone(), back[2].clone(), back[1].clone(), back[3].clone()];
        let whole = reshaped(&back, &[2, 3, 2, 3], &[6, 6]);
        assert!(is_line(&whole[0], 0) && is_line(&whole[1], 1));
        assert_eq!(whole, [rows(6), columns(6)]);
    }

    #[test]
    fn rows_unfolded_by_a_table_of_indices_are_folded_again() {
        let folded = |table: Tensor| {
            let mut network = TypedModel::default();
            let picture = network.add_source("picture", f32::fact([1, 3, 6, 6])).unwrap();
            let table = network.add_const("table", table).unwrap();
            let dims = |lengths: &[usize]| lengths.iter().map(|length| length.to_dim()).collect();
            let mut wire =
                |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| network.wire_node(name, op, inputs).unwrap()[0];
            let tensor = wire("rows of a window, windows", Box::new(Gather::new(2)), &[picture, table]);
            let tensor = wire("windows first", Box::new(AxisOp::Move(2, 3)), &[tensor]);
            let tensor = wire("rows", Box::new(AxisOp::Reshape(2, dims(&[3, 2]), dims(&[6]))), &[tensor]);
            network.outputs = vec![tensor];
            Places::of(&network).unwrap().grid(&network, tensor)
        };
        let grid = folded(tensor2(&[[0i64, 2, 4], [1, 3, 5]])).unwrap();
        assert_eq!((grid.layout, grid.channels, grid.size), (LayerLayout::Maps, 3, Size::square(6)));
        // Not the rows in their order, and no sum of two axes.
        assert_eq!(folded(tensor2(&[[1i64, 3, 5], [0, 2, 4]])), None);
        assert_eq!(folded(tensor2(&[[0i64, 2, 4], [1, 5, 3]])), None);
    }

    #[test]
    fn tokens_may_have_others_on_both_sides() {
        let grid = (0..2).flat_map(|row| (0..3).map(move |column| Some([16 * row, 16 * column])));
        let all: Vec<Place> = [None].into_iter().chain(grid).chain([None, None]).collect();
        let found = tokens(&all, 5).unwrap();
        assert_eq!((found.before, found.after, found.size), (1, 2, Size::new(2, 3)));
        let mut rolled = all.clone();
        rolled[1..7].rotate_left(1);
        assert!(tokens(&rolled, 5).is_none());
    }
}
