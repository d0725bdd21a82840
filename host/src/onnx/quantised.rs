//! From a quantised ONNX file to a graph of floats that runs at the speed of floats.
//!
//! A QDQ file wraps its operators in integers: a weight is an integer tensor behind a `DequantizeLinear`, an activation
//! passes through a `QuantizeLinear` -> `DequantizeLinear` pair. Integers make the file small, but tract computes
//! faster in floats, so both are undone once, while reading:
//!
//! - a weight becomes `(q - zero_point) * scale`, the operator's own formula;
//! - an activation pair becomes a clamp to the range its integers can hold,
//!
//!   ```text
//!   x  ->  min(max(x, (q_min - zero_point) * scale), (q_max - zero_point) * scale)
//!   ```
//!
//!   so the rounding is dropped and the saturation kept. Dropping both would be wrong: exporters delete a ReLU or a
//!   Clip that the saturation makes redundant. The derivative of the clamp, one inside the range and zero outside, is
//!   the usual straight-through estimate for the pair.
//!
//! To see what an integer device computes, the pair can stay what it is, a [`Rounding`], in one step on floats: the
//! values that the integers stand for, so that only the order of sums differs from such a device. Integers themselves
//! never flow through the graph. tract 0.23.9 would fold what lies between a `DequantizeLinear` and a `QuantizeLinear`
//! into a table of 256 entries, even a Softmax, which does not work on one element at a time; it cannot fold this.

use crate::onnx::constants;
use crate::onnx::mended;
pub use crate::onnx::normal::Form;
use crate::onnx::normal::{Beside, Normal, Reading};
use crate::onnx::operators::{self, DynamicRounding};
use crate::onnx::places::{Grid, Places};
use crate::onnx::sharing::{share_constants, shared};
use crate::onnx::validate;
use anyhow::{Context, ensure};
use std::collections::HashSet;
use std::path::Path;
use tract_onnx::model::ParseResult;
use tract_onnx::pb;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearI8, QuantizeLinearU8};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::source::Source;

/// What to read from an ONNX file.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Name of the file's one input.
    pub input: &'a str,
    /// Type to pin that input to.
    pub datum_type: DatumType,
    /// Shape to pin that input to; `None` is a length that may change from run to run.
    pub shape: &'a [Option<usize>],
    /// Names of the tensors wanted, inner ones included; they become the outputs, in this order.
    pub outputs: &'a [&'a str],
    /// What becomes of the pairs around activations.
    pub pairs: Pairs,
    /// Where the file lies, if weights may lie beside it in files of their own.
    pub folder: Option<&'a Path>,
    /// Of a network of pictures: what those that it is given are made of.
    pub form: Form,
    /// Tensors that are read as one number for each class, and how.
    pub readings: &'a [(String, Reading)],
    /// Of a network of token ids: what is said of each token besides its id.
    pub beside: Option<Beside<'a>>,
}

impl Wanted<'_> {
    /// Whether the input is a picture of red, green and blue planes.
    fn is_picture(&self) -> bool {
        self.datum_type == f32::datum_type() && matches!(self.shape, [Some(1), Some(3), _, _])
    }
}

/// What becomes of an activation's `QuantizeLinear` -> `DequantizeLinear` pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pairs {
    /// A clamp to the range of the integers, which is fast. Bounds that the values cannot reach are dropped.
    #[default]
    Clamp,
    /// Rounding to the integers' steps as well: what an integer device computes.
    Round,
}

/// Reads an ONNX file into a decluttered graph of floats whose outputs are the tensors wanted, in the order asked for.
///
/// A wanted inner tensor keeps its place in the graph: what is computed from it in the file is computed from it here.
///
/// # Errors
/// Those of [`read_with_pairs`].
pub fn read(onnx: &[u8], wanted: &Wanted) -> TractResult<TypedModel> {
    Ok(read_with_grids(onnx, wanted)?.0)
}

/// As [`read`], and how each of the tensors wanted holds places of the picture.
///
/// # Errors
/// Those of [`read_with_pairs`].
pub fn read_with_grids(onnx: &[u8], wanted: &Wanted) -> TractResult<(TypedModel, Vec<Option<Grid>>)> {
    let (mut model, grids) = read_plain(onnx, wanted)?;
    // A copy to fall back on would hold every weight twice while each is laid out anew.
    if model.declutter().is_err() {
        model = read_plain(onnx, wanted)?.0;
    }
    let before = model.clone();
    if constants::fold(&mut model).and_then(|folded| if folded { model.declutter() } else { Ok(()) }).is_err() {
        model = before;
    }
    share_constants(&mut model);
    Ok((model, grids))
}

/// The network of floats, before tract simplifies it: where one of its rewrites fails, the graph stays as it is here.
///
/// # Errors
/// Those of [`read_with_pairs`].
pub fn read_plain(onnx: &[u8], wanted: &Wanted) -> TractResult<(TypedModel, Vec<Option<Grid>>)> {
    let mut model = read_with_pairs(onnx, wanted)?;
    let places = Places::of(&model)?;
    let grids = model.outputs.iter().map(|&output| places.grid(&model, output)).collect();
    undo_pairs(&mut model, wanted.pairs)?;
    if wanted.pairs == Pairs::Round {
        round_outputs(&mut model)?;
    }
    keep_outputs(&mut model)?;
    Ok((model, grids))
}

/// Reads an ONNX file with its activation pairs as they are: weights are floats, nothing is decluttered.
///
/// This is the network that an integer device runs, up to the order of its sums. Mind that tract 0.23.9's declutter
/// folds a chain `DequantizeLinear` -> Softmax -> `QuantizeLinear` into a table of 256 entries, as if Softmax worked on
/// one element at a time.
///
/// # Errors
/// Bytes that are no ONNX model, an input of another name or more than one, a wanted name that the file lacks, shapes
/// that contradict the pinned input, an operator unknown to tract. A damaged file can make tract panic, so call this
/// inside [`contained`](crate::onnx::guard::contained).
pub fn read_with_pairs(onnx: &[u8], wanted: &Wanted) -> TractResult<TypedModel> {
    let framework = operators::framework();
    let mut normal = Normal::read(onnx, wanted.folder)?;
    for (tensor, reading) in wanted.readings {
        normal.read_off(tensor, *reading);
    }
    ensure_wanted(&normal, wanted)?;
    normal.keep(wanted.outputs);
    match normal.picture().ok().filter(|picture| picture.name == wanted.input && wanted.is_picture()) {
        Some(picture) => normal.take_picture(&picture, &wanted.form)?,
        None => match &wanted.beside {
            Some(beside) => normal.take_tokens(wanted.input, beside)?,
            None => normal.take_alone(wanted.input)?,
        },
    }
    let mut proto = normal.proto;
    let graph = proto.graph.as_ref().context("the file holds no graph")?;
    validate::check(&framework, graph)?;
    let parsed = framework.parse(&proto, None)?;
    // The tensors have been copied out: free the file's own copy of them before the graph grows.
    if let Some(graph) = &mut proto.graph {
        graph.initializer = Vec::new();
    }
    let graph = proto.graph.context("the file holds no graph")?;
    let mut model = with_float_weights(parsed, &graph)?;
    ensure!(
        model.inputs.len() == 1 && model.node(model.inputs[0].node).name == wanted.input,
        "expected one input named \"{}\", found {}",
        wanted.input,
        named(model.inputs.iter().map(|input| model.node(input.node).name.as_str()))
    );
    let shape: TVec<TDim> = (wanted.shape.iter())
        .map(|length| match length {
            Some(length) => length.to_dim(),
            None => model.symbols.new_with_prefix("length").to_dim(),
        })
        .collect();
    model.set_input_fact(0, wanted.datum_type.fact(shape).into())?;
    model.select_outputs_by_name(wanted.outputs)?;
    validate::bound(&mut model, &graph);
    let mut model = model.into_typed()?;
    mended::mend(&mut model)?;
    Ok(model)
}

fn ensure_wanted(normal: &Normal, wanted: &Wanted) -> TractResult<()> {
    let graph = normal.graph();
    let made: HashSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    for output in wanted.outputs {
        ensure!(
            made.contains(output) || graph.input.iter().any(|input| input.name == *output),
            "expected a tensor named \"{output}\"; the file's outputs are {}",
            named(graph.output.iter().map(|output| output.name.as_str()))
        );
    }
    ensure!(
        graph.input.iter().any(|input| input.name == wanted.input),
        "expected an input named \"{}\", found {}",
        wanted.input,
        named(graph.input.iter().map(|input| input.name.as_str()))
    );
    Ok(())
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

/// Replaces every `DequantizeLinear` of constants by the constant it stands for.
///
/// tract does so itself, but evaluates each of them through a graph of its own, several times over: for 5 million
/// weights, 0.4 s instead of 0.02 s.
fn with_float_weights(parsed: ParseResult, graph: &pb::GraphProto) -> TractResult<InferenceModel> {
    let ParseResult { mut model, unresolved_inputs, outlets_by_name } = parsed;
    ensure!(unresolved_inputs.is_empty(), "the graph uses undefined tensors: {}", unresolved_inputs.join(", "));
    for proto in graph.node.iter().filter(|node| node.op_type == "DequantizeLinear") {
        let Some(&outlet) = proto.output.first().and_then(|name| outlets_by_name.get(name)) else {
            continue;
        };
        let constants: Option<Vec<Arc<Tensor>>> = (proto.input.iter())
            .map(|name| {
                let input = outlets_by_name.get(name)?;
                Some(Arc::clone(model.node(input.node).op_as::<Const>()?.val()))
            })
            .collect();
        let blocked = proto.get_attr_opt::<i64>("block_size")?.is_some_and(|size| size != 0);
        let (Some(constants), false) = (constants, blocked) else {
            continue;
        };
        let axis = proto.get_attr_opt::<i64>("axis")?.unwrap_or(1);
        let Some(weights) = dequantised(&constants, axis)? else {
            continue;
        };
        let weights = shared(weights.into_arc_tensor());
        for input in std::mem::take(&mut model.node_mut(outlet.node).inputs) {
            let successors = &mut model.node_mut(input.node).outputs[input.slot].successors;
            successors.retain(|successor| successor.node != outlet.node);
            if successors.is_empty() && !model.outputs.contains(&input) {
                // Nobody needs the integers any more.
                model.node_mut(input.node).op = Box::new(Source::new());
                model.node_mut(input.node).outputs[input.slot].fact = InferenceFact::default();
            }
        }
        let node = model.node_mut(outlet.node);
        node.outputs[0].fact = InferenceFact::from(TypedFact::try_from(Arc::clone(&weights))?);
        node.op = Const::new(weights)?.into();
    }
    Ok(model)
}

/// `(q - zero_point) * scale`, scale and zero point either single numbers or one per index of `axis`.
///
/// `constants` are q, scale and, if there is one, the zero point. `None` for types and shapes outside ONNX's own rules,
/// which are left to tract to refuse.
fn dequantised(constants: &[Arc<Tensor>], axis: i64) -> TractResult<Option<Tensor>> {
    let (quantised, scale, zero_point) = match constants {
        [quantised, scale] => (quantised, scale, None),
        [quantised, scale, zero_point] => (quantised, scale, Some(zero_point)),
        _ => return Ok(None),
    };
    let shape = quantised.shape();
    let (channels, inner) = if scale.len() == 1 {
        (1, quantised.len())
    } else {
        let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
        let Some(&channels) = usize::try_from(axis).ok().and_then(|axis| shape.get(axis)) else {
            return Ok(None);
        };
        (channels, shape[axis as usize + 1..].iter().product())
    };
    if quantised.len() == 0 || scale.datum_type() != f32::datum_type() || scale.len() != channels {
        return Ok(None);
    }
    let zero_point: Vec<i32> = match zero_point {
        Some(zero_point) => zero_point.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec(),
        None => vec![0; channels],
    };
    if zero_point.len() != channels {
        return Ok(None);
    }
    let scale = scale.try_as_plain_ram()?;
    let scale = scale.as_slice::<f32>()?;
    let quantised_values = quantised.try_as_plain_ram()?;
    let mut floats = Tensor::zero::<f32>(shape)?;
    let mut view = floats.try_as_plain_ram_mut()?;
    let to = view.as_slice_mut::<f32>()?;
    match quantised.datum_type() {
        DatumType::I8 => scaled(quantised_values.as_slice::<i8>()?, scale, &zero_point, inner, to),
        DatumType::U8 => scaled(quantised_values.as_slice::<u8>()?, scale, &zero_point, inner, to),
        DatumType::I32 => scaled(quantised_values.as_slice::<i32>()?, scale, &zero_point, inner, to),
        _ => return Ok(None),
    };
    Ok(Some(floats))
}

/// Runs of `inner` numbers share a scale and a zero point; the runs go round the channels.
fn scaled<Q>(quantised: &[Q], scale: &[f32], zero_point: &[i32], inner: usize, to: &mut [f32])
where
    Q: Copy + Into<i64>,
{
    let channels = scale.iter().zip(zero_point).cycle();
    let runs = quantised.chunks(inner).zip(to.chunks_mut(inner));
    for ((quantised, to), (&scale, &zero_point)) in runs.zip(channels) {
        for (to, &q) in to.iter_mut().zip(quantised) {
            *to = (q.into() - i64::from(zero_point)) as f32 * scale;
        }
    }
}

/// Replaces every activation's `QuantizeLinear` -> `DequantizeLinear` pair by one operator on floats, and tells how many
/// pairs there were.
///
/// Goes between typing and declutter, which rewrites pairs. Bounds that the values cannot reach, or exceed by no
/// more than the rounding, are dropped. Otherwise a clamp at zero after a mean of values that are all at least zero would change no value, but the
/// derivative of a channel whose mean is exactly zero would depend on a convention.
///
/// A pair whose two halves disagree on scale or zero point rescales as well as rounds: it always becomes a
/// [`Rounding`].
///
/// # Errors
/// None but tract's own on an inconsistent graph.
pub fn undo_pairs(model: &mut TypedModel, pairs: Pairs) -> TractResult<usize> {
    let mut undone = 0;
    for id in 0..model.nodes.len() {
        if pairs == Pairs::Clamp && model.node(id).op_is::<DynamicRounding>() {
            // Its range is that of the numbers themselves: nothing is clamped.
            let mut patch = TypedModelPatch::default();
            let wire = patch.tap_model(model, model.node(id).inputs[0])?;
            patch.shunt_outside(model, id.into(), wire)?;
            patch.apply(model)?;
            continue;
        }
        let alone =
            rounding_of(model.node(id)).filter(|_| pairs == Pairs::Clamp).map(|rounding| (id, rounding.clone()));
        let Some((quantise, rounding)) = alone.or_else(|| pair_ending_at(model, id)) else { continue };
        // Read here, not in a list made beforehand: an earlier replacement may have moved this edge.
        let input = model.node(quantise).inputs[0];
        let rank = model.outlet_fact(input)?.rank();
        let name = model.node(id).name.clone();
        let mut patch = TypedModelPatch::default();
        let mut wire = patch.tap_model(model, input)?;
        if pairs == Pairs::Round || rounding.rescales() {
            wire = patch.wire_node(name, ElementWiseOp(Box::new(rounding), None), &[wire])?[0];
        } else {
            let (low, high) = (rounding.at(rounding.smallest), rounding.at(rounding.largest));
            let (lowest, highest) = range(model, input);
            let (least, most) = rounding.unsaturated();
            for (binds, bound, end, op) in
                [(lowest < least, low, "low", math::max()), (highest > most, high, "high", math::min())]
            {
                if binds {
                    let bound = tensor0(bound).broadcast_into_rank(rank)?;
                    let bound = patch.add_const(format!("{name}.{end}.bound"), bound)?;
                    wire = patch.wire_node(format!("{name}{SATURATION}{end}"), op, &[wire, bound])?[0];
                }
            }
        }
        patch.shunt_outside(model, id.into(), wire)?;
        patch.apply(model)?;
        undone += 1;
    }
    Ok(undone)
}

/// How the end of the name of a node begins that clamps numbers to what integers can hold.
const SATURATION: &str = ".saturation.";

/// Whether a node clamps numbers to what integers can hold.
pub(crate) fn is_saturation(node: &TypedNode) -> bool {
    node.name.contains(SATURATION)
}

/// Whether a network clamps or rounds numbers to what integers can hold.
pub(crate) fn saturates(model: &TypedModel) -> bool {
    model.nodes.iter().any(|node| is_saturation(node) || rounding_of(node).is_some())
}

/// A pair in one step, on floats: q = round(x / scale) + zero point, half to even, held to `smallest` .. `largest`;
/// y = (q - `out_zero_point`) * `out_scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounding {
    scale: f32,
    zero_point: i32,
    smallest: i32,
    largest: i32,
    out_scale: f32,
    out_zero_point: i32,
}

impl Eq for Rounding {}

impl Rounding {
    /// Of a pair whose halves agree.
    pub fn new(scale: f32, zero_point: i32, smallest: i32, largest: i32) -> Self {
        Self { scale, zero_point, smallest, largest, out_scale: scale, out_zero_point: zero_point }
    }

    /// The values of x that round into the integers' range, not onto its ends from beyond.
    pub(crate) fn unsaturated(&self) -> (f32, f32) {
        let at = |q: f32| (q - self.zero_point as f32) * self.scale;
        (at(self.smallest as f32 - 0.5), at(self.largest as f32 + 0.5))
    }

    /// Whether the smallest integer stands for zero, as behind a ReLU.
    pub(crate) fn starts_at_zero(&self) -> bool {
        self.smallest == self.zero_point
    }

    /// The number that an integer stands for.
    fn at(&self, q: i32) -> f32 {
        (q - self.out_zero_point) as f32 * self.out_scale
    }

    fn rescales(&self) -> bool {
        self.scale != self.out_scale || self.zero_point != self.out_zero_point
    }

    fn of(&self, x: f32) -> f32 {
        // Rounds half to even all that is left by the clamp, in two additions that vectorise.
        const SHIFT: f32 = 1.5 * (1 << 23) as f32;
        let steps =
            (x / self.scale).clamp((self.smallest - self.zero_point) as f32, (self.largest - self.zero_point) as f32);
        let rounded = (steps + SHIFT) - SHIFT;
        (rounded + (self.zero_point - self.out_zero_point) as f32) * self.out_scale
    }
}

impl ElementWiseMiniOp for Rounding {
    fn name(&self) -> String {
        "Rounding".to_string()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _datum_type: Option<DatumType>) -> TractResult<()> {
        let mut values = tensor.try_as_plain_ram_mut()?;
        for value in values.as_slice_mut::<f32>()? {
            *value = self.of(*value);
        }
        Ok(())
    }
}

/// Makes outputs that all readers see rounded the rounded ones: what an integer device holds in memory.
fn round_outputs(model: &mut TypedModel) -> TractResult<()> {
    for place in 0..model.outputs.len() {
        let output = model.outputs[place];
        let readers = model.outlet_successors(output).to_vec();
        let Some(rounding) = readers.first().and_then(|reader| rounding_of(model.node(reader.node))).cloned() else {
            continue;
        };
        if readers.iter().any(|reader| rounding_of(model.node(reader.node)) != Some(&rounding)) {
            continue;
        }
        // Quantisers give every reader a pair of its own: one serves all.
        let rounded = OutletId::from(readers[0].node);
        for other in &readers[1..] {
            for reader in model.outlet_successors(other.node.into()).to_vec() {
                model.add_edge(rounded, reader)?;
            }
        }
        model.outputs[place] = rounded;
    }
    Ok(())
}

fn rounding_of(node: &TypedNode) -> Option<&Rounding> {
    node.op_as::<ElementWiseOp>()?.0.downcast_ref::<Rounding>()
}

/// The integers that a tensor's numbers stand for on an integer device: number = (integer - `zero_point`) * `scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// What one step is worth.
    pub scale: f32,
    /// The integer that stands for zero, as an unsigned byte (a signed byte's plus 128).
    pub zero_point: u8,
}

/// The steps of a tensor that is rounded to bytes.
pub fn steps_of(model: &TypedModel, tensor: OutletId) -> Option<Steps> {
    let node = model.node(tensor.node);
    if node.op_is::<Kept>() {
        return steps_of(model, node.inputs[0]);
    }
    let rounding = rounding_of(node).filter(|rounding| !rounding.rescales())?;
    let zero_point = u8::try_from(rounding.zero_point - rounding.smallest).ok()?;
    Some(Steps { scale: rounding.scale, zero_point })
}

/// Makes what is computed from an output wait for it: declutter would swap a slice, or a stride, with what comes before.
///
/// # Errors
/// None but tract's own on an inconsistent graph.
pub fn keep_outputs(model: &mut TypedModel) -> TractResult<()> {
    for output in model.outputs.clone() {
        let readers = model.outlet_successors(output).to_vec();
        if readers.is_empty() || !model.outlet_fact(output)?.datum_type.is_float() {
            continue;
        }
        let name = model.unique_name(format!("{}.kept", model.node(output.node).name));
        let kept = model.wire_node(name, Kept, &[output])?[0];
        for reader in readers {
            model.add_edge(kept, reader)?;
        }
        for other in &mut model.outputs {
            if *other == output {
                *other = kept;
            }
        }
    }
    Ok(())
}

/// The same tensor, but tract cannot look through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kept;

impl Op for Kept {
    fn name(&self) -> StaticName {
        "Kept".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Kept {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }
}

impl TypedOp for Kept {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].without_value()))
    }

    as_op!();
}

/// Smallest and largest value a tensor can hold, as far as clamps before it tell, up to the rounding of a mean.
fn range(model: &TypedModel, tensor: OutletId) -> (f32, f32) {
    range_within(model, tensor, 64)
}

/// Looks back so many nodes only, not as far as a damaged file reaches, for the sake of the stack.
fn range_within(model: &TypedModel, tensor: OutletId, nodes: usize) -> (f32, f32) {
    let node = model.node(tensor.node);
    let unknown = (f32::NEG_INFINITY, f32::INFINITY);
    if nodes == 0 {
        return unknown;
    }
    if let Some(op) = node.op_as::<Reduce>().filter(|op| op.reducer == Reducer::Sum) {
        let Ok(fact) = model.outlet_fact(node.inputs[0]) else { return unknown };
        let count: TDim = op.axes.iter().map(|&axis| fact.shape[axis].clone()).product();
        let Ok(count) = count.to_usize() else { return unknown };
        let (low, high) = range_within(model, node.inputs[0], nodes - 1);
        return (low * count as f32, high * count as f32);
    }
    if node.op_is::<AxisOp>() || node.op_is::<Kept>() {
        return range_within(model, node.inputs[0], nodes - 1);
    }
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        return if op.0.name() == "Sigmoid" { (0., 1.) } else { unknown };
    }
    if let Some(x) = silu_of(model, node) {
        // Its minimum, -0.27846, is at -1.2785; from there on it rises, to the left it stays below 0.
        let high = range_within(model, x, nodes - 1).1.max(0.);
        return (-0.278_47, if high < f32::INFINITY { high / (1. + (-high).exp()) } else { high });
    }
    let constant = |slot: usize| {
        let uniform = model.outlet_fact(node.inputs[slot]).ok()?.uniform.clone()?;
        uniform.cast_to_scalar::<f32>().ok()
    };
    let Some(op) = node.op_as::<TypedBinOp>() else { return unknown };
    let (value, constant) = match (constant(0), constant(1)) {
        (None, Some(constant)) => (node.inputs[0], constant),
        (Some(constant), None) => (node.inputs[1], constant),
        _ => return unknown,
    };
    let (low, high) = range_within(model, value, nodes - 1);
    match op.0.name() {
        "Max" => (low.max(constant), high.max(constant)),
        "Min" => (low.min(constant), high.min(constant)),
        "Mul" if constant > 0. => (low * constant, high * constant),
        "Div" if constant > 0. && value == node.inputs[0] => (low / constant, high / constant),
        _ => unknown,
    }
}

/// The x of x sigmoid(x).
fn silu_of(model: &TypedModel, node: &TypedNode) -> Option<OutletId> {
    node.op_as::<TypedBinOp>().filter(|op| op.0.name() == "Mul")?;
    let sigmoid_of = |factor: OutletId| {
        let factor = model.node(factor.node);
        let op = factor.op_as::<ElementWiseOp>().filter(|op| op.0.name() == "Sigmoid");
        op.map(|_| factor.inputs[0])
    };
    let (a, b) = (node.inputs[0], node.inputs[1]);
    [(a, b), (b, a)].into_iter().find(|&(x, factor)| sigmoid_of(factor) == Some(x)).map(|(x, _)| x)
}

/// The quantising node of the pair that ends at node `id`, if there is one, and what the two do together.
fn pair_ending_at(model: &TypedModel, id: usize) -> Option<(usize, Rounding)> {
    let dequantise = model.node(id).op_as::<DequantizeLinearF32>()?;
    let quantise = model.node(model.node(id).inputs[0].node);
    let op = quantise.op_as::<ElementWiseOp>()?;
    // tract's quantising operators hold the reciprocal of the scale.
    let (reciprocal, zero_point, smallest, largest) = if let Some(op) = op.0.downcast_ref::<QuantizeLinearU8>() {
        (op.scale, i32::from(op.zero_point), i32::from(u8::MIN), i32::from(u8::MAX))
    } else if let Some(op) = op.0.downcast_ref::<QuantizeLinearI8>() {
        (op.scale, i32::from(op.zero_point), i32::from(i8::MIN), i32::from(i8::MAX))
    } else {
        return None;
    };
    let agree = reciprocal == dequantise.scale.recip();
    let rounding = Rounding {
        scale: if agree { dequantise.scale } else { reciprocal.recip() },
        zero_point,
        smallest,
        largest,
        out_scale: dequantise.scale,
        out_zero_point: dequantise.zero_point,
    };
    Some((quantise.id, rounding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constants(tensors: Vec<Tensor>) -> Vec<Arc<Tensor>> {
        tensors.into_iter().map(Tensor::into_arc_tensor).collect()
    }

    fn floats(constants: &[Arc<Tensor>], axis: i64) -> Option<Tensor> {
        dequantised(constants, axis).unwrap()
    }

    #[test]
    fn scales_and_zero_points_go_along_their_axis() {
        let q = tensor3(&[[[-128i8, -1], [0, 1], [2, 127]], [[3, 4], [5, 6], [7, 8]]]);
        let scale = tensor1(&[0.5f32, 2., 4.]);
        let zero_point = tensor1(&[0i8, 1, -2]);
        let expected = tensor3(&[[[-64f32, -0.5], [-2., 0.], [16., 516.]], [[1.5, 2.], [8., 10.], [36., 40.]]]);
        let all = constants(vec![q, scale, zero_point]);
        assert_eq!(floats(&all, 1), Some(expected.clone()));
        assert_eq!(floats(&all, -2), Some(expected));
        let last = constants(vec![tensor2(&[[1u8, 2], [200, 255]]), tensor1(&[1f32, 10.]), tensor1(&[0u8, 5])]);
        assert_eq!(floats(&last, 1), Some(tensor2(&[[1f32, -30.], [200., 2500.]])));
    }

    #[test]
    fn one_scale_serves_all_and_the_zero_point_may_be_missing() {
        let bias = constants(vec![tensor1(&[-70_000i32, 3]), tensor0(0.25f32)]);
        assert_eq!(floats(&bias, 1), Some(tensor1(&[-17_500f32, 0.75])));
        let unsigned = constants(vec![tensor1(&[0u8, 255]), tensor1(&[0.5f32]), tensor1(&[128u8])]);
        assert_eq!(floats(&unsigned, 0), Some(tensor1(&[-64f32, 63.5])));
    }

    #[test]
    fn shapes_outside_the_standard_are_left_alone() {
        let q = || tensor2(&[[1i8, 2, 3]]);
        assert_eq!(floats(&constants(vec![q(), tensor1(&[1f32, 2.])]), 1), None);
        assert_eq!(floats(&constants(vec![q(), tensor1(&[1f32, 2., 3.]), tensor1(&[0i8, 0])]), 1), None);
        assert_eq!(floats(&constants(vec![q(), tensor1(&[1f32, 2., 3.])]), 2), None);
        assert_eq!(floats(&constants(vec![q()]), 1), None);
        assert_eq!(floats(&constants(vec![tensor1(&[1f32]), tensor0(1f32)]), 0), None);
    }
}
