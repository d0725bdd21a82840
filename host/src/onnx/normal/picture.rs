//! The input that takes a picture, whatever its layout, channels and numbers.

use super::MADE;
use super::edit::{Asked, Emit, floats, int, ints};
use super::inputs::{element, in_words, lengths};
use super::prepared;
use crate::Size;
use anyhow::{Result, bail};
use serde::Serialize;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto};

/// Pictures at once that a file may want; more is damage.
const LARGEST_BATCH: usize = 256;

/// An input that takes a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// The input's name.
    pub name: String,
    /// Whether the channels come last.
    pub channels_last: bool,
    /// Its channels.
    pub channels: Channels,
    /// The type of its numbers, as ONNX names it.
    pub numbers: String,
    /// Pictures at once; one where the file leaves it open.
    pub batch: usize,
    /// Height, if the file fixes it.
    pub height: Option<usize>,
    /// Width, if the file fixes it.
    pub width: Option<usize>,
    /// What the graph wants its pictures to be before it prepares them itself, if it does.
    pub scale: Option<Scale>,
}

/// What the pictures are made of that a network is given: (value - mean) / std of red, green and blue from 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// Whether the network wants blue, green and red.
    pub reversed: bool,
    /// Of red, green and blue.
    pub mean: [f32; 3],
    /// Of red, green and blue.
    pub std: [f32; 3],
}

impl Default for Form {
    fn default() -> Self {
        Self { reversed: false, mean: [0.0; 3], std: [1.0; 3] }
    }
}

/// The channels of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One: 0.299 red + 0.587 green + 0.114 blue.
    Grey,
    /// Red, green, blue.
    Colour,
    /// Red, green, blue, and how opaque: entirely.
    Opaque,
}

/// The numbers of a picture that a graph prepares itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// 0 to 255.
    Bytes,
    /// -128 to 127.
    Signed,
    /// 0 to 1.
    Shares,
    /// -1 to 1.
    Halves,
}

impl Picture {
    /// The one input that can take a picture.
    pub fn of(graph: &GraphProto) -> Result<Self> {
        let found: Vec<Self> = graph.input.iter().filter_map(|input| Self::from(graph, input)).collect();
        match &found[..] {
            [picture] => Ok(picture.clone()),
            [] => match graph.input.iter().find(|input| is_of_other_integers(graph, input)) {
                Some(input) => bail!(
                    "input \"{}\" of {}: expected a picture of type float, uint8, int8, int32 or int64, found {}; export the network with one of these types",
                    input.name,
                    in_words(&lengths(input)),
                    type_of(input)
                ),
                None => bail!(
                    "expected an input of a picture, 1 x 3 x height x width or the like; found {}. Networks of videos, sounds, volumes or texts cannot be explained: \
                 give one that takes a picture",
                    listed(graph)
                ),
            },
            several => {
                let named = |picture: &&Self| {
                    let name = picture.name.to_lowercase();
                    ["pixel", "image", "img", "picture"].iter().any(|word| name.contains(word))
                };
                let mut named = several.iter().filter(named);
                match (named.next(), named.next()) {
                    (Some(picture), None) => Ok(picture.clone()),
                    _ => bail!(
                        "expected one input of a picture, found {}. To compare two photos, export the part that both go through, with one input, and give the other \
                         photo with --like; or make the other inputs constants",
                        listed(graph)
                    ),
                }
            }
        }
    }

    fn from(graph: &GraphProto, input: &ValueInfoProto) -> Option<Self> {
        let lengths = lengths(input);
        let &[batch, second, third, last] = &lengths[..] else { return None };
        let kind = DataType::try_from(element(input)).ok()?;
        if !matches!(kind, DataType::Float | DataType::Uint8 | DataType::Int8 | DataType::Int32 | DataType::Int64) {
            return None;
        }
        let channels = |length: Option<i64>| match length {
            Some(1) => Some(Channels::Grey),
            Some(3) => Some(Channels::Colour),
            Some(4) => Some(Channels::Opaque),
            _ => None,
        };
        let (channels, channels_last) = match (channels(second), channels(last), second) {
            (None, Some(channels), _) if second != Some(1) => (channels, true),
            (Some(channels), ..) => (channels, false),
            (None, None, None) => (Channels::Colour, is_turned(graph, &input.name)),
            _ => return None,
        };
        let (height, width) = if channels_last { (second, third) } else { (third, last) };
        let mut picture = Self {
            name: input.name.clone(),
            channels_last,
            channels,
            numbers: format!("{kind:?}").to_lowercase(),
            batch: usize::try_from(batch.unwrap_or(1)).ok().filter(|batch| *batch <= LARGEST_BATCH)?,
            height: height.map(|length| length as usize),
            width: width.map(|length| length as usize),
            scale: None,
        };
        picture.scale = match kind {
            DataType::Int8 => Some(Scale::Signed),
            DataType::Float => {
                let count = if channels == Channels::Grey {
                    1
                } else {
                    lengths[if channels_last { 3 } else { 1 }].unwrap_or(3)
                };
                prepared::scale(graph, &input.name, count as usize, if channels_last { 3 } else { 1 })
            }
            _ => Some(Scale::Bytes),
        };
        Some(picture)
    }

    /// Height and width, if the file fixes both.
    pub fn size(&self) -> Option<Size> {
        self.height.zip(self.width).map(|(height, width)| Size::new(height, width))
    }

    /// Whether pictures may have this size, as far as the file fixes it.
    pub fn takes(&self, size: Size) -> bool {
        self.height.is_none_or(|height| height == size.height) && self.width.is_none_or(|width| width == size.width)
    }

    /// Height and width, in words: a question mark where they are open.
    pub fn sides(&self) -> String {
        in_words(&[self.height, self.width])
    }

    /// Whether the input takes whole numbers only.
    pub fn is_whole(&self) -> bool {
        self.numbers != "float"
    }

    /// In words, what pixels become before the network, or that the file does not tell.
    pub fn prepared(&self) -> &'static str {
        match self.scale {
            Some(Scale::Bytes) => "0 to 255: the network prepares them itself",
            Some(Scale::Signed) => "-128 to 127: the network prepares them itself",
            Some(Scale::Shares) => "0 to 1: the network prepares them itself",
            Some(Scale::Halves) => "-1 to 1: the network prepares them itself",
            None => {
                "the file does not say how they are prepared: as for ImageNet, unless --preset, --mean and --std say otherwise"
            }
        }
    }

    fn is_plain(&self) -> bool {
        !self.channels_last && self.channels == Channels::Colour && !self.is_whole() && self.batch <= 1
    }

    /// Puts an input of 1 x 3 x height x width before it, red, green and blue.
    pub(super) fn adapt(&self, graph: &mut GraphProto, form: &Form, opset: i64) {
        if self.is_plain() && !form.reversed {
            return;
        }
        let native = format!("{MADE}{}/native", self.name);
        for node in &mut graph.node {
            for input in node.input.iter_mut().filter(|input| **input == self.name) {
                input.clone_from(&native);
            }
        }
        let mut emit =
            Emit::instead_of(&NodeProto { name: format!("{}.picture", self.name), ..Default::default() }, opset);
        let mut at = self.name.clone();
        if form.reversed && self.channels != Channels::Grey {
            let order = emit.integers(&[2, 1, 0]);
            at = emit.op("Gather", &[&at, &order], vec![int("axis", 1)]);
        }
        match self.channels {
            Channels::Colour => (),
            Channels::Grey => {
                let kernel = emit.constant(floats(&[1, 3, 1, 1], &[0.299, 0.587, 0.114]));
                at = emit.op("Conv", &[&at, &kernel], vec![ints("kernel_shape", &[1, 1])]);
                // Grey levels are whole numbers.
                if form.mean == [form.mean[0]; 3] && form.std == [form.std[0]; 3] {
                    let (mean, std) = (emit.number(form.mean[0]), emit.number(form.std[0]));
                    for (op, number) in [
                        ("Mul", Some(&std)),
                        ("Add", Some(&mean)),
                        ("Round", None),
                        ("Sub", Some(&mean)),
                        ("Div", Some(&std)),
                    ] {
                        let inputs: Vec<&str> = [Some(&at), number].into_iter().flatten().map(String::as_str).collect();
                        at = emit.op(op, &inputs, vec![]);
                    }
                }
            }
            Channels::Opaque => {
                let first = emit.slice(&at, 1, 0, 1);
                let zero = emit.number(0.0);
                let nothing = emit.op("Mul", &[&first, &zero], vec![]);
                let full = emit.number(if self.scale == Some(Scale::Bytes) { 255.0 } else { 1.0 });
                let opaque = emit.op("Add", &[&nothing, &full], vec![]);
                at = emit.op("Concat", &[&at, &opaque], vec![int("axis", 1)]);
            }
        }
        if self.channels_last {
            at = emit.transpose(&at, &[0, 2, 3, 1]);
        }
        if self.batch > 1 {
            let copies = vec![at.as_str(); self.batch];
            at = emit.op("Concat", &copies, vec![int("axis", 0)]);
        }
        if self.is_whole() {
            let (low, high) = if self.scale == Some(Scale::Signed) { (-128.0, 127.0) } else { (0.0, 255.0) };
            let (low, high) = (emit.number(low), emit.number(high));
            at = emit.op("Round", &[&at], vec![]);
            at = emit.op("Max", &[&at, &low], vec![]);
            at = emit.op("Min", &[&at, &high], vec![]);
            let kind = match self.numbers.as_str() {
                "int8" => DataType::Int8,
                "int32" => DataType::Int32,
                "int64" => DataType::Int64,
                _ => DataType::Uint8,
            };
            at = emit.op("Cast", &[&at], vec![int("to", i64::from(kind as i32))]);
        }
        emit.rename(&at, &native);
        let mut nodes = emit.nodes;
        nodes.append(&mut graph.node);
        graph.node = nodes;
        graph.initializer.extend(emit.constants);
        let input = graph.input.iter_mut().find(|input| input.name == self.name);
        if let Some(input) = input {
            input.r#type = Some(picture_type(self.height, self.width));
        }
    }
}

/// Whether an input takes a picture, but for the type of its numbers.
fn is_of_other_integers(graph: &GraphProto, input: &ValueInfoProto) -> bool {
    let other = [DataType::Uint16, DataType::Int16, DataType::Uint32, DataType::Uint64];
    let mut bytes = input.clone();
    if let Some(type_proto::Value::TensorType(tensor)) = bytes.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        tensor.elem_type = DataType::Uint8 as i32;
    }
    other.iter().any(|kind| *kind as i32 == element(input)) && Picture::from(graph, &bytes).is_some()
}

/// As ONNX names it.
fn type_of(input: &ValueInfoProto) -> String {
    DataType::try_from(element(input)).map_or_else(|_| "no type".into(), |kind| format!("{kind:?}").to_lowercase())
}

/// Whether what is read from an input moves its last axis to the place of the channels.
fn is_turned(graph: &GraphProto, input: &str) -> bool {
    const MOST: usize = 8;
    let mut at = input;
    for _ in 0..MOST {
        let reader =
            graph.node.iter().find(|node| node.input.iter().any(|input| input == at) && node.op_type != "Shape");
        let Some(node) = reader else { return false };
        match (node.op_type.as_str(), node.output.first()) {
            ("Transpose", _) => return node.attribute("perm").is_some_and(|order| order.ints == [0, 3, 1, 2]),
            ("Cast" | "Identity" | "Add" | "Sub" | "Mul" | "Div", Some(output)) => at = output,
            _ => return false,
        }
    }
    false
}

fn picture_type(height: Option<usize>, width: Option<usize>) -> TypeProto {
    let axis = |length: Option<usize>| Dimension {
        value: length.map(|length| dimension::Value::DimValue(length as i64)),
        ..Default::default()
    };
    let dim = vec![axis(Some(1)), axis(Some(3)), axis(height), axis(width)];
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }
}

fn listed(graph: &GraphProto) -> String {
    let described = |input: &ValueInfoProto| format!("\"{}\" of {}", input.name, in_words(&lengths(input)));
    let inputs: Vec<String> = graph.input.iter().map(described).collect();
    if inputs.is_empty() { "no input".into() } else { inputs.join(", ") }
}
