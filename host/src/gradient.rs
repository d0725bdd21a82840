//! The gradient of a score at an inner tensor, as nodes of the same graph.
//!
//! tract runs graphs forward only. [`append_gradient`] walks back from the score to the chosen layer and adds, for
//! every node on the way, the nodes that turn the derivative with respect to its output into the derivative with
//! respect to its input (its vector-Jacobian product). They read the values the forward nodes have computed anyway, so
//! one run gives the score, the layer and the gradient.
//!
//! Below, y is a node's output, x, a, b its inputs, s the score, and g = ds/dy what comes back to it. What a
//! node returns for x is ds/dx; a tensor with several readers gets the sum.
//!
//! Each operator has one small function here and one line in the table of rules.

use anyhow::{Context, ensure};
use std::collections::{HashMap, HashSet};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::{BinMiniOp, TypedBinOp};
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax, SoftmaxKind};

/// Adds the nodes that compute d score / d layer to the graph, and returns where the gradient comes out.
///
/// The gradient has the layer's shape. The graph's outputs stay as they were; nodes that do not lie between layer and
/// score are left alone.
///
/// # Conventions
/// `max(x, bound)` passes the derivative where x > bound, `min(x, bound)` where x < bound: zero on the bound itself.
///
/// # Errors
/// - the score is not a single f32 or does not depend on the layer;
/// - an operator on the way has no rule here: the message names operator and node;
/// - an operator is used in a way its rule does not cover, such as a convolution whose kernel is computed.
pub fn append_gradient(model: &mut TypedModel, score: OutletId, layer: OutletId) -> TractResult<OutletId> {
    let fact = model.outlet_fact(score)?;
    ensure!(
        fact.datum_type == f32::datum_type() && fact.shape.volume() == 1.to_dim(),
        "expected a score of one f32, found {fact:?}"
    );
    let shape = fact.shape.as_concrete().context("a score of unknown shape")?.to_vec();
    let path = nodes_between(model, layer, score)?;
    let mut tape = Tape { model, wired: 0 };
    let one = tape.constant(tensor0(1f32).broadcast_to_shape(&shape)?)?;
    let mut derivatives = HashMap::from([(score, one)]);
    for &id in path.nodes.iter().rev() {
        let Some(&derivative) = derivatives.get(&OutletId::new(id, 0)) else {
            continue;
        };
        let node = tape.model.node(id).clone();
        ensure!(node.outputs.len() == 1, "{node} has several outputs; a gradient needs one");
        let rule = rule_for(node.op.as_ref())
            .with_context(|| format!("no gradient rule for operator {} (node {node})", node.op.name()))?;
        for (slot, input) in node.inputs.iter().enumerate() {
            if !path.tensors.contains(input) {
                continue;
            }
            let back =
                rule(&mut tape, &node, slot, derivative).with_context(|| format!("in the gradient of node {node}"))?;
            let (found, expected) = (tape.shape(back)?, tape.shape(*input)?);
            ensure!(found == expected, "the gradient of {node} has shape {found:?}, expected {expected:?}");
            let total = match derivatives.get(input) {
                Some(&so_far) => tape.wire("sum", math::add(), &[so_far, back])?,
                None => back,
            };
            derivatives.insert(*input, total);
        }
    }
    derivatives.get(&layer).copied().context("the score does not depend on the layer")
}

/// What lies between a layer and a score.
struct Path {
    /// Nodes on the way, in an order in which they can run.
    nodes: Vec<usize>,
    /// The layer and everything computed from it.
    tensors: HashSet<OutletId>,
}

fn nodes_between(model: &mut TypedModel, layer: OutletId, score: OutletId) -> TractResult<Path> {
    // eval_order only finds what the outputs need.
    let outputs = std::mem::replace(&mut model.outputs, vec![score]);
    let order = model.eval_order();
    model.outputs = outputs;
    let mut path = Path { nodes: Vec::new(), tensors: HashSet::from([layer]) };
    for id in order? {
        let node = model.node(id);
        if node.inputs.iter().any(|input| path.tensors.contains(input)) {
            path.nodes.push(id);
            path.tensors.extend((0..node.outputs.len()).map(|slot| OutletId::new(id, slot)));
        }
    }
    ensure!(path.tensors.contains(&score), "the score does not depend on the layer");
    Ok(path)
}

/// ds/d(input `slot`) of a node, given g = ds/d(its output).
type Rule = fn(&mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId>;

/// The table of rules.
fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    if let Some(op) = op.downcast_ref::<TypedBinOp>() {
        return match op.0.name() {
            "Add" => Some(add),
            "Sub" => Some(sub),
            "Mul" => Some(mul),
            "Div" => Some(div),
            "Max" => Some(max),
            "Min" => Some(min),
            _ => None,
        };
    }
    if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
        return match op.0.name().as_str() {
            "Square" => Some(square),
            "Sqrt" => Some(sqrt),
            "Rsqrt" => Some(rsqrt),
            "Recip" => Some(recip),
            _ => None,
        };
    }
    if op.is::<AxisOp>() {
        return Some(axes);
    }
    if op.is::<EinSum>() {
        return Some(einsum);
    }
    if op.is::<Conv>() {
        return Some(conv);
    }
    if op.is::<Reduce>() {
        return Some(reduce);
    }
    if op.is::<Softmax>() {
        return Some(softmax);
    }
    None
}

/// The graph being extended, with shorthands for extending it.
struct Tape<'m> {
    model: &'m mut TypedModel,
    wired: usize,
}

impl Tape<'_> {
    fn name(&mut self, what: &str) -> String {
        self.wired += 1;
        format!("gradient.{}.{what}", self.wired)
    }

    fn wire(&mut self, what: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        let name = self.name(what);
        Ok(self.model.wire_node(name, op, inputs)?[0])
    }

    fn shape(&self, tensor: OutletId) -> TractResult<TVec<usize>> {
        let shape = self.model.outlet_fact(tensor)?.shape.as_concrete();
        Ok(shape.context("a tensor of unknown shape; pin the inputs first")?.into())
    }

    fn constant_behind(&self, tensor: OutletId) -> TractResult<Option<Arc<Tensor>>> {
        Ok(self.model.outlet_fact(tensor)?.konst.clone())
    }

    /// A constant with a node to itself.
    ///
    /// tract packs a matrix for its kernels while loading only if the constant has one reader, and `add_const` merges
    /// equal constants. A weight that is read forward and backward would be packed anew in every run.
    fn constant(&mut self, tensor: impl IntoArcTensor) -> TractResult<OutletId> {
        let tensor = tensor.into_arc_tensor();
        let fact = TypedFact::try_from(Arc::clone(&tensor))?;
        let name = self.name("constant");
        Ok(self.model.add_node(name, Const::new(tensor)?, tvec!(fact))?.into())
    }

    fn mul(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.wire("mul", math::mul(), &[a, b])
    }

    fn scale(&mut self, tensor: OutletId, factor: f32) -> TractResult<OutletId> {
        let rank = self.shape(tensor)?.len();
        let factor = self.constant(tensor0(factor).broadcast_into_rank(rank)?)?;
        self.mul(tensor, factor)
    }

    /// Sums over axes, which stay with length one.
    fn sum(&mut self, tensor: OutletId, axes: &[usize]) -> TractResult<OutletId> {
        if axes.is_empty() {
            return Ok(tensor);
        }
        self.wire("sum", Reduce::new(axes.into(), Reducer::Sum), &[tensor])
    }

    fn broadcast(&mut self, tensor: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        if *self.shape(tensor)? == *shape {
            return Ok(tensor);
        }
        self.wire("broadcast", MultiBroadcastTo::new(shape.iter().map(|&length| length.to_dim()).collect()), &[tensor])
    }

    /// Sums the derivative of a broadcast tensor over the axes along which `like` was repeated.
    fn unbroadcast(&mut self, tensor: OutletId, like: OutletId) -> TractResult<OutletId> {
        let (from, to) = (self.shape(tensor)?, self.shape(like)?);
        let repeated: Vec<usize> = (0..from.len()).filter(|&axis| from[axis] != to[axis]).collect();
        self.sum(tensor, &repeated)
    }

    /// Where a node's value can be read once every clamp that directly follows it has been applied.
    ///
    /// Reading the node itself would give it a second reader, and tract fuses a clamp into the matrix product before it
    /// only if it is the only reader.
    fn behind_clamps(&self, node: &TypedNode) -> OutletId {
        let mut outlet = OutletId::new(node.id, 0);
        while let [successor] = *self.model.node(outlet.node).outputs[0].successors {
            if clamp_bound(self.model, self.model.node(successor.node)).is_none() {
                break;
            }
            outlet = successor.node.into();
        }
        outlet
    }
}

/// y = a + b: ds/da = g.
fn add(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a - b: ds/da = g, ds/db = -g.
fn sub(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = if slot == 0 { g } else { tape.scale(g, -1.)? };
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a b: ds/da = g b.
fn mul(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = tape.mul(g, node.inputs[1 - slot])?;
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = a / b: ds/da = g / b, ds/db = -g y / b.
fn div(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let mut g = tape.wire("div", math::div(), &[g, node.inputs[1]])?;
    if slot == 1 {
        g = tape.mul(g, node.id.into())?;
        g = tape.scale(g, -1.)?;
    }
    tape.unbroadcast(g, node.inputs[slot])
}

/// y = max(x, c) with constant c: ds/dx = g where x > c, else 0.
fn max(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    gated(tape, node, slot, g, |bound| Gate { low: bound, high: f32::INFINITY })
}

/// y = min(x, c) with constant c: ds/dx = g where x < c, else 0.
fn min(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    gated(tape, node, slot, g, |bound| Gate { low: f32::NEG_INFINITY, high: bound })
}

/// Passes g where the node did not hold its input to a bound.
///
/// That is read off the value z behind all clamps that directly follow, not off x. z lies strictly inside every bound
/// of such a chain exactly if no clamp in it held the value, so the product of the chain's gates is its derivative.
fn gated(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId, gate: fn(f32) -> Gate) -> TractResult<OutletId> {
    let (variable, bound) = clamp_bound(tape.model, node).context("only clamps to one constant have a rule")?;
    ensure!(variable == slot, "the bound of a clamp has no gradient rule");
    ensure!(
        tape.shape(node.inputs[slot])? == tape.shape(node.id.into())?,
        "a clamp that broadcasts has no gradient rule"
    );
    let z = tape.behind_clamps(node);
    tape.wire("gate", TypedBinOp(Box::new(gate(bound)), None), &[g, z])
}

/// If the node is max(x, c) or min(x, c) with a constant c: which input is x, and c.
fn clamp_bound(model: &TypedModel, node: &TypedNode) -> Option<(usize, f32)> {
    let op = node.op_as::<TypedBinOp>()?;
    if !matches!(op.0.name(), "Max" | "Min") {
        return None;
    }
    let bound = |slot: usize| {
        let uniform = model.outlet_fact(node.inputs[slot]).ok()?.uniform.clone()?;
        uniform.cast_to_scalar::<f32>().ok()
    };
    match (bound(0), bound(1)) {
        (None, Some(bound)) => Some((0, bound)),
        (Some(bound), None) => Some((1, bound)),
        _ => None,
    }
}

/// gate(g, z) = g where low < z < high, else 0.
#[derive(Debug, Clone, PartialEq)]
struct Gate {
    low: f32,
    high: f32,
}

impl Eq for Gate {}

impl Gate {
    fn pass(&self, g: f32, z: f32) -> f32 {
        if self.low < z && z < self.high { g } else { 0. }
    }
}

impl BinMiniOp for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn result_datum_type(&self, g: DatumType, z: DatumType) -> TractResult<DatumType> {
        ensure!(g == f32::datum_type() && z == g, "a gate works on f32, found {g:?} and {z:?}");
        Ok(g)
    }

    fn is_commutative(&self) -> bool {
        false
    }

    fn eval_in_a(&self, g: &mut Tensor, z: &Tensor) -> TractResult<()> {
        ensure!(g.shape() == z.shape(), "a gate does not broadcast");
        let mut g = g.try_as_plain_ram_mut()?;
        let z = z.try_as_plain_ram()?;
        for (g, &z) in g.as_slice_mut::<f32>()?.iter_mut().zip(z.as_slice::<f32>()?) {
            *g = self.pass(*g, z);
        }
        Ok(())
    }

    fn eval_out_of_place(&self, out: &mut Tensor, g: &Tensor, z: &Tensor) -> TractResult<()> {
        let mut out = out.try_as_plain_ram_mut()?;
        let g = g.broadcast_to_shape(z.shape())?;
        let (g, z) = (g.try_as_plain_ram()?, z.try_as_plain_ram()?);
        let pairs = g.as_slice::<f32>()?.iter().zip(z.as_slice::<f32>()?);
        for (out, (&g, &z)) in out.as_slice_mut::<f32>()?.iter_mut().zip(pairs) {
            *out = self.pass(g, z);
        }
        Ok(())
    }
}

/// y = x^2: ds/dx = 2 g x.
fn square(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = tape.mul(g, node.inputs[0])?;
    tape.scale(g, 2.)
}

/// y = sqrt(x): ds/dx = g / (2 y).
fn sqrt(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let g = tape.wire("div", math::div(), &[g, node.id.into()])?;
    tape.scale(g, 0.5)
}

/// y = 1 / sqrt(x): ds/dx = -g y^3 / 2.
fn rsqrt(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let y = OutletId::from(node.id);
    let square = tape.mul(y, y)?;
    let cube = tape.mul(square, y)?;
    let g = tape.mul(g, cube)?;
    tape.scale(g, -0.5)
}

/// y = 1 / x: ds/dx = -g y^2.
fn recip(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let y = OutletId::from(node.id);
    let square = tape.mul(y, y)?;
    let g = tape.mul(g, square)?;
    tape.scale(g, -1.)
}

/// Axes added, removed, moved or reshaped: the same, undone.
fn axes(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<AxisOp>().context("an AxisOp")?;
    tape.wire("axes", op.recip(), &[g])
}

/// y = sum of x over some axes: ds/dx = g, repeated along them.
fn reduce(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Reduce>().context("a Reduce")?;
    ensure!(op.reducer == Reducer::Sum, "no gradient rule for reducing by {:?}", op.reducer);
    let shape = tape.shape(node.inputs[0])?;
    tape.broadcast(g, &shape)
}

/// y = softmax(x): ds/dx = y (g - sum(g y)), summed over the softmax's axes.
fn softmax(tape: &mut Tape, node: &TypedNode, _slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<Softmax>().context("a Softmax")?;
    ensure!(
        op.kind == SoftmaxKind::Softmax && op.quant_output_dt.is_none(),
        "no gradient rule for this kind of softmax"
    );
    let y = OutletId::from(node.id);
    let weighted = tape.mul(g, y)?;
    let mean = tape.sum(weighted, &op.axes)?;
    let centred = tape.wire("sub", math::sub(), &[g, mean])?;
    tape.mul(centred, y)
}

/// y = sum of products, such as y\[m,n\] = sum over k of a\[m,k\] b\[k,n\]: ds/da is the sum of products of g and b
/// over the axes that a lacks, here ds/da\[m,k\] = sum over n of g\[m,n\] b\[k,n\].
///
/// An axis that only a has was summed over: ds/da is repeated along it.
fn einsum(tape: &mut Tape, node: &TypedNode, slot: usize, g: OutletId) -> TractResult<OutletId> {
    let op = node.op_as::<EinSum>().context("an EinSum")?;
    ensure!(
        op.q_params.is_none() && op.operating_dt == f32::datum_type() && node.inputs.len() == 2,
        "only a product of two f32 tensors has a rule"
    );
    let (inputs, outputs) = op.axes.to_strs();
    let (ours, other, output) = (&inputs[slot], &inputs[1 - slot], &outputs[0]);
    let repeats = |axes: &str| axes.chars().collect::<HashSet<_>>().len() != axes.chars().count();
    ensure!(!repeats(ours) && !repeats(other), "a diagonal has no rule");
    let factor = match tape.constant_behind(node.inputs[1 - slot])? {
        Some(weights) => tape.constant(weights)?,
        None => node.inputs[1 - slot],
    };
    // An axis of ours that neither g nor the other input has comes out with length one.
    let axes = AxesMapping::from_strs(&[output, other], &[ours])?;
    let back = tape.wire("einsum", EinSum::new(axes, op.operating_dt), &[g, factor])?;
    let shape = tape.shape(node.inputs[slot])?;
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
    let kernel = tape.constant_behind(node.inputs[1])?.context("a computed kernel has no rule")?;
    let pool = &op.pool_spec;
    let input = pool.data_format.shape(tape.shape(node.inputs[0])?)?;
    let output = pool.data_format.shape(tape.shape(node.id.into())?)?;
    let (mut before, mut after, mut beyond) = (tvec!(), tvec!(), tvec!());
    for (axis, pad) in pool.computed_padding(input.hw_dims()).iter().enumerate() {
        let reach =
            (output.hw_dims()[axis] - 1) * pool.stride(axis) + (pool.kernel_shape[axis] - 1) * pool.dilation(axis) + 1;
        // A stride can leave rows at the end that no output reads: their derivative is zero.
        let padded = input.hw_dims()[axis] + pad.pad_before + pad.pad_after;
        beyond.push(padded.checked_sub(reach).context("a convolution that reads past its padding has no rule")?);
        before.push(pad.pad_before);
        after.push(pad.pad_after);
    }
    let back = PoolSpec {
        padding: PaddingSpec::Explicit(before, after),
        input_channels: pool.output_channels,
        output_channels: pool.input_channels,
        ..pool.clone()
    };
    let kernel = tape.constant(transposed(&kernel, op.group)?)?;
    let no_bias = tape.constant(tensor0(0f32))?;
    tape.wire("deconv", Deconv::new(back, KernelFormat::OIHW, beyond, op.group), &[g, kernel, no_bias])
}

/// Swaps a kernel's output and input channels within each group: (group o) i ... to (group i) o ...
fn transposed(kernel: &Tensor, group: usize) -> TractResult<Tensor> {
    let kernel = kernel.clone().split_axis(0, group)?.move_axis(1, 2)?;
    Ok(kernel.collapse_axis_with_next(0))
}
