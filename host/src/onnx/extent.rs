//! What part of the picture a tensor's positions stand for.
//!
//! A map is drawn over the whole picture. A network that crops its picture, or puts it into a larger one, has layers that stand for something else; what they are is
//! followed here beside the [`Places`], in pixels of the input.

use super::places::{Line, Places, window_axes};
use crate::Size;
use std::collections::HashMap;
use tract_onnx::tract_core::ops::array::Pad;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_hir::internal::*;

/// Parts of the picture's height or width that may be left out: convolutions without padding and strides do so, too.
const LEFT_OUT: f64 = 0.03;
/// Pixels of the same kind.
const PIXELS_LEFT_OUT: f64 = 2.0;
/// Steps between positions that a map may begin before the picture. With padding that keeps the size of a map it is half of one.
const STEPS_BEFORE: f64 = 0.75;

/// Rows or columns that windows made last, in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    /// The middle of the first.
    first: f64,
    /// From one to the next.
    step: f64,
    /// The longest step so far: what is made finer again is no better placed.
    coarsest: f64,
    /// How far each looks to both sides.
    reach: f64,
    /// What of the picture they look at.
    seen: [f64; 2],
}

impl Extent {
    fn whole(pixels: usize) -> Self {
        Self { first: 0.0, step: 1.0, coarsest: 1.0, reach: 0.5, seen: [-0.5, pixels as f64 - 0.5] }
    }

    /// That of some of them.
    fn of(self, line: Line) -> Self {
        let first = self.first + self.step * f64::from(line.first);
        let step = self.step * f64::from(line.step);
        let last = first + step * (line.length as f64 - 1.0);
        // What a stride passes over is nearer to one of them than to anything else.
        let reach = self.reach.max(step - 0.5);
        let seen = [self.seen[0].max(first - reach), self.seen[1].min(last + reach)];
        Self { first, step, coarsest: self.coarsest.max(step), seen, ..self }
    }

    /// That of windows on them: `size` places, `before` of which lie before the first.
    fn windowed(self, size: f64, dilation: f64, before: f64, stride: f64) -> Self {
        let half = (size - 1.0) * dilation / 2.0;
        let first = self.first + self.step * (half - before);
        Self { first, step: self.step * stride, reach: self.reach + self.step * half, ..self }
    }

    /// That of more or fewer over the same length.
    fn stretched(self, from: usize, to: usize) -> Self {
        let step = self.step * from as f64 / to as f64;
        let middle = self.first + self.step * (from as f64 - 1.0) / 2.0;
        Self { first: middle - step * (to as f64 - 1.0) / 2.0, step, reach: self.reach.max(step / 2.0), ..self }
    }
}

/// Of rows and columns; nothing where they are not followed.
type Both = [Option<Extent>; 2];

/// The extents of all tensors of a network.
pub(super) struct Extents(HashMap<OutletId, Both>);

impl Extents {
    /// Follows a picture of this size from the network's first input on.
    pub(super) fn of(network: &TypedModel, places: &Places, picture: Size) -> TractResult<Self> {
        let whole = [picture.height, picture.width].map(|pixels| Some(Extent::whole(pixels)));
        let mut known: HashMap<OutletId, Both> = network.inputs.iter().take(1).map(|input| (*input, whole)).collect();
        for id in network.eval_order()? {
            let node = network.node(id);
            let inputs: Vec<Both> = node.inputs.iter().filter_map(|input| known.get(input).copied()).collect();
            let Some(both) = inputs.into_iter().reduce(joined) else { continue };
            let both = followed(network, node, places, both).unwrap_or([None; 2]);
            known.extend((0..node.outputs.len()).map(|slot| (OutletId::new(id, slot), both)));
        }
        Ok(Self(known))
    }

    /// What is wrong with drawing a tensor's positions, these lines, over the whole picture.
    pub(super) fn misplaced(&self, tensor: OutletId, lines: [Line; 2], picture: Size) -> Option<String> {
        let both = self.0.get(&tensor)?;
        let of = |dimension: usize| both[dimension].map(|extent| extent.of(lines[dimension]));
        let found = [(of(0), "rows", picture.height), (of(1), "columns", picture.width)];
        found.into_iter().find_map(|(extent, what, pixels)| {
            let (extent, end) = (extent?, pixels as f64 - 0.5);
            let spare = PIXELS_LEFT_OUT.max(LEFT_OUT * pixels as f64);
            let [low, high] = extent.seen;
            if low > spare || high < end - spare {
                let (first, last) = ((low + 0.5).round(), (high + 0.5).round());
                return Some(format!(
                    "the network cuts its picture, and the layer sees {what} {first} to {last} of {pixels} only; cut the photos instead, and export the network \
                     without that"
                ));
            }
            (extent.first < -STEPS_BEFORE * extent.coarsest).then(|| {
                format!(
                    "the network puts its picture into a larger one, whose {what} the layer's are; pad the photos instead, and export the network without that"
                )
            })
        })
    }
}

/// Where two tensors meet whose rows lie in the same places, each sees what the other does. Others are not followed.
fn joined(a: Both, b: Both) -> Both {
    let join = |(a, b): (Option<Extent>, Option<Extent>)| match (a, b) {
        (Some(a), Some(b)) => {
            let same = a.step == b.step && (a.first - b.first).abs() <= a.step;
            same.then(|| Extent {
                seen: [a.seen[0].min(b.seen[0]), a.seen[1].max(b.seen[1])],
                reach: a.reach.max(b.reach),
                ..a
            })
        }
        (a, b) => a.or(b),
    };
    [join((a[0], b[0])), join((a[1], b[1]))]
}

/// Those of a node's outputs; nothing if that is not known.
fn followed(network: &TypedModel, node: &TypedNode, places: &Places, both: Both) -> Option<Both> {
    let input = *node.inputs.first()?;
    let from = network.outlet_fact(input).ok()?.shape.as_concrete()?;
    let to = node.outputs.first()?.fact.shape.as_concrete()?;
    let op = &node.op;
    let pool = op.downcast_ref::<Conv>().map(|op| &op.pool_spec);
    let pool = pool.or_else(|| op.downcast_ref::<MaxPool>().map(|op| &op.pool_spec));
    let pool = pool.or_else(|| op.downcast_ref::<SumPool>().map(|op| &op.pool_spec));
    // What becomes of the rows or columns along an axis, if something does.
    let renew = |then: &dyn Fn(usize, Extent) -> Option<Extent>| {
        let mut result = both;
        for (dimension, extent) in result.iter_mut().enumerate() {
            let found = (0..from.len()).find_map(|axis| Some((axis, places.line(input, axis, dimension)?)));
            if let (Some(known), Some((axis, line))) = (*extent, found) {
                *extent = then(axis, known.of(line)).or(*extent);
            }
        }
        Some(result)
    };
    if let Some(pool) = pool {
        return renew(&|axis, extent| slid(pool, from, to, axis, extent));
    }
    if let Some(op) = op.downcast_ref::<Pad>() {
        let pads = &op.pads;
        return renew(&|axis, extent| {
            let (before, after) = *pads.get(axis)?;
            (before + after > 0).then_some(Extent { first: extent.first - extent.step * before as f64, ..extent })
        });
    }
    let resized = op.is::<Deconv>() || matches!(&*op.name(), "Resize" | "NearestUpsample");
    match &*op.name() {
        "Tile" => None,
        _ if resized => renew(&|axis, extent| {
            let (from, to) = (from[axis], *to.get(axis)?);
            (from != to || op.is::<Deconv>()).then(|| extent.stretched(from, to))
        }),
        _ => Some(both),
    }
}

/// That of windows along an axis; nothing if none slide along it.
fn slid(pool: &PoolSpec, from: &[usize], to: &[usize], axis: usize, extent: Extent) -> Option<Extent> {
    let (first, _) = window_axes(pool, to.len());
    let index = axis.checked_sub(first)?;
    let size = *pool.kernel_shape.get(index)?;
    if size == 1 && pool.stride(index) == 1 && from.len() == to.len() {
        return None;
    }
    let lengths = from.get(first..first + pool.kernel_shape.len())?;
    let before = pool.computed_padding(lengths).get(index)?.pad_before;
    Some(extent.windowed(size as f64, pool.dilation(index) as f64, before as f64, pool.stride(index) as f64))
}
