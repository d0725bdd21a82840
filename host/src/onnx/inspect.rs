//! What an ONNX network is made of: its ends, and the inner tensors at which it can be explained.

use crate::error::Sorted as _;
use crate::onnx::ends::{self, Answer, End, Squash};
use crate::onnx::evidence::{self, Budget, Reach};
use crate::onnx::extent::Extents;
use crate::onnx::gradient::{self, Obstacles};
use crate::onnx::guard::contained;
use crate::onnx::layout::LayerLayout;
use crate::onnx::normal::{self, MADE, Normal, OfTokens, Picture, Reading, decoded, in_words};
use crate::onnx::path::only_ways;
use crate::onnx::places::Places;
use crate::onnx::quantised::{self, Form, Pairs, Wanted};
use crate::onnx::validate;
use crate::{Error, Size};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use tract_onnx::pb;
use tract_onnx::tract_hir::internal::*;

/// Most boxes that detectors leave after suppression.
const MOST_LEFT: usize = 1000;

/// Layers that are tried for the default, from the last on.
const MOST_TRIED: usize = 12;

/// What was found in a file.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Size of the file.
    pub bytes: usize,
    /// The program that wrote it.
    pub producer: String,
    /// Operator sets, as domain and version.
    pub opsets: Vec<(String, i64)>,
    /// Numbers in its weights.
    pub parameters: usize,
    /// Whether it holds `QuantizeLinear` or `DequantizeLinear`.
    pub quantised: bool,
    /// The input that takes a picture.
    pub input: Port,
    /// How it takes it.
    pub picture: Picture,
    /// The outputs.
    pub outputs: Vec<Port>,
    /// What the outputs are made of.
    pub answers: Vec<Answer>,
    /// Size of the input, in pixels, that the layers below are for.
    pub size: Size,
    /// Inner tensors whose positions are places of the picture, from the input on.
    pub layers: Vec<FoundLayer>,
    /// The layer to explain, if there is one.
    pub suggested: Option<String>,
    /// If there is none: why, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Why nothing that is computed with the network can be relied on, if that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsound: Option<String>,
}

/// An input or output.
#[derive(Debug, Clone, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Lengths of its axes; none where the file leaves one open.
    pub shape: Vec<Option<usize>>,
    /// Its type, as tract names it.
    pub datum_type: String,
}

/// An inner tensor at which the network might be explained.
#[derive(Debug, Clone, Serialize)]
pub struct FoundLayer {
    /// Name of the tensor.
    pub name: String,
    /// The operator that computes it.
    pub operator: String,
    /// How it is laid out.
    pub layout: LayerLayout,
    /// Number of channels.
    pub channels: usize,
    /// Height and width, in positions.
    #[serde(flatten)]
    pub size: Size,
    /// Tokens before those of the grid.
    pub prefix_tokens: usize,
    /// Tokens after those of the grid.
    pub suffix_tokens: usize,
    /// What keeps a gradient from getting here, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Whether all that the answer knows of the picture goes through it.
    pub only_way: bool,
    /// Whether it is the sum of two computed tensors, as what leaves a block is.
    #[serde(skip)]
    sum: bool,
}

impl FoundLayer {
    /// Pixels of the input per position.
    pub fn stride(&self, input: Size) -> usize {
        input.height.div_ceil(self.size.height)
    }

    /// Whether it has fewer positions than its stride says.
    pub fn is_unpadded(&self, input: Size) -> bool {
        let stride = self.stride(input);
        Size::new(input.height.div_ceil(stride), input.width.div_ceil(stride)) != self.size
    }

    /// The maps in a tensor of this layer, channels x height x width.
    fn maps(&self, mut tensor: Vec<f32>) -> Vec<f32> {
        tensor.truncate(tensor.len() - self.channels * self.suffix_tokens);
        self.layout.maps(tensor.split_off(self.channels * self.prefix_tokens), self.channels)
    }

    /// Whether it is another view of the tensor before it.
    fn is_view(&self) -> bool {
        const VIEWS: [&str; 8] =
            ["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout"];
        VIEWS.contains(&self.operator.as_str())
    }
}

/// What is looked for in a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct InspectOptions<'a> {
    /// Where the file lies, if weights may lie beside it.
    pub folder: Option<&'a Path>,
    /// Size of the input, in pixels; the file's own, or else one that it can take, if not given.
    pub size: Option<Size>,
    /// Size that is tried first where the file leaves it open, in pixels: what is said beside the file.
    pub usual: Option<Size>,
    /// The output that is explained; found if not given.
    pub output: Option<&'a str>,
    /// Number of classes, if that is known.
    pub classes: Option<usize>,
}

/// Inspects an ONNX file.
///
/// # Errors
/// Bytes that are no ONNX network of pictures.
pub fn inspect(onnx: &[u8], look: &InspectOptions) -> crate::Result<Inspection> {
    contained(|| inspected(onnx, look)).kind(Error::Model)
}

/// Names of a file's outputs.
///
/// # Errors
/// Bytes that are no ONNX network.
pub fn outputs(onnx: &[u8]) -> crate::Result<Vec<String>> {
    let proto = decoded(onnx).kind(Error::Model)?;
    Ok(own(&proto).output.iter().map(|output| output.name.clone()).collect())
}

/// An input as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Lengths of its axes; none where they are open.
    pub shape: Vec<Option<usize>>,
    /// What it is for, if it stands beside token ids and is known.
    pub of_tokens: Option<OfTokens>,
}

/// A file's inputs. Its weights are passed over, not read.
///
/// # Errors
/// Bytes that are no ONNX network.
pub fn inputs(onnx: &[u8]) -> crate::Result<Vec<Input>> {
    let found = normal::inputs(onnx).kind(Error::Model)?;
    let input = |info: &pb::ValueInfoProto| Input {
        name: info.name.clone(),
        shape: port(info).shape,
        of_tokens: OfTokens::of(info),
    };
    Ok(found.iter().map(input).collect())
}

/// Names of the files that hold weights of a network.
///
/// # Errors
/// Bytes that are no ONNX network.
pub fn data_files(onnx: &[u8]) -> crate::Result<Vec<String>> {
    let proto = decoded(onnx).kind(Error::Model)?;
    let entries = own(&proto).initializer.iter().flat_map(|tensor| &tensor.external_data);
    let mut names: Vec<String> =
        entries.filter(|entry| entry.key == "location").map(|entry| entry.value.clone()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn inspected(onnx: &[u8], look: &InspectOptions) -> Result<Inspection> {
    let proto = decoded(onnx)?;
    let mut normal = Normal::read(onnx, look.folder)?;
    let picture = normal.picture()?;
    normal.forget_outputs_of_others(&picture);
    let graph = normal.graph();
    let input = graph.input.iter().find(|input| input.name == picture.name).map(port).context("no input")?;
    let (seen, size) = Seen::at_some_size(onnx, graph, &picture, look)?;
    let names = computed_tensors(graph);
    let mut outputs: Vec<Port> = graph.output.iter().map(port).collect();
    // What the file declares may be open, or left over from before it was changed.
    for output in &mut outputs {
        if let Some(shape) = seen.shape(&output.name) {
            output.shape = shape.into_iter().map(Some).collect();
        }
    }
    let places_beside = outputs.iter().any(|output| output.shape.len() == 3 && output.shape[2] == Some(4));
    let answer = |output: &Port| seen.answer(graph, output, places_beside, look.classes);
    let mut answers: Vec<Answer> = outputs.iter().map(answer).collect();
    let boxes = answers.iter().find(|answer| answer.is_places()).map(|answer| answer.end.output.clone());
    for answer in answers.iter_mut().filter(|answer| matches!(answer.reading, Some(Reading::Boxes { before: 0, .. }))) {
        answer.boxes = boxes.clone().filter(|boxes| *boxes != answer.end.output);
    }
    let chosen = ends::class_answer(&answers, look.output, look.classes).ok().or(answers.first());
    let chosen = chosen.cloned();
    let explained = chosen.as_ref().map(|answer| answer.end.explained.clone());
    let layers = seen.layers(graph, &names, explained.as_deref())?;
    let mut found = Inspection {
        bytes: onnx.len(),
        producer: [&*proto.producer_name, &*proto.producer_version].join(" ").trim().to_owned(),
        opsets: proto.opset_import.iter().map(|set| (set.domain.clone(), set.version)).collect(),
        parameters: own(&proto).initializer.iter().map(|tensor| numbers_in(&tensor.dims)).sum(),
        quantised: own(&proto).node.iter().any(|node| QUANTISED.iter().any(|word| node.op_type.contains(word))),
        input,
        picture,
        outputs,
        answers,
        size,
        layers,
        suggested: None,
        refusal: None,
        unsound: None,
    };

    let none = || Err("the network has no output".to_owned());
    let mut scores = None;
    match chosen.as_ref().map_or_else(none, |answer| found.default_layer(onnx, look, answer)) {
        Ok((layer, reach)) => (found.suggested, scores) = (Some(layer), Some(reach.scores)),
        Err(refusal) => found.refusal = Some(refusal),
    }
    found.unsound = chosen.and_then(|answer| found.unsound(onnx, look, &answer, scores));
    Ok(found)
}

/// The network as a graph whose outputs are its own and all tensors that nodes compute.
struct Seen {
    network: TypedModel,
    outlets: HashMap<String, OutletId>,
    places: Places,
}

/// Sides that are tried where the file leaves them open.
const SIDES: [usize; 9] = [224, 256, 384, 299, 128, 96, 64, 32, 512];

/// What names of operators hold that are on integers.
const QUANTISED: [&str; 4] = ["QuantizeLinear", "QLinear", "Integer", "QGemm"];

fn own(proto: &pb::ModelProto) -> &pb::GraphProto {
    static EMPTY: std::sync::LazyLock<pb::GraphProto> = std::sync::LazyLock::new(Default::default);
    proto.graph.as_ref().unwrap_or(&EMPTY)
}

fn numbers_in(dims: &[i64]) -> usize {
    dims.iter().fold(1, |numbers: i64, length| numbers.saturating_mul(*length)).max(0) as usize
}

impl Seen {
    /// At the size asked for, at the file's own, or at the first usual one that the network can take.
    fn at_some_size(
        onnx: &[u8],
        graph: &pb::GraphProto,
        picture: &Picture,
        look: &InspectOptions,
    ) -> Result<(Self, Size)> {
        let at = |size| Ok((Self::of(onnx, graph, &picture.name, size, look.folder)?, size));
        if let Some(size) = look.size {
            ensure!(
                picture.takes(size),
                "the file fixes the size of its pictures at {}, and {size} was asked for: give a --size that fits or none, or export the network with open height and width",
                picture.sides()
            );
            return at(size);
        }
        if let Some(size) = picture.size() {
            return at(size);
        }
        let fixed = |size: Size| Size::new(picture.height.unwrap_or(size.height), picture.width.unwrap_or(size.width));
        let sides: Vec<Size> = look.usual.into_iter().chain(SIDES.map(Size::square)).map(fixed).collect();
        let first = match at(sides[0]) {
            Err(error) => error,
            found => return found,
        };
        let found = sides[1..].iter().find_map(|&size| contained(|| at(size)).ok());
        found.ok_or_else(|| {
            first.context(
                "the file leaves the size of its pictures open, and could not take the usual ones; give --size",
            )
        })
    }

    fn of(onnx: &[u8], graph: &pb::GraphProto, input: &str, size: Size, folder: Option<&Path>) -> Result<Self> {
        let names = computed_tensors(graph);
        let ends: Vec<End> = graph.output.iter().map(|output| End::of(graph, &output.name)).collect();
        let needed: Vec<&str> = ends.iter().flat_map(|end| [&*end.output, &*end.reported, &*end.explained]).collect();
        let leads = prune_names(graph, &needed);
        let mut wanted: Vec<&str> = names.iter().map(|(name, _)| *name).filter(|name| leads.contains(name)).collect();
        let more: Vec<&str> = needed.into_iter().filter(|name| !wanted.contains(name)).collect();
        wanted.extend(more);
        wanted.dedup();
        let request = Wanted {
            input,
            datum_type: f32::datum_type(),
            shape: &[Some(1), Some(3), Some(size.height), Some(size.width)],
            outputs: &wanted,
            pairs: Pairs::Clamp,
            folder,
            form: Form::default(),
            readings: &[],
            beside: None,
        };
        let mut network = quantised::read_with_pairs(onnx, &request)?;
        quantised::undo_pairs(&mut network, Pairs::Clamp)?;
        let places = Places::of(&network)?;
        let outlets: HashMap<String, OutletId> =
            wanted.iter().map(|name| name.to_string()).zip(network.outputs.iter().copied()).collect();
        let ends = graph.output.iter().filter_map(|output| outlets.get(&output.name).copied());
        network.outputs = ends.collect();
        Ok(Self { network, outlets, places })
    }

    /// Height and width of the input.
    fn size(&self) -> Size {
        let fact = self.network.inputs.first().and_then(|input| self.network.outlet_fact(*input).ok());
        match fact.and_then(|fact| fact.shape.as_concrete()) {
            Some(&[_, _, height, width]) => Size::new(height, width),
            _ => Size::square(0),
        }
    }

    fn shape(&self, tensor: &str) -> Option<Vec<usize>> {
        let fact = self.network.outlet_fact(*self.outlets.get(tensor)?).ok()?;
        fact.shape.as_concrete().map(<[usize]>::to_vec)
    }

    /// Whether a tensor of 1 x a x b, beside which there are no places of boxes, may hold boxes itself: numbers that a softmax makes are no places, boxes come from places of
    /// the picture, and neither from its rows alone nor from its columns, as the letters of a line of text do.
    fn may_hold_boxes(&self, end: &End) -> bool {
        let softmax = matches!(end.squash, Some(Squash::Softmax | Squash::LogSoftmax));
        let Some(&tensor) = self.outlets.get(&end.reported) else { return !softmax };
        let is_line = |axis: usize| (0..2).any(|dimension| self.places.line(tensor, axis, dimension).is_some());
        !softmax && !is_line(1) && !is_line(2) && self.places.may_stand_for_places(tensor)
    }

    fn answer(&self, graph: &pb::GraphProto, output: &Port, places_beside: bool, classes: Option<usize>) -> Answer {
        let end = End::of(graph, &output.name);
        let shape = self.shape(&end.reported).map(|shape| shape.into_iter().map(Some).collect());
        let shape: Vec<Option<usize>> = shape.unwrap_or_else(|| output.shape.clone());
        let grid = self.outlets.get(&end.reported).and_then(|tensor| self.places.grid(&self.network, *tensor));
        let reading = match (grid, &shape[..]) {
            (Some(grid), [_, _, _, _]) if grid.size.area() > 1 => match grid.layout {
                LayerLayout::Maps => Some(Reading::Pixels { channels_last: false }),
                LayerLayout::ChannelsLast => Some(Reading::Pixels { channels_last: true }),
                LayerLayout::Tokens => None,
            },
            // Few boxes of six numbers are what is left after suppression: place, score and the class's number, which is no score.
            (_, &[_, Some(first), Some(6)]) if first <= MOST_LEFT && classes != Some(1) && !places_beside => None,
            (_, &[_, Some(first), Some(second)])
                if first > 1 && second > 1 && (places_beside || self.may_hold_boxes(&end)) =>
            {
                Some(ends::detector(first, second, places_beside, classes, self.size()))
            }
            _ => None,
        };
        let is_row = |tensor: &String| {
            self.shape(tensor).is_some_and(|shape| shape.iter().filter(|length| **length > 1).count() == 1)
        };
        let features = end.features.clone().filter(is_row);
        let mut answer = Answer { shape, end, reading, boxes: None, embedding: features };
        if answer.is_embedding() && is_row(&answer.end.reported) {
            answer.embedding = Some(answer.end.reported.clone());
        }
        answer
    }

    /// The tensors on the way to the answer whose positions are places of the picture.
    fn layers(
        &self,
        graph: &pb::GraphProto,
        names: &[(&str, &str)],
        explained: Option<&str>,
    ) -> Result<Vec<FoundLayer>> {
        let Some(&answer) = explained.and_then(|name| self.outlets.get(name)) else { return Ok(Vec::new()) };
        let mut network = self.network.clone();
        network.outputs = vec![answer];
        let operators: HashMap<&str, &str> =
            graph.node.iter().map(|node| (validate::name_of(node), node.op_type.as_str())).collect();
        let without_rule = gradient::without_rule(&network)?;
        let obstacles = Obstacles::before(&network, &without_rule, |node| named(&operators, node))?;
        let only_ways = only_ways(&network, answer)?;
        let extents = Extents::of(&network, &self.places, self.size())?;
        let sums = sums(graph);
        let mut layers = Vec::new();
        for (name, operator) in names {
            let Some(&tensor) = self.outlets.get(*name) else { continue };
            let fact = network.outlet_fact(tensor)?;
            let Some(grid) = self.places.grid(&network, tensor) else { continue };
            if fact.datum_type != f32::datum_type() || fact.konst.is_some() || !obstacles.leads_to_output(tensor) {
                continue;
            }
            layers.push(FoundLayer {
                name: (*name).to_owned(),
                operator: (*operator).to_owned(),
                layout: grid.layout,
                channels: grid.channels,
                size: grid.size,
                prefix_tokens: grid.before,
                suffix_tokens: grid.after,
                obstacle: obstacles
                    .behind(tensor)
                    .map(str::to_owned)
                    .or_else(|| extents.misplaced(tensor, self.places.lines(tensor, &grid)?, self.size())),
                only_way: only_ways.contains(&tensor),
                sum: *operator == "Add" && sums.contains(name),
            });
        }
        Ok(layers)
    }
}

/// Names of the tensors that some tensors need, themselves included.
fn prune_names<'g>(graph: &'g pb::GraphProto, wanted: &[&'g str]) -> HashSet<&'g str> {
    let producers: HashMap<&str, &pb::NodeProto> =
        graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node))).collect();
    let mut needed = HashSet::new();
    let mut open = wanted.to_vec();
    while let Some(name) = open.pop() {
        if needed.insert(name)
            && let Some(node) = producers.get(name)
        {
            open.extend(node.input.iter().map(String::as_str));
        }
    }
    needed
}

/// Operator and name that the file gives a node. tract makes several nodes of one, "NAME.what".
fn named(operators: &HashMap<&str, &str>, node: &TypedNode) -> String {
    let mut name = node.name.as_str();
    loop {
        if let Some(operator) = operators.get(name) {
            return format!("operator {operator} of node \"{name}\"");
        }
        let Some((shorter, _)) = name.rsplit_once('.') else {
            return format!("operator {} of node \"{}\"", node.op.name(), node.name);
        };
        name = shorter;
    }
}

fn port(info: &pb::ValueInfoProto) -> Port {
    let tensor = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()).map(|value| {
        let pb::type_proto::Value::TensorType(tensor) = value;
        tensor
    });
    let length = |axis: &pb::tensor_shape_proto::Dimension| match axis.value {
        Some(pb::tensor_shape_proto::dimension::Value::DimValue(length)) => {
            usize::try_from(length).ok().filter(|n| *n > 0)
        }
        _ => None,
    };
    let axes = tensor.and_then(|tensor| tensor.shape.as_ref());
    let shape = axes.map(|shape| shape.dim.iter().map(length).collect()).unwrap_or_default();
    let datum_type = tensor.and_then(|tensor| pb::tensor_proto::DataType::try_from(tensor.elem_type).ok());
    let datum_type = datum_type.map_or_else(|| "unknown".to_owned(), |datum| format!("{datum:?}").to_lowercase());
    Port { name: info.name.clone(), shape, datum_type }
}

/// Names of the tensors that are sums of two others that are computed.
fn sums(graph: &pb::GraphProto) -> HashSet<&str> {
    let weights = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let constants = graph.node.iter().filter(|node| node.op_type == "Constant");
    let fixed: HashSet<&str> =
        weights.chain(constants.flat_map(|node| node.output.iter().map(String::as_str))).collect();
    let is_sum =
        |node: &&pb::NodeProto| node.op_type == "Add" && !node.input.iter().any(|input| fixed.contains(input.as_str()));
    graph.node.iter().filter(is_sum).filter_map(|node| Some(node.output.first()?.as_str())).collect()
}

/// Names of the tensors that nodes compute, each with the node's operator.
fn computed_tensors(graph: &pb::GraphProto) -> Vec<(&str, &str)> {
    let nodes = graph.node.iter().filter(|node| node.op_type != "Constant");
    let outputs = nodes.filter_map(|node| Some((node.output.first()?.as_str(), node.op_type.as_str())));
    outputs.filter(|(name, _)| !name.is_empty() && !name.starts_with(MADE)).collect()
}

impl Inspection {
    /// The layer of that name.
    ///
    /// # Errors
    /// No such layer, or its gradient cannot be computed; the message names the nearest layer that can be explained.
    pub fn layer(&self, name: &str) -> Result<&FoundLayer> {
        let Some(place) = self.layers.iter().position(|layer| layer.name == name) else {
            let close: Vec<&str> = self.explainable().rev().take(8).map(|layer| layer.name.as_str()).collect();
            bail!(
                "no layer \"{name}\" that can be explained; the last ones are: {} (all: decomcam inspect)",
                close.join(", ")
            );
        };
        match self.refusal(name, &|_| true) {
            Some(refusal) => bail!(refusal),
            None => Ok(&self.layers[place]),
        }
    }

    /// Why a layer cannot be explained, if it cannot, and the nearest one of those that may be used instead.
    pub fn refusal(&self, name: &str, usable: &dyn Fn(&str) -> bool) -> Option<String> {
        let place = self.layers.iter().position(|layer| layer.name == name)?;
        let obstacle = self.layers[place].obstacle.as_ref()?;
        let mut free = self.layers[place..].iter().filter(|layer| layer.obstacle.is_none() && usable(&layer.name));
        let advice = free.next().map_or_else(
            || "no later layer can be explained either".to_owned(),
            |nearest| format!("the nearest layer that can be explained is \"{}\"", nearest.name),
        );
        Some(format!("layer \"{name}\" cannot be explained: {obstacle}; {advice}"))
    }

    /// The layers whose gradient can be computed.
    pub fn explainable(&self) -> impl DoubleEndedIterator<Item = &FoundLayer> {
        self.layers.iter().filter(|layer| layer.obstacle.is_none())
    }

    /// The output that scores classes.
    ///
    /// # Errors
    /// Those of [`ends::class_answer`].
    pub fn class_answer(&self, wanted: Option<&str>, classes: Option<usize>) -> Result<&Answer> {
        ends::class_answer(&self.answers, wanted, classes)
    }

    /// The last layer that every path to the answer goes through and whose gradient is not zero at more than half of its positions (a maximum is taken of few positions
    /// only) and in several channels (one map for each class has no parts). Or why there is no such layer.
    fn default_layer(&self, onnx: &[u8], look: &InspectOptions, answer: &Answer) -> Result<(String, Reach), String> {
        let sums =
            self.layers.iter().filter(|layer| layer.only_way && layer.sum && layer.layout == LayerLayout::Tokens);
        // A transformer's blocks leave sums; queries, keys and values of a pooling at the end are other things, and often wider.
        let width = sums.map(|layer| layer.channels).next_back();
        let has_width = |layer: &&FoundLayer| {
            layer.layout != LayerLayout::Tokens || width.is_none_or(|width| width == layer.channels)
        };
        let ways = self.layers.iter().filter(|layer| layer.only_way && layer.channels > 1).filter(has_width);
        let (views, tensors): (Vec<_>, Vec<_>) = ways.partition(|layer| layer.is_view());
        // What is read off the places of a class or of one box depends on these.
        let least = if answer.reading.is_some() { 0.0 } else { 0.5 };
        let mut because = Vec::new();
        let budget = Budget::of(self.parameters);
        for layer in tensors.iter().rev().chain(views.iter().rev()).take(MOST_TRIED) {
            match self.reach(onnx, look, answer, layer, &budget) {
                Ok(reach) if reach.positions <= least => because.push(format!(
                    "\"{}\": the score depends on {:.0}% of its positions only",
                    layer.name,
                    100.0 * reach.positions
                )),
                Ok(reach) if reach.channels < 2 => {
                    because.push(format!("\"{}\": it has a map for each class", layer.name));
                }
                Ok(reach) => return Ok((layer.name.clone(), reach)),
                Err(error) => because.push(format!("\"{}\": {error:#}", layer.name)),
            }
        }
        Err(self.why_none(&because))
    }

    /// What tract makes of the network, beside the network as it stands in the file: by scores of one random picture. What cannot be run as it stands is not judged.
    /// `scores` are those of the simplified network, if they are there.
    fn unsound(&self, onnx: &[u8], look: &InspectOptions, answer: &Answer, scores: Option<Vec<f32>>) -> Option<String> {
        /// Other orders of sums differ by a thousandth of that; faults of tract's changed scores altogether.
        const ROUNDING: f64 = 0.02;
        let (explained, readings, shape) = (answer.explained(), answer.readings(), self.shape());
        let wanted = Wanted { outputs: &[&explained], ..self.wanted(&shape, look, &readings) };
        let budget = Budget::of(self.parameters);
        let plain = contained(|| evidence::scores(quantised::read_plain(onnx, &wanted)?.0, &budget)).ok()?;
        let simplified =
            scores.or_else(|| contained(|| evidence::scores(quantised::read(onnx, &wanted)?, &budget)).ok())?;
        let difference = evidence::difference(&plain, &simplified)?;
        if difference <= ROUNDING {
            return None;
        }
        Some(format!(
            "tract, which runs networks here, changes the scores of this one by {:.0}% when it simplifies it, for a random picture: it reads some operator wrongly, \
             so nothing that were said of the network would be right. Export it in another way, and report the file",
            100.0 * difference
        ))
    }

    fn shape(&self) -> [Option<usize>; 4] {
        [Some(1), Some(3), Some(self.size.height), Some(self.size.width)]
    }

    /// The network for pictures of the inspected size; outputs are to be filled in.
    fn wanted<'w>(
        &'w self,
        shape: &'w [Option<usize>],
        look: &InspectOptions<'w>,
        readings: &'w [(String, Reading)],
    ) -> Wanted<'w> {
        Wanted {
            input: &self.input.name,
            datum_type: f32::datum_type(),
            shape,
            outputs: &[],
            pairs: Pairs::Clamp,
            folder: look.folder,
            form: Form::default(),
            readings,
            beside: None,
        }
    }

    fn why_none(&self, because: &[String]) -> String {
        const RISE: &str = "--method rise needs no layer";
        let obstacle = self.layers.iter().rev().find_map(|layer| Some((&layer.name, layer.obstacle.as_ref()?)));
        match (because.first(), obstacle) {
            (_, Some((name, obstacle))) => {
                format!("no layer can be explained; the last one, \"{name}\", cannot because {obstacle}; {RISE}")
            }
            (Some(first), None) => format!("no layer suits as default: {first}; name one with --layer, or {RISE}"),
            (None, None) if self.layers.is_empty() => {
                format!(
                    "no inner tensor keeps the picture's rows and columns, so there is nothing to explain at; {RISE}"
                )
            }
            (None, None) => format!(
                "no layer is the only way from the picture to the answer; name one of its branches with --layer, such as \"{}\", or {RISE}",
                self.layers.last().map_or("", |layer| &layer.name)
            ),
        }
    }

    fn reach(
        &self,
        onnx: &[u8],
        look: &InspectOptions,
        answer: &Answer,
        layer: &FoundLayer,
        budget: &Budget,
    ) -> Result<Reach> {
        if let Some(obstacle) = &layer.obstacle {
            bail!("{obstacle}");
        }
        let (explained, readings, shape) = (answer.explained(), answer.readings(), self.shape());
        let wanted = Wanted { outputs: &[&explained, &layer.name], ..self.wanted(&shape, look, &readings) };
        contained(|| {
            let network = quantised::read(onnx, &wanted)?;
            evidence::reach(network, &|tensor| layer.maps(tensor), layer.size.area(), budget)
        })
    }

    /// The inspection in words.
    pub fn table(&self) -> String {
        self.told(Some(self.picture.prepared()))
    }

    /// The same; `pixels` says what they become before the network, if that is not said elsewhere.
    pub(crate) fn told(&self, pixels: Option<&str>) -> String {
        let mut text = String::new();
        let opsets =
            self.opsets.iter().map(
                |(domain, version)| {
                    if domain.is_empty() { version.to_string() } else { format!("{domain} {version}") }
                },
            );
        let _ = writeln!(
            text,
            "{:.2} MB, {:.2} million weights, {}{}{}",
            self.bytes as f64 / 1e6,
            self.parameters as f64 / 1e6,
            if self.quantised { "quantised" } else { "not quantised" },
            if self.opsets.is_empty() {
                String::new()
            } else {
                format!(", opset {}", opsets.collect::<Vec<_>>().join(", "))
            },
            if self.producer.is_empty() { String::new() } else { format!(", written by {}", self.producer) }
        );
        let _ = writeln!(text, "input  {}: {} {}", self.input.name, in_words(&self.input.shape), self.input.datum_type);
        if let Some(pixels) = pixels {
            let _ = writeln!(text, "pixels {pixels}");
        }
        for output in &self.outputs {
            let _ = writeln!(text, "output {}: {} {}", output.name, in_words(&output.shape), output.datum_type);
        }
        let width = self.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0);
        let _ = writeln!(text, "\nlayers, with an input of {} pixels:", self.size);
        for layer in &self.layers {
            let size = format!("{} x {}", layer.channels, layer.size);
            let note = match &layer.obstacle {
                Some(obstacle) => format!("  not explainable: {obstacle}"),
                None if self.suggested.as_ref() == Some(&layer.name) => "  <- suggested".to_owned(),
                None => String::new(),
            };
            let (name, kind) = (&layer.name, layer.layout.name());
            let _ = writeln!(text, "  {name:<width$}  {:<18} {kind:<6} {size:>16}{note}", layer.operator);
        }
        for found in [&self.refusal, &self.unsound].into_iter().flatten() {
            let _ = writeln!(text, "  {found}");
        }
        text
    }
}
