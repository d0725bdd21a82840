//! Attention as one operator, of ONNX 23 and 24 and of ONNX Runtime: products, a softmax, and products.

use super::edit::{Asked, Constants, Emit, int, rewrite};
use super::fused::SWAP;
use super::inputs::in_words;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, type_proto};

/// Added where nothing may be seen.
const NOT_SEEN: f32 = -1e30;

/// Rewrites the graph.
pub fn expand(graph: &mut GraphProto, opset: i64) -> Result<()> {
    let (ranks, masks) = (ranks(graph), masks(graph));
    rewrite(graph, opset, |node, constants, emit| match (node.domain.as_str(), node.op_type.as_str()) {
        ("com.microsoft", "Attention" | "QAttention") => packed(node, constants, emit),
        (_, "Attention") => standard(node, &masks, emit),
        (_, "MultiHeadAttention") => several_heads(node, emit),
        (_, "RotaryEmbedding") => rotary(node, constants, ranks.get(node.needed(0)?).copied(), emit),
        _ => Ok(false),
    })
}

/// What attends to what, and how.
struct Heads<'a> {
    /// Batch x heads x positions x numbers of a head.
    query: String,
    key: String,
    value: String,
    scale: Option<f32>,
    /// Added to what goes into the softmax.
    bias: Option<&'a str>,
    causal: bool,
}

/// softmax(Q K' scale + bias) V, of batch x heads x positions x numbers of a head.
fn attend(heads: Heads, emit: &mut Emit) -> String {
    let keys = emit.op(SWAP, &[&heads.key], vec![]);
    let products = emit.op("MatMul", &[&heads.query, &keys], vec![]);
    let scale = match heads.scale.filter(|scale| *scale != 0.0) {
        Some(scale) => emit.number(scale),
        None => {
            let length = length_of(&heads.query, 3, emit);
            let length = emit.op("Cast", &[&length], vec![int("to", 1)]);
            let root = emit.op("Sqrt", &[&length], vec![]);
            let one = emit.number(1.0);
            emit.op("Div", &[&one, &root], vec![])
        }
    };
    let mut scores = emit.op("Mul", &[&products, &scale], vec![]);
    if let Some(bias) = heads.bias {
        scores = emit.op("Add", &[&scores, bias], vec![]);
    }
    if heads.causal {
        let (rows, columns) = (length_of(&heads.query, 2, emit), length_of(&heads.key, 2, emit));
        let (rows, columns) = (emit.unsqueeze(&rows, &[0]), emit.unsqueeze(&columns, &[0]));
        let shape = emit.op("Concat", &[&rows, &columns], vec![int("axis", 0)]);
        let later = emit.number(NOT_SEEN);
        let all = emit.op("Expand", &[&later, &shape], vec![]);
        let one = emit.integer(1);
        let mask = emit.op("Trilu", &[&all, &one], vec![int("upper", 1)]);
        scores = emit.op("Add", &[&scores, &mask], vec![]);
    }
    let shares = emit.op("Softmax", &[&scores], vec![int("axis", -1)]);
    emit.op("MatMul", &[&shares, &heads.value], vec![])
}

fn length_of(tensor: &str, axis: i64, emit: &mut Emit) -> String {
    let shape = emit.op("Shape", &[tensor], vec![]);
    let axis = emit.integer(axis);
    emit.op("Gather", &[&shape, &axis], vec![int("axis", 0)])
}

/// Batch x positions x numbers becomes batch x heads x positions x numbers of a head.
fn split_heads(tensor: &str, heads: i64, emit: &mut Emit) -> String {
    let split = emit.reshape(tensor, &[0, 0, heads, -1]);
    emit.transpose(&split, &[0, 2, 1, 3])
}

fn join_heads(tensor: &str, emit: &mut Emit, to: &str) {
    let moved = emit.transpose(tensor, &[0, 2, 1, 3]);
    let shape = emit.integers(&[0, 0, -1]);
    emit.op_to("Reshape", &[&moved, &shape], vec![], to);
}

fn unused(node: &NodeProto, inputs: &[usize], outputs: &[usize]) -> Result<()> {
    for &at in inputs {
        ensure!(node.given(at).is_none(), "its input {at} is not supported; export without a cache of keys and values");
    }
    for &at in outputs {
        ensure!(
            node.output.get(at).is_none_or(String::is_empty),
            "its output {at} is not supported; export without a cache of keys and values"
        );
    }
    Ok(())
}

/// ONNX's own: three tensors of 3 or 4 axes.
fn standard(node: &NodeProto, masks: &HashSet<String>, emit: &mut Emit) -> Result<bool> {
    unused(node, &[4, 5, 6], &[1, 2, 3])?;
    ensure!(node.float("softcap", 0.0) == 0.0, "softcap is not supported");
    let (heads, shared) = (node.int("q_num_heads", 0), node.int("kv_num_heads", 0));
    ensure!(heads == shared, "keys that several heads share are not supported");
    let [query, key, value] = [0, 1, 2].map(|at| node.needed(at));
    let [query, key, value] = [query?, key?, value?]
        .map(|tensor| if heads > 0 { split_heads(tensor, heads, emit) } else { tensor.to_owned() });
    let bias = node.given(3).map(|mask| match masks.contains(mask) {
        true => {
            let (seen, hidden) = (emit.number(0.0), emit.number(NOT_SEEN));
            emit.op("Where", &[mask, &seen, &hidden], vec![])
        }
        false => mask.to_owned(),
    });
    let scale = node.attribute("scale").map(|scale| scale.f);
    let causal = node.int("is_causal", 0) == 1;
    let found = attend(Heads { query, key, value, scale, bias: bias.as_deref(), causal }, emit);
    if heads > 0 {
        join_heads(&found, emit, node.out()?)
    } else {
        emit.rename(&found, node.out()?)
    }
    Ok(true)
}

/// ONNX Runtime's with three tensors.
fn several_heads(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    unused(node, &[4, 6, 7], &[1, 2])?;
    let heads = node.int("num_heads", 0);
    ensure!(heads > 0, "expected num_heads");
    let (Some(key), Some(value)) = (node.given(1), node.given(2)) else {
        bail!(
            "queries, keys and values in one tensor are not supported; use the original file, or save it at the basic level"
        );
    };
    let mut tensors = [node.needed(0)?, key, value].map(str::to_owned);
    if let Some(bias) = node.given(3) {
        // The three biases lie one after the other, as long as the numbers of a position.
        let length = length_of(bias, 0, emit);
        let three = emit.integer(3);
        let third = emit.op("Div", &[&length, &three], vec![]);
        for (at, tensor) in tensors.iter_mut().enumerate() {
            let [from, to] = [at as i64, at as i64 + 1].map(|times| {
                let times = emit.integer(times);
                let bound = emit.op("Mul", &[&third, &times], vec![]);
                emit.unsqueeze(&bound, &[0])
            });
            let axis = emit.integers(&[0]);
            let part = emit.op("Slice", &[bias, &from, &to, &axis], vec![]);
            *tensor = emit.op("Add", &[tensor, &part], vec![]);
        }
    }
    let [query, key, value] = tensors.map(|tensor| split_heads(&tensor, heads, emit));
    let scale = node.attribute("scale").map(|scale| scale.f);
    let causal = node.int("unidirectional", 0) == 1;
    let found = attend(Heads { query, key, value, scale, bias: node.given(5), causal }, emit);
    join_heads(&found, emit, node.out()?);
    Ok(true)
}

/// ONNX Runtime's with one matrix for queries, keys and values.
fn packed(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let heads = node.int("num_heads", 0);
    ensure!(heads > 0, "expected num_heads");
    let quantised = node.op_type == "QAttention";
    let (input, weights, bias) = if quantised {
        unused(node, &[8], &[1])?;
        let [input, weights] = [[0, 3, 6], [1, 4, 7]].map(|[tensor, scale, zero]| -> Result<String> {
            let mut inputs = vec![node.needed(tensor)?, node.needed(scale)?];
            inputs.extend(node.given(zero));
            Ok(emit.op("DequantizeLinear", &inputs, vec![int("axis", 1)]))
        });
        (input?, weights?, node.given(2))
    } else {
        unused(node, &[4], &[1])?;
        (node.needed(0)?.to_owned(), node.needed(1)?.to_owned(), node.given(2))
    };
    ensure!(
        node.int("do_rotary", 0) == 0,
        "do_rotary is not supported; use the original file, or save it at the basic level"
    );
    let width = constants.get(node.needed(1)?).and_then(|weights| weights.dims.get(1).copied());
    let width = width.context("expected constant weights")?;
    let sizes = node.attribute("qkv_hidden_sizes").map(|sizes| sizes.ints.clone());
    let sizes = sizes.filter(|sizes| sizes.len() == 3).unwrap_or_else(|| vec![width / 3; 3]);
    let mut all = emit.op("MatMul", &[&input, &weights], vec![]);
    if let Some(bias) = bias {
        all = emit.op("Add", &[&all, bias], vec![]);
    }
    let mut start = 0;
    let mut parts = sizes.iter().map(|size| {
        let part = emit.slice(&all, 2, start, start + size);
        start += size;
        split_heads(&part, heads, emit)
    });
    let (Some(query), Some(key), Some(value)) = (parts.next(), parts.next(), parts.next()) else { bail!("no parts") };
    let scale = node.attribute("scale").map(|scale| scale.f);
    let causal = node.int("unidirectional", 0) == 1;
    let mut bias = if quantised { None } else { node.given(5).map(str::to_owned) };
    if let Some(mask) = node.given(if quantised { 5 } else { 3 }) {
        let hidden = node.float("mask_filter_value", -10_000.0);
        let mask = mask_of_keys(mask, &key, hidden, constants, emit)?;
        bias = Some(match bias {
            Some(bias) => emit.op("Add", &[&bias, &mask], vec![]),
            None => mask,
        });
    }
    let found = attend(Heads { query, key, value, scale, bias: bias.as_deref(), causal }, emit);
    join_heads(&found, emit, node.out()?);
    Ok(true)
}

/// What ONNX Runtime adds for a mask: nothing for keys that are seen, `hidden` for others.
fn mask_of_keys(mask: &str, key: &str, hidden: f32, constants: &Constants, emit: &mut Emit) -> Result<String> {
    let Some(tensor) = constants.get(mask) else {
        bail!("a mask that is computed is not supported; use the original file, or save it at the basic level");
    };
    let numbers = constants.numbers(mask)?;
    let added = |seen: bool| if seen { 0.0 } else { hidden };
    let lengths: Vec<usize> = tensor.dims.iter().map(|length| *length as usize).collect();
    let shape = match lengths[..] {
        // How many keys of the one input are seen.
        [1] => {
            let all = length_of(key, 2, emit);
            let (zero, one, seen) = (emit.integer(0), emit.integer(1), emit.integer(numbers[0] as i64));
            let places = emit.op("Range", &[&zero, &all, &one], vec![]);
            let is_seen = emit.op("Less", &[&places, &seen], vec![]);
            let (seen, hidden) = (emit.number(0.0), emit.number(hidden));
            return Ok(emit.op("Where", &[&is_seen, &seen, &hidden], vec![]));
        }
        [inputs, keys] => [inputs, 1, 1, keys],
        [inputs, queries, keys] => [inputs, 1, queries, keys],
        _ => bail!(
            "expected a mask of one length, of inputs x keys or of inputs x queries x keys, found one of {}; use the original file, or save it at the basic level",
            in_words(&lengths.iter().map(Some).collect::<Vec<_>>())
        ),
    };
    let numbers: Vec<f32> = numbers.into_iter().map(|number| added(number > 0.0)).collect();
    Ok(emit.floats(&shape, &numbers))
}

/// Tensors that say of places whether they may be seen.
fn masks(graph: &GraphProto) -> HashSet<String> {
    const BOOL: i64 = DataType::Bool as i64;
    let constants = Constants::of(graph);
    let weights = graph.initializer.iter().filter(|tensor| i64::from(tensor.data_type) == BOOL);
    let mut masks: HashSet<String> = weights.map(|tensor| tensor.name.clone()).collect();
    for node in &graph.node {
        let is_one = match node.op_type.as_str() {
            "Not" | "And" | "Or" | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"
            | "IsNaN" | "IsInf" => true,
            "Cast" => node.int("to", 0) == BOOL,
            "Constant" => node
                .output
                .iter()
                .any(|name| constants.get(name).is_some_and(|tensor| i64::from(tensor.data_type) == BOOL)),
            "Identity" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Expand" | "Slice" | "Gather" | "Tile"
            | "Concat" => node.input.first().is_some_and(|input| masks.contains(input)),
            _ => false,
        };
        if is_one {
            masks.extend(node.output.iter().cloned());
        }
    }
    masks
}

/// Number of axes of the tensors whose shapes the file declares.
fn ranks(graph: &GraphProto) -> HashMap<String, usize> {
    let declared = graph.input.iter().chain(&graph.value_info).filter_map(|info| {
        let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
        Some((info.name.clone(), tensor.shape.as_ref()?.dim.len()))
    });
    declared.collect()
}

/// Pairs of numbers turned by an angle of their position, of batch x heads x positions x numbers of a head, or of batch x positions x numbers.
///
/// ONNX takes cosines, sines and, if they are tables, positions; ONNX Runtime takes positions, and then tables.
fn rotary(node: &NodeProto, constants: &Constants, rank: Option<usize>, emit: &mut Emit) -> Result<bool> {
    let of_runtime = node.domain == "com.microsoft";
    let (positions, cos, sin) = if of_runtime { (Some(node.needed(1)?), 2, 3) } else { (node.given(3), 1, 2) };
    ensure!(node.int("is_packed_batching", 0) == 0, "packed batches are not supported");
    ensure!(node.float("scale", 1.0) == 1.0, "a scale of positions is not supported");
    let (heads, part) = (node.int("num_heads", 0), node.int("rotary_embedding_dim", 0));
    let input = node.needed(0)?;
    // ONNX asks for the number of heads where they are not an axis of their own. ONNX Runtime does not, and has them so where nothing else is said.
    let is_split = rank.map_or(!of_runtime && heads == 0, |rank| rank == 4);
    let whole = if is_split {
        input.to_owned()
    } else if heads > 0 {
        split_heads(input, heads, emit)
    } else {
        let table = constants.get(node.needed(cos)?).and_then(|table| table.dims.last());
        let half = table.context("expected tables of cosines that are constants, or the attribute num_heads")?;
        let split = emit.reshape(input, &[0, 0, -1, 2 * half]);
        emit.transpose(&split, &[0, 2, 1, 3])
    };
    let offset = positions.and_then(|positions| constants.get(positions)).is_some_and(|given| given.dims.len() == 1);
    let table = |at: usize, emit: &mut Emit| -> Result<String> {
        let table = node.needed(at)?;
        let Some(positions) = positions else { return Ok(emit.unsqueeze(table, &[1])) };
        if !offset {
            let rows = emit.op("Gather", &[table, positions], vec![int("axis", 0)]);
            return Ok(emit.unsqueeze(&rows, &[1]));
        }
        let first = constants.number(positions)? as i64;
        let length = length_of(&whole, 2, emit);
        let first = emit.integers(&[first]);
        let length = emit.unsqueeze(&length, &[0]);
        let end = emit.op("Add", &[&first, &length], vec![]);
        let axis = emit.integers(&[0]);
        let rows = emit.op("Slice", &[table, &first, &end, &axis], vec![]);
        Ok(emit.unsqueeze(&rows, &[0, 1]))
    };
    let (cos, sin) = (table(cos, emit)?, table(sin, emit)?);
    let pairs = if part > 0 { emit.slice(&whole, 3, 0, part) } else { whole.clone() };
    let interleaved = node.int("interleaved", 0) == 1;
    let (first, second) = if interleaved {
        let pairs = emit.reshape(&pairs, &[0, 0, 0, -1, 2]);
        let mut one = |at: i64| {
            let one = emit.slice(&pairs, 4, at, at + 1);
            emit.reshape(&one, &[0, 0, 0, -1])
        };
        (one(0), one(1))
    } else {
        let length = length_of(&pairs, 3, emit);
        let two = emit.integer(2);
        let half = emit.op("Div", &[&length, &two], vec![]);
        let (half, length) = (emit.unsqueeze(&half, &[0]), emit.unsqueeze(&length, &[0]));
        let (zero, axis) = (emit.integers(&[0]), emit.integers(&[3]));
        let first = emit.op("Slice", &[&pairs, &zero, &half, &axis], vec![]);
        (first, emit.op("Slice", &[&pairs, &half, &length, &axis], vec![]))
    };
    let mut product = |a: &str, b: &str| emit.op("Mul", &[a, b], vec![]);
    let (ac, bs, as_, bc) =
        (product(&first, &cos), product(&second, &sin), product(&first, &sin), product(&second, &cos));
    let real = emit.op("Sub", &[&ac, &bs], vec![]);
    let imaginary = emit.op("Add", &[&as_, &bc], vec![]);
    let mut turned = if interleaved {
        let (real, imaginary) = (emit.unsqueeze(&real, &[4]), emit.unsqueeze(&imaginary, &[4]));
        let pairs = emit.op("Concat", &[&real, &imaginary], vec![int("axis", 4)]);
        emit.reshape(&pairs, &[0, 0, 0, -1])
    } else {
        emit.op("Concat", &[&real, &imaginary], vec![int("axis", -1)])
    };
    if part > 0 {
        let rest = emit.slice(&whole, 3, part, i64::MAX);
        turned = emit.op("Concat", &[&turned, &rest], vec![int("axis", -1)]);
    }
    if is_split {
        emit.rename(&turned, node.out()?);
    } else {
        join_heads(&turned, emit, node.out()?);
    }
    Ok(true)
}
