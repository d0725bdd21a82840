//! What an ONNX network is made of: its ends, and the inner tensors at which it can be explained.

use crate::Size;
use crate::onnx::gradient::{self, Obstacles};
use crate::onnx::layout::LayerLayout;
use crate::onnx::quantised::{self, Pairs, Wanted};
use crate::onnx::validate;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use tract_onnx::pb;
use tract_onnx::prelude::Framework;
use tract_onnx::tract_core::ops::nn::Softmax;
use tract_onnx::tract_hir::internal::*;

/// Numbers of tokens that may precede a grid: none, a class token, that and a distilled one, that and four registers.
const PREFIXES: [usize; 4] = [0, 1, 2, 5];

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
    /// The outputs.
    pub outputs: Vec<Port>,
    /// Size of the input, in pixels, that the layers below are for.
    pub size: Size,
    /// Inner tensors that are maps or a grid of tokens, from the input on.
    pub layers: Vec<FoundLayer>,
    /// The layer to explain, if there is one.
    pub suggested: Option<String>,
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
    /// Height in positions.
    pub height: usize,
    /// Width in positions.
    pub width: usize,
    /// Tokens before those of the grid.
    pub prefix_tokens: usize,
    /// What keeps a gradient from getting here, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Whether some position attends to others behind this layer.
    #[serde(skip)]
    attended: bool,
    /// Whether it is the sum of two computed tensors, as what leaves a block is.
    #[serde(skip)]
    sum: bool,
}

impl FoundLayer {
    /// Pixels of the input per position.
    pub fn stride(&self, input: Size) -> usize {
        input.height.div_ceil(self.height)
    }
}

/// Inspects an ONNX file. `size` is the input's; the file's own if it fixes them and nothing is asked for, else 224 x 224.
///
/// # Errors
/// Bytes that are no ONNX network of pictures, that is with one input of 1 x 3 x height x width.
pub fn inspect(onnx: &[u8], folder: Option<&Path>, size: Option<Size>) -> Result<Inspection> {
    let mut bytes = onnx;
    let proto = tract_onnx::onnx().proto_model_for_read(&mut bytes).context("expected an ONNX file")?;
    let graph = proto.graph.as_ref().context("the file holds no graph")?;
    let input = picture_input(graph)?;
    let fixed = input.shape[2].zip(input.shape[3]);
    let size = size.or(fixed.map(|(height, width)| Size::new(height, width))).unwrap_or(Size::square(224));
    let mut outputs: Vec<Port> = graph.output.iter().map(port).collect();

    let names = computed_tensors(graph);
    let ends: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let wanted: Vec<&str> = ends.iter().copied().chain(names.iter().map(|(name, ..)| *name)).collect();
    let shape = [Some(1), Some(3), Some(size.height), Some(size.width)];
    let request = Wanted {
        input: &input.name,
        datum_type: f32::datum_type(),
        shape: &shape,
        outputs: &wanted,
        pairs: Pairs::Clamp,
        folder,
    };
    let mut network = quantised::read_with_pairs(onnx, &request)?;
    quantised::undo_pairs(&mut network, Pairs::Clamp)?;
    let tensors = network.outputs.split_off(ends.len());
    // What the file declares may be open, or left over from before it was changed.
    for (output, &end) in outputs.iter_mut().zip(&network.outputs) {
        if let Some(shape) = network.outlet_fact(end)?.shape.as_concrete() {
            output.shape = shape.iter().copied().map(Some).collect();
        }
    }
    let operators: HashMap<&str, &str> =
        graph.node.iter().map(|node| (validate::name_of(node), node.op_type.as_str())).collect();
    let obstacles = Obstacles::before(&network, |node| named(&operators, node))?;
    let before_attention = gradient::tensors_before(&network, is_attention)?;

    let mut layers: Vec<FoundLayer> = Vec::new();
    for ((name, operator, sum), tensor) in names.iter().zip(tensors) {
        let fact = network.outlet_fact(tensor)?;
        let Some((layout, prefix_tokens, [channels, height, width])) = layout_of(fact, size) else { continue };
        // Weights and shapes are tensors, too; and what leads to no output is nobody's layer.
        if fact.konst.is_some() || !obstacles.leads_to_output(tensor) {
            continue;
        }
        let obstacle = obstacles.behind(tensor).map(str::to_owned);
        let attended = before_attention.contains(&tensor);
        let (name, operator, sum) = (name.to_string(), operator.to_string(), *sum);
        layers.push(FoundLayer {
            name,
            operator,
            layout,
            channels,
            height,
            width,
            prefix_tokens,
            obstacle,
            attended,
            sum,
        });
    }
    let suggested = suggestion(&layers).map(|layer| layer.name.clone());
    Ok(Inspection {
        bytes: onnx.len(),
        producer: [&*proto.producer_name, &*proto.producer_version].join(" ").trim().to_owned(),
        opsets: proto.opset_import.iter().map(|set| (set.domain.clone(), set.version)).collect(),
        parameters: graph.initializer.iter().map(|tensor| tensor.dims.iter().product::<i64>().max(0) as usize).sum(),
        quantised: graph
            .node
            .iter()
            .any(|node| node.op_type.ends_with("quantizeLinear") || node.op_type == "QuantizeLinear"),
        input,
        outputs,
        size,
        layers,
        suggested,
    })
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

/// The one input that is no weight, if it can take a picture.
fn picture_input(graph: &pb::GraphProto) -> Result<Port> {
    let weights: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<Port> =
        graph.input.iter().filter(|input| !weights.contains(&input.name.as_str())).map(port).collect();
    match &inputs[..] {
        [input] if input.shape.len() == 4 && input.shape[1].is_none_or(|channels| channels == 3) => Ok(input.clone()),
        [input] => bail!(
            "expected an input of 1 x 3 x height x width, found \"{}\" of {:?}; transpose it while exporting",
            input.name,
            input.shape
        ),
        _ => bail!("expected one input, a picture; found {}", inputs.len()),
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

/// Names of the tensors that nodes compute, each with the node's operator, and whether it is the sum of two others.
fn computed_tensors(graph: &pb::GraphProto) -> Vec<(&str, &str, bool)> {
    let weights = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let constants = graph.node.iter().filter(|node| node.op_type == "Constant");
    let fixed: HashSet<&str> =
        weights.chain(constants.flat_map(|node| node.output.iter().map(String::as_str))).collect();
    let nodes = graph.node.iter().filter(|node| node.op_type != "Constant");
    let outputs = nodes.filter_map(|node| {
        let sum = node.op_type == "Add" && !node.input.iter().any(|input| fixed.contains(input.as_str()));
        Some((node.output.first()?.as_str(), node.op_type.as_str(), sum))
    });
    outputs.filter(|(name, ..)| !name.is_empty()).collect()
}

/// Layout, prefix, and channels, height and width of a tensor that has positions.
fn layout_of(fact: &TypedFact, input: Size) -> Option<(LayerLayout, usize, [usize; 3])> {
    if fact.datum_type != f32::datum_type() {
        return None;
    }
    match *fact.shape.as_concrete()? {
        [1, channels, height, width] => {
            // Attention has four axes as well; maps have the picture's shape and a stride that gives them.
            let stride = input.height.div_ceil(height.max(1));
            let is_map = height > 1
                && width > 1
                && channels > 1
                && input.height.div_ceil(stride) == height
                && input.width.div_ceil(stride) == width;
            is_map.then_some((LayerLayout::Maps, 0, [channels, height, width]))
        }
        [1, tokens, channels] if channels > 1 => PREFIXES.iter().find_map(|&prefix| {
            let positions = tokens.checked_sub(prefix).filter(|positions| *positions >= 4)?;
            let height = (2..=positions).find(|height| {
                let stride = input.height.div_ceil(*height);
                positions.is_multiple_of(*height)
                    && input.height.div_ceil(stride) == *height
                    && input.width.div_ceil(stride) == positions / height
            })?;
            Some((LayerLayout::Tokens, prefix, [channels, height, positions / height]))
        }),
        _ => None,
    }
}

/// Whether positions look at each other in this node.
fn is_attention(node: &TypedNode) -> bool {
    let square = |shape: &[usize]| matches!(*shape, [.., queries, keys] if queries == keys && queries > 1);
    node.op_is::<Softmax>() && node.outputs[0].fact.shape.as_concrete().is_some_and(square)
}

/// The last layer that says something of every position: for convolutions what is pooled in the end; for a transformer the last sum that a later block
/// attends to, because only the class token leaves the last block.
fn suggestion(layers: &[FoundLayer]) -> Option<&FoundLayer> {
    let free = || layers.iter().filter(|layer| layer.obstacle.is_none());
    let last = free().next_back()?;
    match last.layout {
        LayerLayout::Maps => free().rfind(|layer| layer.layout == LayerLayout::Maps),
        // Queries and the like are wider, or no sums of two.
        LayerLayout::Tokens => free()
            .rfind(|layer| {
                layer.layout == LayerLayout::Tokens && layer.attended && layer.sum && layer.channels == last.channels
            })
            .or(Some(last)),
    }
}

impl Inspection {
    /// The layer of that name.
    ///
    /// # Errors
    /// No such layer, or one that no gradient gets to; the message names the nearest one that can be explained.
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

    /// The layers that a gradient gets to.
    pub fn explainable(&self) -> impl DoubleEndedIterator<Item = &FoundLayer> {
        self.layers.iter().filter(|layer| layer.obstacle.is_none())
    }

    /// The output that scores classes: the first of 1 x classes.
    ///
    /// # Errors
    /// No such output.
    pub fn class_output(&self, wanted: Option<&str>) -> Result<&Port> {
        let found = match wanted {
            Some(name) => self.outputs.iter().find(|output| output.name == name),
            None => self.outputs.iter().find(|output| output.shape.len() == 2).or(self.outputs.first()),
        };
        let names = || self.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = found.with_context(|| format!("no output {wanted:?}; there are: {}", names()))?;
        ensure!(!found.shape.is_empty(), "output \"{}\" has no shape", found.name);
        Ok(found)
    }

    /// The inspection in words.
    pub fn table(&self) -> String {
        let shape = |shape: &[Option<usize>]| {
            shape.iter().map(|n| n.map_or("?".to_owned(), |n| n.to_string())).collect::<Vec<_>>().join(" x ")
        };
        let mut text = String::new();
        let opsets =
            self.opsets.iter().map(
                |(domain, version)| {
                    if domain.is_empty() { version.to_string() } else { format!("{domain} {version}") }
                },
            );
        let _ = writeln!(
            text,
            "{:.2} MB, {:.2} million weights, {}, opset {}{}",
            self.bytes as f64 / 1e6,
            self.parameters as f64 / 1e6,
            if self.quantised { "quantised" } else { "not quantised" },
            opsets.collect::<Vec<_>>().join(", "),
            if self.producer.is_empty() { String::new() } else { format!(", written by {}", self.producer) }
        );
        let _ = writeln!(text, "input  {}: {} {}", self.input.name, shape(&self.input.shape), self.input.datum_type);
        for output in &self.outputs {
            let _ = writeln!(text, "output {}: {} {}", output.name, shape(&output.shape), output.datum_type);
        }
        let width = self.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0);
        let _ = writeln!(text, "\nlayers, with an input of {} pixels:", self.size);
        for layer in &self.layers {
            let size = format!("{} x {} x {}", layer.channels, layer.height, layer.width);
            let note = match &layer.obstacle {
                Some(obstacle) => format!("  not explainable: {obstacle}"),
                None if self.suggested.as_ref() == Some(&layer.name) => "  <- suggested".to_owned(),
                None => String::new(),
            };
            let (name, kind) = (&layer.name, layer.layout.name());
            let _ = writeln!(text, "  {name:<width$}  {:<18} {kind:<6} {size:>16}{note}", layer.operator);
        }
        if self.suggested.is_none() {
            text += "  none can be explained\n";
        }
        text
    }
}
