//! The graphs that are run: of the network, of a score on top of it, of the gradient back to a layer, and of what follows from the layer.

use super::image::TowerKey;
use super::integers::make_exact;
use crate::Size;
use crate::model::{ChannelOrder, Layer, Manifest, Model, Score, ScoreKind};
use crate::onnx::gradient::{append_gradient, append_straight_gradient};
use crate::onnx::inspect::{self, InspectOptions};
use crate::onnx::kernels;
use crate::onnx::places::Grid;
use crate::onnx::quantised::{self, Form, Steps, Wanted};
use crate::onnx::shuffle::Shuffle;
use crate::tflite::float;
use anyhow::{Context, Result, anyhow, ensure};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

/// What goes into a tower's graph.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) key: TowerKey,
    pub(super) outputs: Vec<String>,
    pub(super) score: Score,
    pub(super) layer: Layer,
    /// The layer with finer positions that is seen beside it.
    pub(super) guide: Option<Layer>,
    /// The model's own choice of a layer.
    pub(super) default_layer: String,
    /// The network's file, for messages.
    pub(super) origin: String,
}

/// What an error says before why the gradient of a layer cannot be computed.
pub(super) const NO_GRADIENT: &str = "its gradient cannot be computed";

/// The plans of a tower. All share their constants, packed weights included.
pub(super) struct Plans {
    /// Picture -> outputs.
    pub(super) vectors: Arc<TypedRunnableModel>,
    /// Picture -> outputs, layer, guide.
    pub(super) see: Arc<TypedRunnableModel>,
    /// Picture -> outputs, layer, guide, gradient; with a [`Target`] in between. None of a tower without gradient.
    pub(super) explain: Option<Arc<TypedRunnableModel>>,
    /// The same for a gradient that passes the ends of integers' ranges, of a quantised network.
    pub(super) straight: Option<Arc<TypedRunnableModel>>,
    pub(super) target_len: usize,
    /// Lengths of the axes of the outputs, before they become rows.
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) place: Place,
    pub(super) guide_place: Option<Place>,
    pub(super) steps: Option<Steps>,
}

/// Where the vector comes in that the image's is multiplied with. It may depend on the image's vectors, which are the inputs; whoever runs the plan answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    length: usize,
}

impl Op for Target {
    fn name(&self) -> StaticName {
        "decomcam.Target".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Target {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, _inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Err(anyhow!("a target is given from outside"))
    }
}

impl TypedOp for Target {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact([1, self.length])))
    }

    as_op!();
}

/// The network as it is read for a tower.
pub(super) struct Reading {
    /// A graph of floats, shuffled as asked; its outputs are the wanted ones, then the layer, then the guide.
    pub(super) network: TypedModel,
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) place: Place,
    pub(super) guide_place: Option<Place>,
}

/// The network from the layer on, before it is made fast.
pub(crate) struct Behind {
    network: TypedModel,
    place: Place,
}

impl Behind {
    /// Cut off a network whose first `outputs` outputs it computes. It shares the weights behind the layer, and holds no others.
    fn of(network: TypedModel, place: Place, outputs: usize) -> TractResult<Self> {
        Ok(Self { network: after(network, outputs)?, place })
    }
}

/// How the layer's tensor looks at the tower's size.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Height and width, in positions.
    pub(super) size: Size,
    /// Lengths of the tensor's axes.
    pub(super) shape: Vec<usize>,
}

impl Wiring {
    /// What the key names, looked up in the manifest.
    pub(super) fn new(model: &Model, key: &TowerKey) -> crate::Result<Self> {
        let manifest = &model.manifest;
        let layer = manifest.layer(&key.layer)?.clone();
        let guide = key.guide.as_ref().map(|guide| manifest.layer(guide)).transpose()?.cloned();
        let score = manifest.score(&key.score)?.clone();
        manifest.check_size(key.size)?;
        let outputs = image_outputs(manifest);
        let default_layer = manifest.image.default_layer.clone();
        let origin = format!("{} of {}", manifest.image.file, model.origin());
        Ok(Self { key: key.clone(), outputs, score, layer, guide, default_layer, origin })
    }

    fn size(&self) -> Size {
        self.key.size
    }

    /// Reads the network: of int8 networks of TensorFlow Lite with the integers' numbers, if `exact` and unless weights are shuffled.
    pub(super) fn read(&self, model: &Model, exact: bool) -> Result<Reading> {
        let mut names: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        names.push(&self.layer.name);
        names.extend(self.guide.as_ref().map(|guide| guide.name.as_str()));
        let exact = (exact && self.key.shuffle == Shuffle::default()).then_some(self.outputs.len());
        let (mut network, grids) = read(model, &names, self.size(), exact)?;
        let place_of = |layer: &Layer, at: usize| self.place(layer, &network, network.outputs[at], grids[at]);
        let place = place_of(&self.layer, self.outputs.len())?;
        let guide_place = self.guide.as_ref().map(|guide| place_of(guide, self.outputs.len() + 1)).transpose()?;
        let shapes = make_rows(&mut network, &self.outputs, &model.manifest)?;
        let scored = self.scored(&network)?;
        self.key.shuffle.apply(&mut network, scored)?;
        Ok(Reading { network, shapes, place, guide_place })
    }

    /// What a layer's tensor is, once that is what the manifest says.
    fn place(&self, layer: &Layer, network: &TypedModel, tensor: OutletId, grid: Option<Grid>) -> Result<Place> {
        let Layer { name, channels, layout, prefix_tokens, suffix_tokens, unpadded, .. } = layer;
        let fact = network.outlet_fact(tensor)?;
        let shape = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type());
        let shape = shape.with_context(|| format!("\"{name}\": expected f32 numbers, found {fact:?}"))?.to_vec();
        let (expected, nominal) = (layer.shape(self.size()), layer.size(self.size()));
        let Some(grid) = grid.filter(|_| *unpadded || shape != expected) else {
            ensure!(shape == expected, "\"{name}\": expected shape {expected:?} as the manifest says, found {shape:?}");
            return Ok(Place { size: nominal, shape });
        };
        let said = Grid {
            layout: *layout,
            channels: *channels,
            size: if *unpadded { grid.size } else { nominal },
            before: *prefix_tokens,
            after: *suffix_tokens,
        };
        ensure!(grid == said, "\"{name}\": expected {said} as the manifest says, found {grid}, of shape {shape:?}");
        Ok(Place { size: grid.size, shape })
    }

    /// The output that the score is computed from.
    pub(super) fn scored(&self, network: &TypedModel) -> Result<OutletId> {
        let at = self.outputs.iter().position(|name| *name == self.score.image).context("no such output")?;
        Ok(network.outputs[at])
    }

    /// Why the gradient of the layer cannot be computed, if that is the reason.
    pub(super) fn refusal(&self, model: &Model) -> Result<Option<String>> {
        let file = model.file(&model.manifest.image.file)?;
        let look = InspectOptions {
            folder: model.folder(),
            usual: Some(self.size()),
            output: Some(&self.score.image),
            ..InspectOptions::default()
        };
        let found = inspect::inspect(file, &look)?;
        Ok(found.refusal(&self.layer.name, &|name| model.manifest.layer(name).is_ok()))
    }

    /// The plan of the network from the layer on. If a tower with the same wiring has kept what it is made of, the network need not be read again.
    pub(super) fn head(&self, model: &Model, kept: Option<Behind>) -> Result<(Arc<TypedRunnableModel>, Place)> {
        let read = || {
            let Reading { network, place, .. } = self.read(model, false)?;
            Behind::of(network, place, self.outputs.len())
        };
        let Behind { mut network, place } = kept.map_or_else(read, Ok)?;
        kernels::optimise(&mut network)?;
        Ok((SimplePlan::new(network)?, place))
    }

    /// The plans, and what a head can be made of ([`Wiring::head`]): none of an int8 network of TensorFlow Lite, whose layer the integers compute.
    pub(super) fn plans(&self, model: &Model) -> Result<(Plans, Option<Behind>)> {
        let Reading { mut network, shapes, place, guide_place } = self.read(model, true)?;
        // Where something bypasses the layer there is no head, and who needs one is told when it is loaded.
        let behind = || Behind::of(network.clone(), place.clone(), self.outputs.len()).ok();
        let kept = model.integers().is_none().then(behind).flatten();
        let layer = network.outputs[self.outputs.len()];
        let scored = self.scored(&network)?;
        let target_len = match network.outlet_fact(scored)?.shape.as_concrete() {
            Some(&[1, length]) => length,
            other => {
                return Err(anyhow!("\"{}\": expected shape [1, length], found {other:?}", self.score.image));
            }
        };
        let steps = match model.integers() {
            Some(integers) => integers.steps_of(&self.layer.name),
            None => quantised::steps_of(&network, layer),
        };
        let saturates = self.key.gradient && quantised::saturates(&network);
        if self.key.gradient {
            let target = network.add_source("decomcam.target", f32::fact([1, target_len]))?;
            let value = append_score(&mut network, self.score.kind, scored, target)?;
            let gradient = append_gradient(&mut network, value, layer).context(NO_GRADIENT)?;
            network.outputs.push(gradient);
            if saturates {
                let straight = append_straight_gradient(&mut network, value, layer)?;
                network.outputs.push(straight);
            }
            ask_for_target(&mut network, target, target_len, self.outputs.len())?;
        }
        kernels::optimise(&mut network)?;
        let seen = self.outputs.len() + 1 + usize::from(self.guide.is_some());
        let (vectors, see) = (first_outputs(&network, self.outputs.len())?, first_outputs(&network, seen)?);
        let explain = self.key.gradient.then(|| first_outputs(&network, seen + 1)).transpose()?;
        let straight = saturates.then(|| -> TractResult<_> {
            let mut network = network.clone();
            network.outputs.remove(seen);
            network.compact()?;
            SimplePlan::new(network)
        });
        let plans = Plans {
            vectors,
            see,
            explain,
            straight: straight.transpose()?,
            target_len,
            shapes,
            steps,
            place,
            guide_place,
        };
        Ok((plans, kept))
    }
}

/// The image tower's outputs that some score needs.
pub(super) fn image_outputs(manifest: &Manifest) -> Vec<String> {
    let mut outputs: Vec<String> = Vec::new();
    for score in &manifest.scores {
        if !outputs.contains(&score.image) {
            outputs.push(score.image.clone());
        }
    }
    let boxes = manifest.image.places.as_ref().and_then(|places| places.boxes.clone());
    outputs.extend(boxes.filter(|boxes| !outputs.contains(boxes)));
    outputs
}

/// The network for its outputs alone.
pub(super) fn outputs_alone(
    model: &Model,
    outputs: &[String],
    size: Size,
) -> Result<(Arc<TypedRunnableModel>, Vec<Vec<usize>>)> {
    let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let (mut network, _) = read(model, &names, size, Some(outputs.len()))?;
    let shapes = make_rows(&mut network, outputs, &model.manifest)?;
    kernels::optimise(&mut network)?;
    Ok((SimplePlan::new(network)?, shapes))
}

/// The image tower's network as a graph of floats with these tensors as outputs, and how each holds places of the picture. With `exact`, the number of its outputs,
/// these tensors of an int8 network of TensorFlow Lite hold what the board computes.
fn read(
    model: &Model,
    names: &[&str],
    Size { height, width }: Size,
    exact: Option<usize>,
) -> Result<(TypedModel, Vec<Option<Grid>>)> {
    let side = &model.manifest.image;
    let integers = model.integers().zip(exact);
    let picture = float::picture();
    let mut wanted = names.to_vec();
    if integers.is_some() {
        // What is read off a tensor of many places is computed from the board's numbers, too.
        wanted.extend(side.readings.iter().map(|(tensor, _)| tensor.as_str()));
        wanted.push(&picture);
    }
    let request = Wanted {
        input: &side.input,
        datum_type: f32::datum_type(),
        shape: &[Some(1), Some(3), Some(height), Some(width)],
        outputs: &wanted,
        pairs: model.pairs(),
        folder: model.folder(),
        form: Form { reversed: side.channels == ChannelOrder::Bgr, mean: side.mean, std: side.std },
        readings: &side.readings,
        beside: None,
    };
    let (mut network, mut grids) = quantised::read_with_grids(model.file(&side.file)?, &request)?;
    if let Some((integers, outputs)) = integers {
        make_exact(&mut network, integers, &wanted[..wanted.len() - 1], outputs)?;
        network.outputs.truncate(names.len());
        grids.truncate(names.len());
    }
    Ok((network, grids))
}

/// Makes an input, the target, a node that waits for the first outputs. The gradient must have been appended: a target is a constant to it.
fn ask_for_target(network: &mut TypedModel, target: OutletId, length: usize, outputs: usize) -> TractResult<()> {
    network.inputs.retain(|input| *input != target);
    network.nodes[target.node].op = Box::new(Target { length });
    let vectors: Vec<OutletId> = network.outputs.iter().take(outputs).copied().collect();
    for (slot, vector) in vectors.into_iter().enumerate() {
        network.add_edge(vector, InletId::new(target.node, slot))?;
    }
    Ok(())
}

/// The same graph for its first outputs alone, from the picture alone. Constants are shared with the original.
fn first_outputs(network: &TypedModel, outputs: usize) -> TractResult<Arc<TypedRunnableModel>> {
    let mut network = network.clone();
    network.inputs.truncate(1);
    network.outputs.truncate(outputs);
    network.compact()?;
    SimplePlan::new(network)
}

/// The part of a network that computes its first `outputs` outputs from the one after them.
fn after(mut network: TypedModel, outputs: usize) -> TractResult<TypedModel> {
    let tensor = network.outputs[outputs];
    let fact = network.outlet_fact(tensor)?.without_value();
    let node = &network.nodes[tensor.node];
    ensure!(node.outputs.len() == 1, "the layer comes out of a node with several outputs");
    // tract has no other way to make an input of a tensor that is computed.
    for (slot, input) in node.inputs.clone().into_iter().enumerate() {
        let edge = InletId::new(tensor.node, slot);
        network.nodes[input.node].outputs[input.slot].successors.retain(|successor| *successor != edge);
    }
    let node = &mut network.nodes[tensor.node];
    node.inputs.clear();
    node.op = Box::new(TypedSource::new(fact));
    network.outputs.truncate(outputs);
    network.inputs = vec![tensor];
    let needed = network.eval_order()?;
    let sources = needed.iter().filter(|&&node| network.nodes[node].op_is::<TypedSource>());
    ensure!(sources.count() == 1, "something bypasses the layer");
    network.compact()?;
    Ok(network)
}

/// Makes the first outputs rows, and returns what their shapes were.
fn make_rows(network: &mut TypedModel, outputs: &[String], manifest: &Manifest) -> TractResult<Vec<Vec<usize>>> {
    let places = manifest.image.places.as_ref();
    let shape = |tensor: &OutletId| -> TractResult<Vec<usize>> {
        Ok(network.outlet_fact(*tensor)?.shape.as_concrete().map(<[usize]>::to_vec).unwrap_or_default())
    };
    let shapes = network.outputs.iter().take(outputs.len()).map(shape).collect::<TractResult<Vec<_>>>()?;
    // What holds as many numbers as a row beside it is that row before its shape was changed: several questions, each with a softmax of its own.
    let numbers = |shape: &[usize]| shape.iter().product::<usize>();
    let rows: Vec<&Vec<usize>> =
        shapes.iter().filter(|shape| shape.iter().filter(|length| **length > 1).count() == 1).collect();
    for (at, name) in outputs.iter().enumerate() {
        let of_row = rows.iter().any(|row| numbers(row) == numbers(&shapes[at]));
        let of_places = places.is_some_and(|places| {
            [Some(&places.explained), Some(&places.reported), places.boxes.as_ref()].contains(&Some(name))
        });
        network.outputs[at] = as_row(network, at, of_places || of_row)?;
    }
    Ok(shapes)
}

/// An output as 1 x length: without its axes of length one, or `whole`, all of its numbers in their order.
fn as_row(network: &mut TypedModel, output: usize, whole: bool) -> TractResult<OutletId> {
    let outlet = network.outputs[output];
    let shape = network.outlet_fact(outlet)?.shape.clone();
    let long = shape.iter().filter(|length| !length.is_one()).count();
    if shape.rank() == 2 && shape[0].is_one() || long > 1 && !whole {
        return Ok(outlet);
    }
    let row: TVec<TDim> = tvec!(1.to_dim(), shape.volume());
    let name = network.unique_name(format!("decomcam.row.{output}"));
    if shape.rank() == 0 {
        let first = network.wire_node(format!("{name}.first"), AxisOp::Add(0), &[outlet])?;
        return Ok(network.wire_node(name, AxisOp::Add(0), &first)?[0]);
    }
    Ok(network.wire_node(name, AxisOp::Reshape(0, shape.to_tvec(), row), &[outlet])?[0])
}

/// sum(v t) for a dot, sum(v t) / |v| for a cosine, both of shape 1 x 1.
fn append_score(
    network: &mut TypedModel,
    kind: ScoreKind,
    vector: OutletId,
    target: OutletId,
) -> TractResult<OutletId> {
    let mut wire = |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| -> TractResult<OutletId> {
        Ok(network.wire_node(format!("decomcam.{name}"), op, inputs)?[0])
    };
    let sum = || Box::new(Reduce::new(tvec!(1), Reducer::Sum));
    let products = wire("products", Box::new(math::mul()), &[vector, target])?;
    let dot = wire("dot", sum(), &[products])?;
    match kind {
        // A posterior's gradient is that of the product with its target.
        ScoreKind::Dot | ScoreKind::Posterior => Ok(dot),
        ScoreKind::Cosine => {
            let squares = wire("squares", Box::new(math::square()), &[vector])?;
            let squared_length = wire("squared_length", sum(), &[squares])?;
            let per_length = wire("per_length", Box::new(math::rsqrt()), &[squared_length])?;
            wire("cosine", Box::new(math::mul()), &[dot, per_length])
        }
    }
}
