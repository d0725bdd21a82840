//! Writing nodes of a graph.

use super::MADE;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{self, AttributeProto, NodeProto, TensorProto};

/// How the note on a node begins that could not be rewritten.
pub const REFUSED: &str = "decomcam cannot: ";

/// Most numbers that a constant may become while it is rewritten.
const MOST_NUMBERS: usize = 1 << 29;

/// Nodes and constants that take the place of one node.
pub struct Emit {
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
    pub opset: i64,
    place: String,
    count: usize,
}

impl Emit {
    /// Instead of this node.
    pub fn instead_of(node: &NodeProto, opset: i64) -> Self {
        let place = super::super::validate::name_of(node).to_owned();
        Self { nodes: Vec::new(), constants: Vec::new(), opset, place, count: 0 }
    }

    fn fresh(&mut self) -> String {
        self.count += 1;
        format!("{MADE}{}/{}", self.place, self.count)
    }

    /// An operator; the name of its output.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = self.fresh();
        self.op_to(op, inputs, attributes, &output);
        output
    }

    /// An operator whose output has this name.
    pub fn op_to(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, output: &str) {
        // tract names what it makes of a node "NAME.what": the message then finds the node of the file.
        self.count += 1;
        self.nodes.push(NodeProto {
            name: format!("{}.{}", self.place, self.count),
            op_type: op.into(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        });
    }

    /// The same tensor under another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.op_to("Identity", &[from], vec![], to);
    }

    pub fn constant(&mut self, mut tensor: TensorProto) -> String {
        tensor.name = self.fresh();
        let name = tensor.name.clone();
        self.constants.push(tensor);
        name
    }

    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.constant(floats(dims, values))
    }

    pub fn number(&mut self, value: f32) -> String {
        self.floats(&[], &[value])
    }

    pub fn integers(&mut self, values: &[i64]) -> String {
        self.constant(TensorProto {
            dims: vec![values.len() as i64],
            data_type: DataType::Int64 as i32,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        })
    }

    pub fn integer(&mut self, value: i64) -> String {
        self.constant(TensorProto {
            data_type: DataType::Int64 as i32,
            raw_data: value.to_le_bytes().to_vec(),
            ..Default::default()
        })
    }

    pub fn reshape(&mut self, tensor: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.op("Reshape", &[tensor, &shape], vec![])
    }

    pub fn transpose(&mut self, tensor: &str, order: &[i64]) -> String {
        self.op("Transpose", &[tensor], vec![ints("perm", order)])
    }

    /// A reduction over axes, which stay with length one.
    pub fn reduce(&mut self, op: &str, tensor: &str, axes: &[i64]) -> String {
        let from = if op == "ReduceSum" { 13 } else { 18 };
        if self.opset >= from {
            let axes = self.integers(axes);
            return self.op(op, &[tensor, &axes], vec![int("keepdims", 1)]);
        }
        self.op(op, &[tensor], vec![ints("axes", axes), int("keepdims", 1)])
    }

    pub fn unsqueeze(&mut self, tensor: &str, axes: &[i64]) -> String {
        if self.opset >= 13 {
            let axes = self.integers(axes);
            return self.op("Unsqueeze", &[tensor, &axes], vec![]);
        }
        self.op("Unsqueeze", &[tensor], vec![ints("axes", axes)])
    }

    /// From `start` to `end` along an axis.
    pub fn slice(&mut self, tensor: &str, axis: i64, start: i64, end: i64) -> String {
        if self.opset >= 10 {
            let [start, end, axis] = [start, end, axis].map(|number| self.integers(&[number]));
            return self.op("Slice", &[tensor, &start, &end, &axis], vec![]);
        }
        self.op("Slice", &[tensor], vec![ints("starts", &[start]), ints("ends", &[end]), ints("axes", &[axis])])
    }
}

/// Rewrites each node for which `rewrite` says so.
pub fn rewrite(
    graph: &mut pb::GraphProto,
    opset: i64,
    mut with: impl FnMut(&NodeProto, &Constants, &mut Emit) -> Result<bool>,
) -> Result<()> {
    let constants = Constants::of(graph);
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut made = Vec::new();
    for node in &graph.node {
        let mut emit = Emit::instead_of(node, opset);
        let place = || format!("node \"{}\", operator {}", super::super::validate::name_of(node), node.op_type);
        match with(node, &constants, &mut emit).with_context(place) {
            Ok(true) => {
                nodes.extend(emit.nodes);
                made.extend(emit.constants);
            }
            Ok(false) => nodes.push(node.clone()),
            // Only if the node is needed in the end is that the file's end.
            Err(error) => nodes.push(NodeProto { doc_string: format!("{REFUSED}{error:#}"), ..node.clone() }),
        }
    }
    graph.node = nodes;
    graph.initializer.extend(made);
    Ok(())
}

/// Names the tensors that a node reads and makes otherwise, and those of its branches.
pub fn rename_tensors(node: &mut NodeProto, to: &impl Fn(&str) -> String) {
    for name in node.input.iter_mut().chain(&mut node.output) {
        *name = to(name);
    }
    for graph in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
        graph.node.iter_mut().for_each(|node| rename_tensors(node, to));
        let ports = graph.input.iter_mut().chain(&mut graph.output).map(|port| &mut port.name);
        for name in ports.chain(graph.initializer.iter_mut().map(|tensor| &mut tensor.name)) {
            *name = to(name);
        }
    }
}

/// The constants of a graph by name.
pub struct Constants<'g>(HashMap<&'g str, &'g TensorProto>);

impl<'g> Constants<'g> {
    pub fn of(graph: &'g pb::GraphProto) -> Self {
        let weights = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let nodes = graph.node.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
            let value = node.attribute.iter().find(|attribute| attribute.name == "value")?;
            Some((node.output.first()?.as_str(), value.t.as_ref()?))
        });
        Self(weights.chain(nodes).collect())
    }

    pub fn get(&self, name: &str) -> Option<&'g TensorProto> {
        self.0.get(name).copied()
    }

    /// The numbers of a constant.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let tensor = self.get(name).with_context(|| format!("expected \"{name}\" to be a constant"))?;
        numbers(tensor)
    }

    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.numbers(name)?.into_iter().map(|number| number as f32).collect())
    }

    pub fn number(&self, name: &str) -> Result<f64> {
        let numbers = self.numbers(name)?;
        ensure!(numbers.len() == 1, "expected \"{name}\" to be one number, found {}", numbers.len());
        Ok(numbers[0])
    }
}

/// The numbers of a tensor of any type but text, complex numbers and eight-bit floats.
pub fn numbers(tensor: &TensorProto) -> Result<Vec<f64>> {
    let kind = DataType::try_from(tensor.data_type).ok().context("expected a type of numbers")?;
    let count = count(&tensor.dims)?;
    let raw = &tensor.raw_data[..];
    let found: Vec<f64> = if raw.is_empty() {
        let small = || tensor.int32_data.iter();
        match kind {
            DataType::Float => tensor.float_data.iter().map(|value| f64::from(*value)).collect(),
            DataType::Double => tensor.double_data.clone(),
            DataType::Int64 => tensor.int64_data.iter().map(|value| *value as f64).collect(),
            DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.iter().map(|value| *value as f64).collect(),
            DataType::Float16 => small().map(|bits| half(*bits as u16)).collect(),
            DataType::Bfloat16 => small().map(|bits| brain(*bits as u16)).collect(),
            DataType::Int4 | DataType::Uint4 => {
                small().flat_map(|byte| nibbles(*byte as u8, kind == DataType::Int4)).take(count).collect()
            }
            _ => small().map(|value| f64::from(*value)).collect(),
        }
    } else {
        match kind {
            DataType::Float => words(raw, |bytes| f64::from(f32::from_le_bytes(bytes))),
            DataType::Double => words(raw, f64::from_le_bytes),
            DataType::Int64 => words(raw, |bytes| i64::from_le_bytes(bytes) as f64),
            DataType::Uint64 => words(raw, |bytes| u64::from_le_bytes(bytes) as f64),
            DataType::Int32 => words(raw, |bytes| f64::from(i32::from_le_bytes(bytes))),
            DataType::Uint32 => words(raw, |bytes| f64::from(u32::from_le_bytes(bytes))),
            DataType::Int16 => words(raw, |bytes| f64::from(i16::from_le_bytes(bytes))),
            DataType::Uint16 => words(raw, |bytes| f64::from(u16::from_le_bytes(bytes))),
            DataType::Float16 => words(raw, |bytes| half(u16::from_le_bytes(bytes))),
            DataType::Bfloat16 => words(raw, |bytes| brain(u16::from_le_bytes(bytes))),
            DataType::Int8 => raw.iter().map(|byte| f64::from(*byte as i8)).collect(),
            DataType::Uint8 | DataType::Bool => raw.iter().map(|byte| f64::from(*byte)).collect(),
            DataType::Int4 | DataType::Uint4 => {
                raw.iter().flat_map(|byte| nibbles(*byte, kind == DataType::Int4)).take(count).collect()
            }
            _ => anyhow::bail!("expected numbers, found {kind:?}"),
        }
    };
    ensure!(found.len() == count, "expected {count} numbers for its shape {:?}, found {}", tensor.dims, found.len());
    Ok(found)
}

/// Product of lengths, if that many numbers are to be had.
pub fn count(dims: &[i64]) -> Result<usize> {
    let count = dims.iter().try_fold(1usize, |count, length| count.checked_mul(usize::try_from(*length).ok()?));
    count
        .filter(|count| *count <= MOST_NUMBERS)
        .with_context(|| format!("expected a shape that fits memory, found {dims:?}"))
}

fn words<const N: usize>(raw: &[u8], of: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    raw.chunks_exact(N).map(|chunk| of(std::array::from_fn(|at| chunk[at]))).collect()
}

/// The low half comes first.
fn nibbles(byte: u8, signed: bool) -> [f64; 2] {
    [byte & 15, byte >> 4].map(|nibble| {
        let value = f64::from(nibble);
        if signed && nibble > 7 { value - 16.0 } else { value }
    })
}

pub fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

pub fn floats(dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|length| *length as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, r#type: AttributeType::Int as i32, ..Default::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: value, r#type: AttributeType::Float as i32, ..Default::default() }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        ints: values.to_vec(),
        r#type: AttributeType::Ints as i32,
        ..Default::default()
    }
}

pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        s: value.as_bytes().to_vec(),
        r#type: AttributeType::String as i32,
        ..Default::default()
    }
}

/// What is asked of a node.
pub trait Asked {
    fn attribute(&self, name: &str) -> Option<&AttributeProto>;
    fn int(&self, name: &str, default: i64) -> i64;
    fn float(&self, name: &str, default: f32) -> f32;
    fn text(&self, name: &str) -> &str;
    /// The input of that number, if it is given.
    fn given(&self, at: usize) -> Option<&str>;
    /// The input of that number.
    fn needed(&self, at: usize) -> Result<&str>;
    fn out(&self) -> Result<&str>;
    /// All attributes but these.
    fn attributes_but(&self, names: &[&str]) -> Vec<AttributeProto>;
}

impl Asked for NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    fn text(&self, name: &str) -> &str {
        self.attribute(name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok()).unwrap_or("")
    }

    fn given(&self, at: usize) -> Option<&str> {
        self.input.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn needed(&self, at: usize) -> Result<&str> {
        self.given(at).with_context(|| format!("expected input {at}; the file is damaged"))
    }

    fn out(&self) -> Result<&str> {
        self.output.first().map(String::as_str).context("expected an output; the file is damaged")
    }

    fn attributes_but(&self, names: &[&str]) -> Vec<AttributeProto> {
        self.attribute.iter().filter(|attribute| !names.contains(&attribute.name.as_str())).cloned().collect()
    }
}
