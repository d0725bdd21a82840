//! The same network in real numbers, as an ONNX file: for gradients.
//!
//! Weights and biases become the numbers that their integers stand for, and each tensor is held to the range of its integers, which is also what its activation
//! (ReLU, ReLU6) leaves: one `Clip`. Rounding is left out. The derivative of a `Clip` is one inside the range and zero outside, the usual straight-through estimate.
//!
//! Pictures have their channels first here, as the rest of the program knows them, until an operator takes their axes apart. A tensor keeps the file's name for it.

use super::file::{File, Operator, Tensor, kind};
use super::layers::WeightSteps;
use super::options::{self, Levels, bounds, code};
use super::program::Program;
use crate::onnx::ends::OF_RANGE;
use crate::onnx::normal::MADE;
use anyhow::{Context, Result, bail};
use prost::Message as _;
use std::collections::HashSet;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// ONNX's operators of this version are written.
const OPSET: i64 = 17;

/// A network in real numbers.
#[derive(Debug)]
pub struct Float {
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// Its tensors that the file has, too.
    pub tensors: Vec<Named>,
    /// The same before they are held to their range: what is explained of an answer, so that its gradient does not end where the integers do.
    pub unheld: Vec<Named>,
}

/// A tensor of the ONNX file.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Its name there.
    pub name: String,
    /// Its number in the `.tflite` file.
    pub tensor: usize,
    /// Its integers.
    pub levels: Levels,
    /// Lengths of its axes in the ONNX file.
    pub shape: Vec<usize>,
    /// Whether these are batch, channels, height and width, of a tensor whose channels come last in the `.tflite` file.
    pub channels_first: bool,
    /// The operator that computes it, as TensorFlow Lite calls it.
    pub operator: String,
}

/// The tensor of the ONNX file that holds the picture in the range of the input's integers.
pub fn picture() -> String {
    format!("{MADE}integers")
}

struct Writer<'f> {
    file: &'f File<'f>,
    /// The tensor that takes the picture, of integers.
    picture: usize,
    graph: GraphProto,
    /// For each tensor, what holds it with its axes as the file has them, and what with channels first.
    plain: Vec<Option<String>>,
    maps: Vec<Option<String>>,
    /// Each tensor's integers.
    levels: Vec<Option<Levels>>,
    names: HashSet<String>,
    named: Vec<Named>,
    unheld: Vec<Named>,
    made: usize,
}

/// Writes the network of a file. What the plan of that file has shown, such as operators with all their inputs and shapes that fit each other, is not checked
/// again here.
///
/// # Errors
/// Operators that have no counterpart in ONNX.
pub fn write(file: &File, plan: &Program) -> Result<Float> {
    let none = || vec![None; file.tensors.len()];
    let mut writer = Writer {
        file,
        picture: plan.input(),
        graph: GraphProto { name: "tflite".into(), ..Default::default() },
        plain: none(),
        maps: none(),
        levels: vec![None; file.tensors.len()],
        names: HashSet::new(),
        named: Vec::new(),
        unheld: Vec::new(),
        made: 0,
    };
    writer.input()?;
    for (at, operator) in file.operators.iter().enumerate() {
        writer.add(operator).with_context(|| file.place(at))?;
    }
    writer.finish()
}

/// Attributes.
fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn described(name: &str, shape: &[usize]) -> ValueInfoProto {
    let axis =
        |length: &usize| Dimension { value: Some(dimension::Value::DimValue(*length as i64)), ..Default::default() };
    let shape = TensorShapeProto { dim: shape.iter().map(axis).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
}

/// Where an axis is once channels come first.
fn axis_of_maps(axis: usize) -> usize {
    [0, 2, 3, 1].get(axis).copied().unwrap_or(axis)
}

/// A shape once channels come first.
fn shape_of_maps(shape: &[usize]) -> Result<Vec<usize>> {
    let [batch, height, width, channels] = *shape else {
        bail!("expected a tensor of batch x height x width x channels, found shape {shape:?}")
    };
    Ok(vec![batch, channels, height, width])
}

/// Real numbers of a constant.
fn real_numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(Levels::of(tensor)?.reals(&tensor.bytes()?))
}

impl<'f> Writer<'f> {
    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("{MADE}{}", self.made)
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, output: &str) {
        self.graph.node.push(NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        });
    }

    fn op(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = self.fresh();
        self.node(op, inputs, attributes, &output);
        output
    }

    fn constant(&mut self, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> String {
        let name = self.fresh();
        let dims = dims.iter().map(|length| *length as i64).collect();
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims,
            data_type: kind as i32,
            raw_data,
            ..Default::default()
        });
        name
    }

    fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        self.constant(dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn integers(&mut self, values: &[i64]) -> String {
        self.constant(&[values.len()], DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn reshaped(&mut self, tensor: &str, shape: &[usize]) -> String {
        let shape = self.integers(&shape.iter().map(|length| *length as i64).collect::<Vec<_>>());
        self.op("Reshape", &[tensor, &shape], vec![])
    }

    /// A name that no other tensor has: the file's, or what the converter joined to it first.
    fn name(&mut self, tensor: usize) -> String {
        let short = self.file.tensors[tensor].short_name();
        let short =
            if short.is_empty() || short.starts_with(MADE) { format!("tensor {tensor}") } else { short.to_owned() };
        let mut name = short.clone();
        let mut count = 1;
        while !self.names.insert(name.clone()) {
            count += 1;
            name = format!("{short}:{count}");
        }
        name
    }

    fn input(&mut self) -> Result<()> {
        let input = *self.file.inputs.first().context("no input")?;
        let tensor = &self.file.tensors[input];
        let name = self.name(input);
        let maps = tensor.shape.len() == 4;
        self.graph
            .input
            .push(described(&name, &if maps { shape_of_maps(&tensor.shape)? } else { tensor.shape.clone() }));
        let mut held = name.clone();
        if tensor.kind != kind::FLOAT {
            let levels = Levels::of(tensor)?;
            self.levels[input] = Some(levels);
            self.in_range(&name, levels, &picture());
            held = picture();
        }
        let place = if maps { &mut self.maps } else { &mut self.plain };
        place[input] = Some(held);
        Ok(())
    }

    /// Held to the range of integers.
    fn in_range(&mut self, tensor: &str, levels: Levels, output: &str) {
        let (low, high) = levels.reach();
        let (low, high) = (self.floats(&[], &[low]), self.floats(&[], &[high]));
        self.node("Clip", &[tensor, &low, &high], vec![], output);
    }

    /// What the operator reads as its input of this number: a tensor or a constant.
    fn operand(&self, operator: &Operator, at: usize) -> Result<usize> {
        operator.inputs.get(at).copied().flatten().with_context(|| format!("expected an input {at}"))
    }

    fn levels_of(&self, tensor: usize) -> Result<Levels> {
        self.levels[tensor].map_or_else(|| Levels::of(&self.file.tensors[tensor]), Ok)
    }

    /// The tensor with its axes as in the file.
    fn plain(&mut self, tensor: usize) -> Result<String> {
        if let Some(name) = &self.plain[tensor] {
            return Ok(name.clone());
        }
        let found = &self.file.tensors[tensor];
        let name = match &self.maps[tensor] {
            Some(maps) => {
                let maps = maps.clone();
                self.op("Transpose", &[&maps], vec![ints("perm", &[0, 2, 3, 1])])
            }
            None => self.floats(&found.shape, &real_numbers(found)?),
        };
        self.plain[tensor] = Some(name.clone());
        Ok(name)
    }

    /// The tensor with its channels first; of four axes, or of fewer if it is a constant.
    fn maps(&mut self, tensor: usize) -> Result<String> {
        if let Some(name) = &self.maps[tensor] {
            return Ok(name.clone());
        }
        let found = &self.file.tensors[tensor];
        let computed = self.plain[tensor].clone();
        let plain = match computed {
            Some(plain) => plain,
            None => {
                let lacking = 4usize.checked_sub(found.shape.len()).context("expected at most 4 axes")?;
                let shape: Vec<usize> = std::iter::repeat_n(1, lacking).chain(found.shape.iter().copied()).collect();
                self.floats(&shape, &real_numbers(found)?)
            }
        };
        let name = self.op("Transpose", &[&plain], vec![ints("perm", &[0, 3, 1, 2])]);
        self.maps[tensor] = Some(name.clone());
        Ok(name)
    }

    fn is_maps(&self, tensor: usize) -> bool {
        let found = &self.file.tensors[tensor];
        found.shape.len() == 4 && (self.maps[tensor].is_some() || self.plain[tensor].is_none())
    }

    /// The operator's output, once held to what its integers and its activation leave. `within` is what it is known to lie in.
    fn give(
        &mut self,
        operator: &Operator,
        output: usize,
        made: String,
        maps: bool,
        activation: i8,
        within: (f32, f32),
    ) -> Result<()> {
        let tensor = &self.file.tensors[output];
        let levels = Levels::of(tensor)?;
        let (least, most) = levels.reach();
        let (low, high) = bounds(activation)?;
        let (low, high) = (low.unwrap_or(least).max(least), high.unwrap_or(most).min(most));
        // A bound that is passed by no more than the rounding would change no number, but the derivative on the bound itself would depend on a convention.
        let half = levels.steps.scale / 2.0;
        let low = (within.0 < low - half).then_some(low);
        let high = (within.1 > high + half).then_some(high);
        let name = self.name(output);
        if low.is_none() && high.is_none() {
            self.node("Identity", &[&made], vec![], &name);
        } else {
            let made = self.called(made, format!("{MADE}{name}"));
            let mut bound = |bound: Option<f32>| bound.map_or_else(String::new, |bound| self.floats(&[], &[bound]));
            let (low, high) = (bound(low), bound(high));
            let inputs = [&*made, &low, &high];
            let given = if high.is_empty() { 2 } else { 3 };
            self.node("Clip", &inputs[..given], vec![], &name);
            self.graph.node.last_mut().into_iter().for_each(|clip| clip.doc_string = OF_RANGE.into());
            let shape = if maps { shape_of_maps(&tensor.shape)? } else { tensor.shape.clone() };
            let operator = operator.name.clone();
            self.unheld.push(Named { name: made, tensor: output, levels, shape, channels_first: maps, operator });
        }
        self.found(operator, output, name, maps, levels)
    }

    /// Renames what the last node made, if that is the tensor; the name that the tensor then has.
    fn called(&mut self, made: String, name: String) -> String {
        match self.graph.node.last_mut().filter(|node| node.output[0] == made) {
            Some(node) => {
                node.output[0].clone_from(&name);
                name
            }
            None => made,
        }
    }

    fn found(&mut self, operator: &Operator, output: usize, name: String, maps: bool, levels: Levels) -> Result<()> {
        let shape = &self.file.tensors[output].shape;
        let shape = if maps { shape_of_maps(shape)? } else { shape.clone() };
        self.levels[output] = Some(levels);
        let held = if maps { &mut self.maps } else { &mut self.plain };
        held[output] = Some(name.clone());
        self.named.push(Named {
            name,
            tensor: output,
            levels,
            shape,
            channels_first: maps,
            operator: operator.name.clone(),
        });
        Ok(())
    }

    /// As [`Writer::give`], of one output that may reach anywhere.
    fn give_any(&mut self, operator: &Operator, made: String, maps: bool, activation: i8) -> Result<()> {
        let output = *operator.outputs.first().context("no output")?;
        self.give(operator, output, made, maps, activation, (f32::MIN, f32::MAX))
    }

    /// As [`Writer::give`], of one output that lies where the first input does.
    fn give_same(&mut self, operator: &Operator, made: String, maps: bool, input: usize) -> Result<()> {
        let output = *operator.outputs.first().context("no output")?;
        let within = self.levels_of(input)?.reach();
        self.give(operator, output, made, maps, 0, within)
    }

    fn add(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let whole = |tensor: &usize| matches!(file.tensors[*tensor].kind, kind::INT32 | kind::INT64);
        if !operator.outputs.is_empty() && operator.outputs.iter().all(whole) {
            return Ok(());
        }
        match operator.code {
            code::CONV_2D | code::DEPTHWISE_CONV_2D => self.convolution(operator),
            code::FULLY_CONNECTED => self.fully_connected(operator),
            code::ADD => self.arithmetic(operator, "Add"),
            code::SUB => self.arithmetic(operator, "Sub"),
            code::MUL => self.arithmetic(operator, "Mul"),
            code::AVERAGE_POOL_2D | code::MAX_POOL_2D => self.pool(operator),
            code::MEAN => self.mean(operator),
            code::PAD | code::PADV2 => self.pad(operator),
            code::CONCATENATION => self.concatenation(operator),
            code::RESHAPE | code::SQUEEZE | code::EXPAND_DIMS => self.reshape(operator),
            code::SOFTMAX => self.softmax(operator),
            code::QUANTIZE | code::DEQUANTIZE => self.requantise(operator),
            code::TRANSPOSE => {
                let order: Vec<i64> = options::order(file, operator)?.into_iter().map(|axis| axis as i64).collect();
                let input = self.operand(operator, 0)?;
                let plain = self.plain(input)?;
                let made = self.op("Transpose", &[&plain], vec![ints("perm", &order)]);
                self.give_same(operator, made, false, input)
            }
            code::SPLIT | code::SPLIT_V => self.split(operator),
            code::SLICE | code::STRIDED_SLICE => self.slice(operator),
            code::RESIZE_BILINEAR | code::RESIZE_NEAREST_NEIGHBOR => self.resize(operator),
            _ => self.function(operator),
        }
    }

    fn convolution(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let depthwise = operator.code == code::DEPTHWISE_CONV_2D;
        let (input, weights) = (self.operand(operator, 0)?, file.input(operator, 1)?);
        let [_, height, width, channels] = file.tensors[input].shape[..] else { bail!("expected 4 axes") };
        let [first, tall, wide, last] = weights.shape[..] else { bail!("expected weights of 4 axes") };
        let outputs = if depthwise { last } else { first };
        let later = usize::from(depthwise);
        let stride = [operator.int(2, 0)?, operator.int(1, 0)?].map(|stride| stride as usize);
        let dilation = [operator.int(5 + later, 1)?, operator.int(4 + later, 1)?].map(|dilation| dilation as usize);
        let padding = operator.byte(0)?;
        let sides = [(height, tall, 0), (width, wide, 1)].map(|(length, taps, axis)| -> Result<(i64, i64)> {
            let (places, before) = options::window(length, taps, stride[axis], dilation[axis], padding)?;
            let needed = (places - 1) * stride[axis] + (taps - 1) * dilation[axis] + 1;
            Ok((before as i64, needed.saturating_sub(length + before) as i64))
        });
        let [rows, columns] = sides;
        let ((top, bottom), (left, right)) = (rows?, columns?);
        let from = self.levels_of(input)?;
        let steps = WeightSteps::of(weights, if depthwise { 3 } else { 0 }, outputs)?;
        let bytes = weights.bytes()?;
        // From taps and channels last to channels first: outputs x inputs of a group x rows x columns.
        let depth = if depthwise { 1 } else { last };
        let mut kernel = vec![0f32; bytes.len()];
        for (at, q) in bytes.into_iter().enumerate() {
            let (channel, inner, tap) = if depthwise {
                (at % last, 0, at / last)
            } else {
                (at / (tall * wide * last), at % last, at / last % (tall * wide))
            };
            kernel[(channel * depth + inner) * tall * wide + tap] = steps.real(q, channel);
        }
        let kernel = self.floats(&[outputs, depth, tall, wide], &kernel);
        let maps = self.maps(input)?;
        let bias =
            self.bias(operator, outputs, |channel| f64::from(from.steps.scale) * f64::from(steps.scale(channel)))?;
        let inputs: Vec<&str> = [&maps, &kernel].into_iter().chain(&bias).map(String::as_str).collect();
        let long = |pair: [usize; 2]| pair.map(|length| length as i64);
        let attributes = vec![
            ints("kernel_shape", &long([tall, wide])),
            ints("strides", &long(stride)),
            ints("dilations", &long(dilation)),
            ints("pads", &[top, left, bottom, right]),
            int("group", (channels / depth) as i64),
        ];
        let made = self.op("Conv", &inputs, attributes);
        self.give_any(operator, made, true, operator.byte(3 + later)?)
    }

    fn bias(&mut self, operator: &Operator, outputs: usize, scale: impl Fn(usize) -> f64) -> Result<Option<String>> {
        let Some(bias) = operator.inputs.get(2).copied().flatten() else { return Ok(None) };
        let values = self.file.tensors[bias].counts()?;
        let values: Vec<f32> =
            values.into_iter().enumerate().map(|(channel, q)| (q as f64 * scale(channel)) as f32).collect();
        Ok(Some(self.floats(&[outputs], &values)))
    }

    fn fully_connected(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, weights) = (self.operand(operator, 0)?, file.input(operator, 1)?);
        let [outputs, inputs] = weights.shape[..] else { bail!("expected weights of 2 axes") };
        let rows = file.tensors[input].numbers() / inputs;
        let from = self.levels_of(input)?;
        let steps = WeightSteps::of(weights, 0, outputs)?;
        let numbers: Vec<f32> =
            weights.bytes()?.into_iter().enumerate().map(|(at, q)| steps.real(q, at / inputs)).collect();
        let matrix = self.floats(&[outputs, inputs], &numbers);
        let mut at = self.plain(input)?;
        if file.tensors[input].shape != [rows, inputs] {
            at = self.reshaped(&at, &[rows, inputs]);
        }
        let bias =
            self.bias(operator, outputs, |channel| f64::from(from.steps.scale) * f64::from(steps.scale(channel)))?;
        let given: Vec<&str> = [&at, &matrix].into_iter().chain(&bias).map(String::as_str).collect();
        let mut made = self.op("Gemm", &given, vec![int("transB", 1)]);
        let shape = &file.output(operator)?.shape;
        if *shape != [rows, outputs] {
            made = self.reshaped(&made, shape);
        }
        self.give_any(operator, made, false, operator.byte(0)?)
    }

    fn arithmetic(&mut self, operator: &Operator, op: &str) -> Result<()> {
        let (first, second) = (self.operand(operator, 0)?, self.operand(operator, 1)?);
        let constant = |writer: &Self, tensor: usize| writer.maps[tensor].is_none() && writer.plain[tensor].is_none();
        let fits = |writer: &Self, tensor: usize| constant(writer, tensor) || writer.is_maps(tensor);
        let maps = self.file.output(operator)?.shape.len() == 4
            && fits(self, first)
            && fits(self, second)
            && !(constant(self, first) && constant(self, second));
        let (a, b) =
            if maps { (self.maps(first)?, self.maps(second)?) } else { (self.plain(first)?, self.plain(second)?) };
        let made = self.op(op, &[&a, &b], vec![]);
        self.give_any(operator, made, maps, operator.byte(0)?)
    }

    fn pool(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let [_, height, width, _] = self.file.tensors[input].shape[..] else { bail!("expected 4 axes") };
        let stride = [operator.int(2, 0)?, operator.int(1, 0)?].map(|stride| stride as usize);
        let size = [operator.int(4, 0)?, operator.int(3, 0)?].map(|size| size as usize);
        let padding = operator.byte(0)?;
        let mut pads = [0i64; 4];
        for (axis, length) in [height, width].into_iter().enumerate() {
            let (places, before) = options::window(length, size[axis], stride[axis], 1, padding)?;
            let needed = (places - 1) * stride[axis] + size[axis];
            pads[axis] = before as i64;
            pads[axis + 2] = needed.saturating_sub(length + before) as i64;
        }
        let maps = self.maps(input)?;
        let attributes = vec![
            ints("kernel_shape", &size.map(|length| length as i64)),
            ints("strides", &stride.map(|length| length as i64)),
            ints("pads", &pads),
        ];
        let op = if operator.code == code::MAX_POOL_2D { "MaxPool" } else { "AveragePool" };
        let made = self.op(op, &[&maps], attributes);
        let output = *operator.outputs.first().context("no output")?;
        let within = self.levels_of(input)?.reach();
        self.give(operator, output, made, true, operator.byte(5)?, within)
    }

    fn mean(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let (found, output) = (&self.file.tensors[input], self.file.output(operator)?);
        let axes = options::axes(self.file.input(operator, 1)?, found.shape.len())?;
        let keep = output.shape.len() == found.shape.len();
        // A mean over all places of a picture leaves batch and channels, in either order of the axes.
        let maps = self.is_maps(input) && (keep || axes == [1, 2]);
        let (from, axes) = if maps {
            (self.maps(input)?, axes.into_iter().map(axis_of_maps).collect::<Vec<_>>())
        } else {
            (self.plain(input)?, axes)
        };
        let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
        let made = self.op("ReduceMean", &[&from], vec![ints("axes", &axes), int("keepdims", i64::from(keep))]);
        self.give_same(operator, made, maps && keep, input)
    }

    fn pad(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let levels = Levels::of(self.file.output(operator)?)?;
        let value = match operator.inputs.get(2).copied().flatten() {
            Some(value) => {
                *levels.reals(&self.file.tensors[value].bytes()?).first().context("no number to pad with")?
            }
            None => 0.0,
        };
        let pairs = options::paddings(self.file, operator)?;
        let maps = self.is_maps(input);
        let (from, order) = if maps {
            (self.maps(input)?, vec![0, 3, 1, 2])
        } else {
            (self.plain(input)?, (0..pairs.len()).collect::<Vec<_>>())
        };
        let before = order.iter().map(|axis| pairs[*axis].0 as i64);
        let pads: Vec<i64> = before.chain(order.iter().map(|axis| pairs[*axis].1 as i64)).collect();
        let (pads, value) = (self.integers(&pads), self.floats(&[], &[value]));
        let made = self.op("Pad", &[&from, &pads, &value], vec![]);
        self.give_same(operator, made, maps, input)
    }

    fn concatenation(&mut self, operator: &Operator) -> Result<()> {
        let inputs: Vec<usize> = operator.inputs.iter().copied().flatten().collect();
        let rank = self.file.output(operator)?.shape.len();
        let axis = options::axis_of(operator.int(0, 0)?.into(), rank)?;
        let maps = inputs.iter().all(|input| self.is_maps(*input));
        let names: Vec<String> = inputs
            .iter()
            .map(|input| if maps { self.maps(*input) } else { self.plain(*input) })
            .collect::<Result<_>>()?;
        let axis = if maps { axis_of_maps(axis) } else { axis };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let made = self.op("Concat", &names, vec![int("axis", axis as i64)]);
        let output = *operator.outputs.first().context("no output")?;
        let mut within = self.levels_of(*inputs.first().context("no input")?)?.reach();
        for input in inputs {
            let (low, high) = self.levels_of(input)?.reach();
            within = (within.0.min(low), within.1.max(high));
        }
        self.give(operator, output, made, maps, 0, within)
    }

    fn reshape(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let (found, output) = (&self.file.tensors[input], self.file.output(operator)?);
        // One position: both orders of the axes are the same numbers in the same order.
        let single = found.shape.len() == 4 && found.shape[1] * found.shape[2] == 1;
        let from = match &self.maps[input] {
            Some(maps) if single => maps.clone(),
            _ => self.plain(input)?,
        };
        let maps = output.shape.len() == 4 && output.shape[1] * output.shape[2] == 1;
        let shape = if maps { shape_of_maps(&output.shape)? } else { output.shape.clone() };
        let made = self.reshaped(&from, &shape);
        self.give_same(operator, made, maps, input)
    }

    fn softmax(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let mut from = self.plain(input)?;
        let beta = operator.float(0)?;
        if beta != 1.0 {
            let beta = self.floats(&[], &[beta]);
            from = self.op("Mul", &[&from, &beta], vec![]);
        }
        let output = *operator.outputs.first().context("no output")?;
        let name = self.name(output);
        self.node("Softmax", &[&from], vec![int("axis", -1)], &name);
        let levels = Levels::of(&self.file.tensors[output])?;
        self.found(operator, output, name, false, levels)
    }

    fn requantise(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.operand(operator, 0)?, *operator.outputs.first().context("no output")?);
        let maps = self.maps[input].is_some();
        let from = if maps { self.maps(input)? } else { self.plain(input)? };
        if output == self.picture {
            let levels = Levels::of(&self.file.tensors[output])?;
            self.in_range(&from, levels, &picture());
            self.levels[output] = Some(levels);
            let place = if maps { &mut self.maps } else { &mut self.plain };
            place[output] = Some(picture());
            return Ok(());
        }
        if self.file.tensors[output].kind == kind::FLOAT {
            let (name, levels) = (self.name(output), self.levels_of(input)?);
            self.node("Identity", &[&from], vec![], &name);
            self.found(operator, output, name, maps, levels)?;
            return Ok(());
        }
        let made = self.op("Identity", &[&from], vec![]);
        self.give_same(operator, made, maps, input)
    }

    fn function(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let maps = self.is_maps(input);
        let from = if maps { self.maps(input)? } else { self.plain(input)? };
        let one = |alpha: f32| AttributeProto { f: alpha, ..attribute("alpha", AttributeType::Float) };
        let (least, most) = self.levels_of(input)?.reach();
        // What 1 is rounded to.
        let (_, largest) = Levels::of(self.file.output(operator)?)?.reach();
        let (made, activation, within) = match operator.code {
            // What is held to a range gets a name of its own: others may read what it was made of.
            code::RELU => (self.op("Identity", &[&from], vec![]), 1, (least, most)),
            code::RELU6 => (self.op("Identity", &[&from], vec![]), 3, (least, most)),
            code::RELU_N1_TO_1 => (self.op("Identity", &[&from], vec![]), 2, (least, most)),
            code::LEAKY_RELU => {
                (self.op("LeakyRelu", &[&from], vec![one(operator.float(0)?)]), 0, (f32::MIN, f32::MAX))
            }
            code::LOGISTIC => (self.op("Sigmoid", &[&from], vec![]), 0, (0.0, largest)),
            code::TANH => (self.op("Tanh", &[&from], vec![]), 0, (-1.0, largest)),
            code::HARD_SWISH => {
                let [three, zero, six] = [3.0, 0.0, 6.0].map(|number| self.floats(&[], &[number]));
                let moved = self.op("Add", &[&from, &three], vec![]);
                let held = self.op("Clip", &[&moved, &zero, &six], vec![]);
                let share = self.op("Div", &[&held, &six], vec![]);
                (self.op("Mul", &[&from, &share], vec![]), 0, (-0.375, most.max(0.0)))
            }
            _ => bail!("this operator is not known"),
        };
        let output = *operator.outputs.first().context("no output")?;
        self.give(operator, output, made, maps, activation, within)
    }

    fn cut(&mut self, tensor: &str, cuts: &[(usize, i64, i64, i64)]) -> String {
        let list = |of: fn(&(usize, i64, i64, i64)) -> i64| cuts.iter().map(of).collect::<Vec<_>>();
        let starts = self.integers(&list(|cut| cut.1));
        let ends = self.integers(&list(|cut| cut.2));
        let axes = self.integers(&list(|cut| cut.0 as i64));
        let steps = self.integers(&list(|cut| cut.3));
        self.op("Slice", &[tensor, &starts, &ends, &axes, &steps], vec![])
    }

    fn split(&mut self, operator: &Operator) -> Result<()> {
        let (input, axis) = options::split_axis(self.file, operator)?;
        let maps = self.is_maps(input);
        let (from, along) = if maps { (self.maps(input)?, axis_of_maps(axis)) } else { (self.plain(input)?, axis) };
        let within = self.levels_of(input)?.reach();
        let mut at = 0;
        for &output in &operator.outputs {
            let length = self.file.tensors[output].shape[axis] as i64;
            let made = self.cut(&from, &[(along, at, at + length, 1)]);
            at += length;
            self.give(operator, output, made, maps, 0, within)?;
        }
        Ok(())
    }

    fn slice(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let output = self.file.output(operator)?;
        let block = options::block(self.file, operator)?;
        let maps = self.is_maps(input) && output.shape.len() == 4;
        let from = if maps { self.maps(input)? } else { self.plain(input)? };
        let cuts: Vec<(usize, i64, i64, i64)> = block
            .iter()
            .enumerate()
            .map(|(axis, &(start, step, size))| {
                let (start, step) = (start as i64, step as i64);
                let end = start + step * size as i64;
                // Behind the first number, backwards.
                (if maps { axis_of_maps(axis) } else { axis }, start, if end < 0 { i64::MIN + 1 } else { end }, step)
            })
            .collect();
        let mut made = self.cut(&from, &cuts);
        if block.len() != output.shape.len() {
            made = self.reshaped(&made, &output.shape);
        }
        self.give_same(operator, made, maps, input)
    }

    fn resize(&mut self, operator: &Operator) -> Result<()> {
        let input = self.operand(operator, 0)?;
        let bilinear = operator.code == code::RESIZE_BILINEAR;
        let first = if bilinear { 2 } else { 0 };
        let (align, half) = (operator.flag(first)?, operator.flag(first + 1)?);
        let maps = self.maps(input)?;
        let sizes: Vec<i64> =
            shape_of_maps(&self.file.output(operator)?.shape)?.into_iter().map(|length| length as i64).collect();
        let sizes = self.integers(&sizes);
        let places = if align {
            "align_corners"
        } else if half {
            "half_pixel"
        } else {
            "asymmetric"
        };
        let mode = if bilinear { "linear" } else { "nearest" };
        // The nearest of half pixels is the one that a centre lies in.
        let nearest = if align || half { "round_prefer_ceil" } else { "floor" };
        let attributes =
            vec![word("coordinate_transformation_mode", places), word("mode", mode), word("nearest_mode", nearest)];
        let made = self.op("Resize", &[&maps, "", "", &sizes], attributes);
        self.give_same(operator, made, true, input)
    }

    fn finish(mut self) -> Result<Float> {
        for &output in &self.file.outputs {
            let found = self.named.iter().find(|named| named.tensor == output).with_context(|| {
                format!("output \"{}\" is not computed from the picture", self.file.tensors[output].short_name())
            })?;
            self.graph.output.push(described(&found.name, &found.shape));
        }
        let model = ModelProto {
            ir_version: 8,
            producer_name: "TensorFlow Lite".into(),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            graph: Some(self.graph),
            ..Default::default()
        };
        Ok(Float { onnx: model.encode_to_vec(), tensors: self.named, unheld: self.unheld })
    }
}
