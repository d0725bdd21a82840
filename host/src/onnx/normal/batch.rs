//! Networks whose batch is fixed at several pictures take one, where each picture has an answer of its own.

use super::MADE;
use super::edit::{Constants, floats};
use super::picture::Picture;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto, type_proto};

/// Operators that take the lengths of their output's axes, and which input those are.
const SHAPED: [(&str, usize); 4] = [("Reshape", 1), ("Expand", 1), ("ConstantOfShape", 0), ("Resize", 3)];

/// Operators that put a constant beside a batch.
const BESIDE: [&str; 6] = ["Concat", "Add", "Sub", "Mul", "Div", "Where"];

/// Makes the batch one picture, if the file fixes another number and every output has a row for each.
pub fn free(graph: &mut GraphProto) {
    let Ok(picture) = Picture::of(graph) else { return };
    let batch = picture.batch;
    let per_picture = |output: &ValueInfoProto| first_length(output) == Some(batch as i64);
    if batch <= 1 || graph.output.is_empty() || !graph.output.iter().all(per_picture) {
        return;
    }
    let mut replaced: HashMap<(usize, usize), TensorProto> = HashMap::new();
    let constants = Constants::of(graph);
    for (at, node) in graph.node.iter().enumerate() {
        for (slot, name) in node.input.iter().enumerate() {
            let Some(tensor) = constants.get(name) else { continue };
            let one = if SHAPED.contains(&(node.op_type.as_str(), slot)) {
                lengths_of_one(&constants, name, batch)
            } else if BESIDE.contains(&node.op_type.as_str()) {
                first_of_equal(tensor, &constants, name, batch)
            } else {
                None
            };
            if let Some(tensor) = one {
                replaced.insert((at, slot), tensor);
            }
        }
    }
    for ((at, slot), mut tensor) in replaced {
        tensor.name = format!("{MADE}one picture/{at}/{slot}");
        graph.node[at].input[slot].clone_from(&tensor.name);
        graph.initializer.push(tensor);
    }
    let names: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).chain([picture.name]).collect();
    for info in graph.input.iter_mut().chain(&mut graph.output).filter(|info| names.contains(&info.name)) {
        set_first_length(info, 1);
    }
}

/// Lengths of axes, the first of which is that of the batch.
fn lengths_of_one(constants: &Constants, name: &str, batch: usize) -> Option<TensorProto> {
    let mut lengths: Vec<i64> = constants.numbers(name).ok()?.iter().map(|length| *length as i64).collect();
    if lengths.len() < 2 || lengths[0] != batch as i64 {
        return None;
    }
    lengths[0] = 1;
    Some(TensorProto {
        dims: vec![lengths.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: lengths.iter().flat_map(|length| length.to_le_bytes()).collect(),
        ..Default::default()
    })
}

/// What is repeated for every picture of the batch, once: a class token, say.
fn first_of_equal(tensor: &TensorProto, constants: &Constants, name: &str, batch: usize) -> Option<TensorProto> {
    let is_float = DataType::try_from(tensor.data_type).is_ok_and(|kind| kind == DataType::Float);
    if !is_float || tensor.dims.len() < 2 || tensor.dims[0] != batch as i64 {
        return None;
    }
    let values = constants.floats(name).ok()?;
    let length = values.len() / batch;
    if length == 0 || !values.chunks(length).all(|chunk| chunk == &values[..length]) {
        return None;
    }
    let dims: Vec<usize> = [1].into_iter().chain(tensor.dims[1..].iter().map(|length| *length as usize)).collect();
    Some(floats(&dims, &values[..length]))
}

fn first_length(info: &ValueInfoProto) -> Option<i64> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
    match tensor.shape.as_ref()?.dim.first()?.value {
        Some(dimension::Value::DimValue(length)) => Some(length),
        _ => None,
    }
}

fn set_first_length(info: &mut ValueInfoProto, length: i64) {
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_mut().and_then(|kind| kind.value.as_mut()) else {
        return;
    };
    if let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut()) {
        first.value = Some(dimension::Value::DimValue(length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{NodeProto, TensorShapeProto, TypeProto};

    fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
        let axis = |length: &i64| tract_onnx::pb::tensor_shape_proto::Dimension {
            value: Some(dimension::Value::DimValue(*length)),
            ..Default::default()
        };
        let shape = Some(TensorShapeProto { dim: shape.iter().map(axis).collect() });
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
    }

    fn node(op: &str, input: &[&str], output: &str) -> NodeProto {
        let input = input.iter().map(|name| (*name).to_owned()).collect();
        NodeProto { op_type: op.into(), input, output: vec![output.into()], ..Default::default() }
    }

    /// Two pictures become tokens behind a class token.
    fn graph(outputs: i64, token: &[f32]) -> GraphProto {
        let named = |tensor: TensorProto, name: &str| TensorProto { name: name.into(), ..tensor };
        let shape = [2i64, 12, 1];
        let shape = TensorProto {
            dims: vec![3],
            data_type: DataType::Int64 as i32,
            raw_data: shape.iter().flat_map(|length| length.to_le_bytes()).collect(),
            ..Default::default()
        };
        GraphProto {
            input: vec![value("image", &[2, 3, 2, 2])],
            output: vec![value("y", &[outputs, 13, 1])],
            initializer: vec![named(shape, "shape"), named(floats(&[2, 1, 1], token), "token")],
            node: vec![node("Reshape", &["image", "shape"], "tokens"), node("Concat", &["token", "tokens"], "y")],
            ..Default::default()
        }
    }

    #[test]
    fn a_fixed_batch_becomes_one_picture() {
        let mut freed = graph(2, &[0.5, 0.5]);
        free(&mut freed);
        let constants = Constants::of(&freed);
        assert_eq!(constants.numbers(&freed.node[0].input[1]).unwrap(), [1.0, 12.0, 1.0]);
        assert_eq!(constants.get(&freed.node[1].input[0]).unwrap().dims, [1, 1, 1]);
        assert_eq!((first_length(&freed.input[0]), first_length(&freed.output[0])), (Some(1), Some(1)));
    }

    #[test]
    fn a_batch_that_is_one_answer_stays() {
        let mut one = graph(1, &[0.5, 0.5]);
        free(&mut one);
        assert_eq!(one, graph(1, &[0.5, 0.5]));
        let mut different = graph(2, &[0.5, 0.25]);
        free(&mut different);
        assert_eq!(different.node[1].input[0], "token");
    }
}
