//! Operators on integers: operators on the numbers that the integers stand for, between `QuantizeLinear` -> `DequantizeLinear` pairs.
//!
//! What comes out has pairs on activations only where an integer device rounds: [`super::super::quantised`] makes clamps or roundings of them.

use super::MADE;
use super::edit::{Asked, Constants, Emit, float, int, rewrite};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Operators that move integers, which work as well on the numbers that they stand for.
const MOVES: [&str; 16] = [
    "Reshape",
    "Pad",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Identity",
    "Slice",
    "Gather",
    "MaxPool",
    "Expand",
    "Tile",
    "Split",
    "DepthToSpace",
    "SpaceToDepth",
    "Resize",
];

/// Scale and zero point of a tensor of integers, by name; no zero point is zero.
#[derive(Clone, PartialEq)]
struct Meaning {
    scale: String,
    zero: Option<String>,
    axis: Option<i64>,
    /// Whether the tensor holds the numbers themselves by now, rounded.
    carried: bool,
}

type Meanings = HashMap<String, Meaning>;

/// Rewrites the graph.
pub fn make_pairs(graph: &mut GraphProto, opset: i64) -> Result<()> {
    let mut meanings = Meanings::new();
    let mut dynamic: HashMap<String, ()> = HashMap::new();
    rewrite(graph, opset, |node, constants, emit| {
        // Tensors of one and the same quantisation keep their meaning; the order of a graph's nodes is that of its tensors.
        let found = rewritten(node, constants, emit, &mut meanings, &mut dynamic)?;
        Ok(found)
    })?;
    outputs(graph, &meanings, opset);
    Ok(())
}

fn rewritten(
    node: &NodeProto,
    constants: &Constants,
    emit: &mut Emit,
    meanings: &mut Meanings,
    dynamic: &mut HashMap<String, ()>,
) -> Result<bool> {
    let op = node.op_type.as_str();
    match op {
        "QuantizeLinear" => {
            let mut meaning = Meaning {
                scale: node.needed(1)?.into(),
                zero: node.given(2).map(str::to_owned),
                axis: node.attribute("axis").map(|axis| axis.i),
                carried: false,
            };
            meaning.carried = !is_bytes(&meaning, node, constants);
            if meaning.carried {
                rounding(node, node.needed(0)?, &meaning, constants, emit, node.out()?)?;
            }
            let carried = meaning.carried;
            meanings.insert(node.out()?.into(), meaning);
            return Ok(carried);
        }
        "DequantizeLinear" => {
            let Some(meaning) = meanings.get(node.needed(0)?).filter(|meaning| meaning.carried) else {
                return Ok(false);
            };
            let (scale, zero) = (node.needed(1)?, node.given(2));
            let number = |name: Option<&str>| name.map_or(Ok(0.0), |name| constants.number(name));
            let same = constants.number(scale)? == constants.number(&meaning.scale)?
                && number(zero)? == number(meaning.zero.as_deref())?;
            ensure!(same, "its scale or zero point is not that of the tensor's integers");
            emit.rename(node.needed(0)?, node.out()?);
            return Ok(true);
        }
        "DynamicQuantizeLinear" => {
            // What is multiplied later is the product with the scale: a scale of one leaves the numbers what they are.
            let (one, zero) = (emit.number(1.0), emit.number(0.0));
            emit.op_to(DYNAMIC, &[node.needed(0)?], vec![], node.out()?);
            for (output, value) in node.output.iter().skip(1).zip([one, zero]) {
                emit.rename(&value, output);
            }
            dynamic.insert(node.out()?.into(), ());
            return Ok(true);
        }
        "MatMulInteger" | "ConvInteger" => return integer_product(node, constants, emit, dynamic),
        "MatMulIntegerToFloat" => {
            let product = scaled_product(node, [0, 2, 4], [1, 3, 5], meanings, emit)?;
            return finish(node, product, node.given(6), emit);
        }
        "DynamicQuantizeMatMul" => {
            let weights = real(node.needed(1)?, node.needed(2)?, node.given(3), Some(1), emit);
            let rounded = emit.op(DYNAMIC, &[node.needed(0)?], vec![]);
            let product = emit.op("MatMul", &[&rounded, &weights], vec![]);
            return finish(node, product, node.given(4), emit);
        }
        _ => (),
    }
    if let Some(first) = node.given(0).filter(|_| MOVES.contains(&op)) {
        let Some(meaning) =
            meanings.get(first).cloned().filter(|meaning| meaning.axis.is_none_or(|_| one(constants, &meaning.scale)))
        else {
            return Ok(false);
        };
        return moved(node, first, &meaning, constants, emit, meanings);
    }
    if op == "QGemm" && node.given(7).is_none() {
        return float_gemm(node, constants, emit, meanings);
    }
    let Some((number, meaning)) = quantised_operator(node, constants, emit, meanings)? else { return Ok(false) };
    rounding(node, &number, &meaning, constants, emit, node.out()?)?;
    meanings.insert(node.out()?.into(), meaning);
    Ok(true)
}

/// The rounding to integers whose range follows from the numbers themselves, as one operator of ours on floats.
pub const DYNAMIC: &str = "DecomcamDynamicRounding";
/// A pair of integers that tract has no operators for, as one operator of ours on floats.
pub const WIDE: &str = "DecomcamRounding";

fn one(constants: &Constants, name: &str) -> bool {
    constants.numbers(name).is_ok_and(|numbers| numbers.len() == 1)
}

/// The numbers that integers stand for.
fn real(tensor: &str, scale: &str, zero: Option<&str>, axis: Option<i64>, emit: &mut Emit) -> String {
    let mut inputs = vec![tensor, scale];
    inputs.extend(zero);
    emit.op("DequantizeLinear", &inputs, axis.map(|axis| int("axis", axis)).into_iter().collect())
}

/// The numbers that the integers of a tensor stand for, which may be there already.
fn number_of(tensor: &str, meaning: &Meaning, emit: &mut Emit) -> String {
    if meaning.carried {
        return tensor.to_owned();
    }
    real(tensor, &meaning.scale, meaning.zero.as_deref(), None, emit)
}

/// The type of the integers, and their smallest and largest.
fn integers_of(node: &NodeProto, zero: Option<&str>, constants: &Constants) -> (DataType, f32, f32) {
    let said = node.attribute("output_dtype").map(|kind| kind.i as i32).filter(|kind| *kind != 0);
    let kind = zero.and_then(|zero| constants.get(zero)).map(|tensor| tensor.data_type).or(said);
    let kind = kind.and_then(|kind| DataType::try_from(kind).ok()).unwrap_or(DataType::Uint8);
    let (low, high) = match kind {
        DataType::Int8 => (-128.0, 127.0),
        DataType::Int16 => (-32768.0, 32767.0),
        DataType::Uint16 => (0.0, 65535.0),
        DataType::Int4 => (-8.0, 7.0),
        DataType::Uint4 => (0.0, 15.0),
        _ => (0.0, 255.0),
    };
    (kind, low, high)
}

/// Bytes have operators of tract's own.
fn is_bytes(meaning: &Meaning, node: &NodeProto, constants: &Constants) -> bool {
    let (kind, ..) = integers_of(node, meaning.zero.as_deref(), constants);
    matches!(kind, DataType::Uint8 | DataType::Int8)
}

/// A number, rounded to integers and back.
fn rounding(
    node: &NodeProto,
    number: &str,
    meaning: &Meaning,
    constants: &Constants,
    emit: &mut Emit,
    to: &str,
) -> Result<()> {
    let (_, low, high) = integers_of(node, meaning.zero.as_deref(), constants);
    let scale = constants.number(&meaning.scale).context("expected one scale for the whole tensor")? as f32;
    let zero = meaning.zero.as_deref().map_or(Ok(0.0), |zero| constants.number(zero))? as f32;
    let attributes = vec![float("scale", scale), float("zero", zero), float("low", low), float("high", high)];
    emit.op_to(WIDE, &[number], attributes, to);
    Ok(())
}

/// Numbers move instead of their integers.
fn moved(
    node: &NodeProto,
    first: &str,
    meaning: &Meaning,
    constants: &Constants,
    emit: &mut Emit,
    meanings: &mut Meanings,
) -> Result<bool> {
    let number = number_of(first, meaning, emit);
    let mut inputs = vec![number.as_str()];
    inputs.extend(node.input.iter().skip(1).map(String::as_str));
    // What is put around a picture of integers is an integer, zero if nothing is said.
    let around = match node.op_type.as_str() {
        "Pad" if matches!(node.text("mode"), "" | "constant") => Some(padding(node, meaning, constants, emit)?),
        _ => None,
    };
    if let Some(around) = &around {
        inputs.resize(inputs.len().max(3), "");
        inputs[2] = around;
    }
    let outputs: Vec<String> = (0..node.output.len()).map(|at| format!("{MADE}{}/real/{at}", node.output[0])).collect();
    emit.op_to(&node.op_type, &inputs, node.attribute.clone(), &outputs[0]);
    if let Some(moved) = emit.nodes.last_mut() {
        moved.output.clone_from(&outputs);
    }
    for (output, number) in node.output.iter().zip(&outputs).filter(|(output, _)| !output.is_empty()) {
        let one = NodeProto { output: vec![output.clone()], ..node.clone() };
        rounding(&one, number, meaning, constants, emit, output)?;
        meanings.insert(output.clone(), Meaning { carried: true, ..meaning.clone() });
    }
    Ok(true)
}

/// The number that the integer stands for that a picture of integers is padded with.
fn padding(node: &NodeProto, meaning: &Meaning, constants: &Constants, emit: &mut Emit) -> Result<String> {
    let number = |name: Option<&str>| name.map_or(Ok(0.0), |name| constants.number(name));
    let (integer, zero) = (number(node.given(2))?, number(meaning.zero.as_deref())?);
    Ok(emit.number(((integer - zero) * constants.number(&meaning.scale)?) as f32))
}

/// A sum of products of integers, which its readers multiply with the scales.
fn integer_product(
    node: &NodeProto,
    constants: &Constants,
    emit: &mut Emit,
    dynamic: &HashMap<String, ()>,
) -> Result<bool> {
    let one = emit.number(1.0);
    let axis = i64::from(node.op_type == "MatMulInteger");
    let first = node.needed(0)?;
    let picture = if dynamic.contains_key(first) {
        first.to_owned()
    } else {
        let number = emit.op("Cast", &[first], vec![int("to", i64::from(DataType::Float as i32))]);
        match node.given(2) {
            Some(zero) => {
                let zero = emit.op("Cast", &[zero], vec![int("to", i64::from(DataType::Float as i32))]);
                emit.op("Sub", &[&number, &zero], vec![])
            }
            None => number,
        }
    };
    let many = node.given(3).and_then(|zero| constants.numbers(zero).ok()).map_or(1, |zeros| zeros.len());
    let scale = if many > 1 { emit.floats(&[many], &vec![1.0; many]) } else { one };
    let weights = if constants.get(node.needed(1)?).is_some() {
        real(node.needed(1)?, &scale, node.given(3), (many > 1).then_some(axis), emit)
    } else {
        let number = emit.op("Cast", &[node.needed(1)?], vec![int("to", i64::from(DataType::Float as i32))]);
        match node.given(3).filter(|_| !dynamic.contains_key(node.needed(1).unwrap_or(""))) {
            Some(zero) => {
                let zero = emit.op("Cast", &[zero], vec![int("to", i64::from(DataType::Float as i32))]);
                emit.op("Sub", &[&number, &zero], vec![])
            }
            None => number,
        }
    };
    let op = if node.op_type == "MatMulInteger" { "MatMul" } else { "Conv" };
    emit.op_to(op, &[&picture, &weights], node.attribute.clone(), node.out()?);
    Ok(true)
}

/// The numbers of an input of integers: tensor, scale and zero point are the inputs of these numbers.
fn input(
    node: &NodeProto,
    [tensor, scale, zero]: [usize; 3],
    axis: Option<i64>,
    meanings: &Meanings,
    emit: &mut Emit,
) -> Result<String> {
    let tensor = node.needed(tensor)?;
    if meanings.get(tensor).is_some_and(|meaning| meaning.carried) {
        return Ok(tensor.to_owned());
    }
    Ok(real(tensor, node.needed(scale)?, node.given(zero), axis, emit))
}

/// A matrix product of two tensors of integers.
fn scaled_product(
    node: &NodeProto,
    a: [usize; 3],
    b: [usize; 3],
    meanings: &Meanings,
    emit: &mut Emit,
) -> Result<String> {
    let (a, b) = (input(node, a, None, meanings, emit)?, input(node, b, Some(1), meanings, emit)?);
    Ok(emit.op("MatMul", &[&a, &b], vec![]))
}

fn gemm(node: &NodeProto, constants: &Constants, emit: &mut Emit, meanings: &Meanings) -> Result<String> {
    let a = input(node, [0, 1, 2], None, meanings, emit)?;
    let axis = 1 - node.int("transB", 0);
    let b = real(node.needed(3)?, node.needed(4)?, node.given(5), Some(axis), emit);
    let mut inputs = vec![a, b];
    if let Some(bias) = node.given(6) {
        inputs.push(real_bias(bias, node.needed(1)?, node.needed(4)?, constants, emit)?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(emit.op("Gemm", &inputs, node.attribute.clone()))
}

/// A Gemm whose output is not rounded.
fn float_gemm(node: &NodeProto, constants: &Constants, emit: &mut Emit, meanings: &Meanings) -> Result<bool> {
    let product = gemm(node, constants, emit, meanings)?;
    emit.rename(&product, node.out()?);
    Ok(true)
}

fn finish(node: &NodeProto, product: String, bias: Option<&str>, emit: &mut Emit) -> Result<bool> {
    match bias {
        Some(bias) => emit.op_to("Add", &[&product, bias], vec![], node.out()?),
        None => emit.rename(&product, node.out()?),
    }
    Ok(true)
}

/// The number that an operator on integers computes, and what its output's integers stand for.
fn quantised_operator(
    node: &NodeProto,
    constants: &Constants,
    emit: &mut Emit,
    meanings: &Meanings,
) -> Result<Option<(String, Meaning)>> {
    let meaning = |scale: usize| -> Result<Meaning> {
        let (scale, zero) = (node.needed(scale)?.into(), node.given(scale + 1).map(str::to_owned));
        Ok(Meaning { scale, zero, axis: None, carried: true })
    };
    let input = |at: usize, emit: &mut Emit| input(node, [at, at + 1, at + 2], None, meanings, emit);
    let found = match node.op_type.as_str() {
        "QLinearConv" => {
            let mut picture = input(0, emit)?;
            let is_last = node.int("channels_last", 0) == 1;
            if is_last {
                picture = emit.transpose(&picture, &[0, 3, 1, 2]);
            }
            let weights = real(node.needed(3)?, node.needed(4)?, node.given(5), Some(0), emit);
            let mut inputs = vec![picture, weights];
            if let Some(bias) = node.given(8) {
                inputs.push(real_bias(bias, node.needed(1)?, node.needed(4)?, constants, emit)?);
            }
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let mut number = emit.op("Conv", &inputs, node.attributes_but(&["channels_last"]));
            if is_last {
                number = emit.transpose(&number, &[0, 2, 3, 1]);
            }
            (number, meaning(6)?)
        }
        "QLinearMatMul" => (scaled_product(node, [0, 1, 2], [3, 4, 5], meanings, emit)?, meaning(6)?),
        "QGemm" => (gemm(node, constants, emit, meanings)?, meaning(7)?),
        "QLinearAdd" | "QLinearMul" => {
            let (a, b) = (input(0, emit)?, input(3, emit)?);
            (emit.op(&node.op_type["QLinear".len()..], &[&a, &b], vec![]), meaning(6)?)
        }
        "QLinearConcat" => {
            let mut numbers = Vec::new();
            for at in (2..node.input.len()).step_by(3) {
                numbers.push(input(at, emit)?);
            }
            let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
            (emit.op("Concat", &numbers, node.attribute.clone()), meaning(0)?)
        }
        "QLinearWhere" => {
            let (a, b) = (input(1, emit)?, input(4, emit)?);
            (emit.op("Where", &[node.needed(0)?, &a, &b], vec![]), meaning(7)?)
        }
        "QLinearAveragePool"
        | "QLinearGlobalAveragePool"
        | "QLinearSigmoid"
        | "QLinearLeakyRelu"
        | "QLinearSoftmax"
        | "QLinearReduceMean" => {
            let is_last = node.int("channels_last", 0) == 1;
            let mut number = input(0, emit)?;
            if is_last {
                number = emit.transpose(&number, &[0, 3, 1, 2]);
            }
            let attributes = node.attributes_but(&["channels_last", "opset"]);
            number = emit.op(&node.op_type["QLinear".len()..], &[&number], attributes);
            if is_last {
                number = emit.transpose(&number, &[0, 2, 3, 1]);
            }
            (number, meaning(3)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

/// A bias counts in products of the two scales.
fn real_bias(bias: &str, a: &str, b: &str, constants: &Constants, emit: &mut Emit) -> Result<String> {
    let (bias, a, b) = (constants.numbers(bias)?, constants.number(a)?, constants.numbers(b)?);
    let values: Vec<f32> =
        bias.iter().enumerate().map(|(at, bias)| (bias * a * b[at % b.len().max(1)]) as f32).collect();
    Ok(emit.floats(&[values.len()], &values))
}

/// Outputs of integers that stand for numbers become these.
fn outputs(graph: &mut GraphProto, meanings: &HashMap<String, Meaning>, opset: i64) {
    let names: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    for name in names {
        let Some(meaning) = meanings.get(&name) else { continue };
        if !graph.node.iter().any(|node| node.output.contains(&name) && node.op_type == "QuantizeLinear") {
            continue;
        }
        let integers = format!("{MADE}{name}/integers");
        for node in &mut graph.node {
            for tensor in node.input.iter_mut().chain(&mut node.output).filter(|tensor| **tensor == name) {
                tensor.clone_from(&integers);
            }
        }
        let mut emit = Emit::instead_of(&NodeProto { name: format!("{name}.real"), ..Default::default() }, opset);
        let mut inputs = vec![integers.as_str(), &meaning.scale];
        inputs.extend(meaning.zero.as_deref());
        emit.op_to("DequantizeLinear", &inputs, vec![], &name);
        graph.node.append(&mut emit.nodes);
    }
}
