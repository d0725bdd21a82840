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
//! Each operator has one small function in a module below and one line in the table of rules:
//! `pointwise` numbers one by one, `moves` numbers that change place, `products` matrix products and
//! convolutions, `pools` reductions, poolings and normalisations.

mod moves;
mod pointwise;
mod pools;
mod products;

use crate::onnx::exact::Instead;
use anyhow::{Context, bail, ensure};
use std::collections::{HashMap, HashSet};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// Adds the nodes that compute d score / d layer to the graph, and returns where the gradient comes out.
///
/// The gradient has the layer's shape. The graph's outputs stay as they were; nodes that do not lie between layer and
/// score are left alone.
///
/// # Conventions
/// `max(x, bound)` passes the derivative where x > bound, `min(x, bound)` where x < bound: zero on the bound itself.
/// Where two tensors tie for a maximum each gets half, where entries of one tensor tie each gets an equal share, and in a
/// pooling window the first gets all, as in PyTorch.
///
/// # Errors
/// - the score is not a single f32 or does not depend on the layer;
/// - an operator on the way has no rule here: the message names operator and node;
/// - an operator is used in a way its rule does not cover, such as a convolution whose kernel is computed.
pub fn append_gradient(model: &mut TypedModel, score: OutletId, layer: OutletId) -> TractResult<OutletId> {
    appended(model, score, layer, Saturation::Stops)
}

/// As [`append_gradient`], but where an integer cannot hold a number, the derivative passes as if it could.
///
/// The ends of an integer's range come from photos that the network was calibrated with, and say nothing about a photo beyond them. A lower end of exactly zero stays,
/// because quantisers leave the ReLU to it.
///
/// # Errors
/// Those of [`append_gradient`].
pub fn append_straight_gradient(model: &mut TypedModel, score: OutletId, layer: OutletId) -> TractResult<OutletId> {
    appended(model, score, layer, Saturation::Passes)
}

/// What comes back through the ends of an integer's range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saturation {
    Stops,
    Passes,
}

fn appended(model: &mut TypedModel, score: OutletId, layer: OutletId, saturation: Saturation) -> TractResult<OutletId> {
    let fact = model.outlet_fact(score)?;
    ensure!(
        fact.datum_type == f32::datum_type() && fact.shape.volume() == 1.to_dim(),
        "expected a score of one f32, found {fact:?}"
    );
    let shape = fact.shape.as_concrete().context("a score of unknown shape")?.to_vec();
    let path = nodes_between(model, layer, score)?;
    let mut tape = Tape { model, wired: 0, saturation };
    let one = tape.constant(tensor0(1f32).broadcast_to_shape(&shape)?)?;
    let mut derivatives = HashMap::from([(score, one)]);
    for &id in path.nodes.iter().rev() {
        let Some(&derivative) = derivatives.get(&OutletId::new(id, 0)) else {
            continue;
        };
        let node = tape.model.node(id).clone();
        ensure!(node.outputs.len() == 1, "{node} has several outputs; a gradient needs one");
        let rule = match rule_for(node.op.as_ref()) {
            Some(Derivative::By(rule)) => rule,
            Some(Derivative::Zero) => continue,
            None => bail!("no gradient rule for operator {} (node {node})", node.op.name()),
        };
        for (slot, input) in node.inputs.iter().enumerate() {
            // Conditions and indices have no derivative.
            if !path.tensors.contains(input) || !tape.model.outlet_fact(*input)?.datum_type.is_float() {
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

/// For every tensor of a network, whether a gradient can get back to it from the network's outputs.
pub struct Obstacles {
    /// Tensors that an output is computed from, with the operator nearest to the output that has no rule.
    tensors: HashMap<OutletId, Option<String>>,
}

impl Obstacles {
    /// Looks at a typed network that is not decluttered; `without_rule` holds the names of nodes that have no rule even then ([`without_rule`]), `named` says which
    /// operator of the file a node is of.
    ///
    /// # Errors
    /// None but tract's own on an inconsistent graph.
    pub fn before(
        network: &TypedModel,
        without_rule: &HashSet<String>,
        named: impl Fn(&TypedNode) -> String,
    ) -> TractResult<Self> {
        let mut tensors: HashMap<OutletId, Option<String>> =
            network.outputs.iter().map(|&output| (output, None)).collect();
        for id in network.eval_order()?.into_iter().rev() {
            let node = network.node(id);
            let behind = (0..node.outputs.len()).find_map(|slot| tensors.get(&OutletId::new(id, slot)).cloned());
            let Some(behind) = behind else { continue };
            let beyond = products::beyond_rule(network, node);
            let here = match rule_for(node.op.as_ref()) {
                _ if node.inputs.is_empty() => None,
                Some(Derivative::Zero) => continue,
                Some(Derivative::By(_)) if node.outputs.len() == 1 && beyond.is_none() => None,
                _ if !without_rule.contains(&node.name) => None,
                _ => match beyond {
                    Some(how) => Some(format!("{} {how} has no gradient rule", named(node))),
                    None => Some(format!("{} has no gradient rule", named(node))),
                },
            };
            let obstacle = behind.or(here);
            for &input in &node.inputs {
                if !network.outlet_fact(input)?.datum_type.is_float() {
                    continue;
                }
                // One way that is blocked blocks: the sum over all ways is wanted.
                let known = tensors.entry(input).or_insert(None);
                if known.is_none() {
                    known.clone_from(&obstacle);
                }
            }
        }
        Ok(Self { tensors })
    }

    /// Whether an output is computed from the tensor, by way of numbers.
    pub fn leads_to_output(&self, tensor: OutletId) -> bool {
        self.tensors.contains_key(&tensor)
    }

    /// What keeps a gradient from getting back to the tensor.
    pub fn behind(&self, tensor: OutletId) -> Option<&str> {
        self.tensors.get(&tensor)?.as_deref()
    }
}

/// Names of the nodes that have no rule, and that declutter does not turn into nodes that have one.
///
/// # Errors
/// None but tract's own on an inconsistent graph.
pub fn without_rule(network: &TypedModel) -> TractResult<HashSet<String>> {
    let names = |network: &TypedModel| -> TractResult<HashSet<String>> {
        let lacks = |node: &TypedNode| match rule_for(node.op.as_ref()) {
            Some(Derivative::Zero) => false,
            Some(Derivative::By(_)) => node.outputs.len() != 1 || products::beyond_rule(network, node).is_some(),
            None => !node.inputs.is_empty(),
        };
        let order = network.eval_order()?;
        Ok(order
            .into_iter()
            .map(|id| network.node(id))
            .filter(|node| lacks(node))
            .map(|node| node.name.clone())
            .collect())
    };
    let found = names(network)?;
    let mut simpler = network.clone();
    if found.is_empty() || simpler.declutter().is_err() {
        return Ok(found);
    }
    let left = names(&simpler)?;
    // A node that declutter rewrites keeps the beginning of its name.
    let persists = |name: &String| left.iter().any(|left| left == name || left.starts_with(&format!("{name}.")));
    Ok(found.into_iter().filter(persists).collect())
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

/// What comes back through an operator.
enum Derivative {
    /// What the rule computes.
    By(Rule),
    /// Nothing: the operator's output is constant almost everywhere, as that of a rounding or a comparison.
    Zero,
}

/// The table of rules.
fn rule_for(op: &dyn TypedOp) -> Option<Derivative> {
    if let Some(op) = op.downcast_ref::<TypedBinOp>() {
        return pointwise::of_two(op.0.name());
    }
    if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
        return pointwise::of_one(op);
    }
    if op.is::<Instead>() {
        return Some(Derivative::By(|_, _, _, g| Ok(g)));
    }
    moves::rule_for(op).or_else(|| products::rule_for(op)).or_else(|| pools::rule_for(op)).map(Derivative::By)
}

/// The graph being extended, with shorthands for extending it.
struct Tape<'m> {
    model: &'m mut TypedModel,
    wired: usize,
    saturation: Saturation,
}

impl Tape<'_> {
    fn name(&mut self, what: &str) -> String {
        self.wired += 1;
        let way = if self.saturation == Saturation::Passes { "straight." } else { "" };
        format!("gradient.{way}{}.{what}", self.wired)
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

    /// One number, of the rank and type of another tensor.
    fn filled(&mut self, number: f32, like: OutletId) -> TractResult<OutletId> {
        let datum_type = self.model.outlet_fact(like)?.datum_type;
        let rank = self.shape(like)?.len();
        self.constant(tensor0(number).cast_to_dt(datum_type)?.into_owned().broadcast_into_rank(rank)?)
    }

    fn mul(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.wire("mul", math::mul(), &[a, b])
    }

    fn scale(&mut self, tensor: OutletId, factor: f32) -> TractResult<OutletId> {
        let factor = self.filled(factor, tensor)?;
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
            if pointwise::clamp_bound(self.model, self.model.node(successor.node)).is_none() {
                break;
            }
            outlet = successor.node.into();
        }
        outlet
    }
}
