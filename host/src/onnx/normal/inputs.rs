//! Inputs besides the picture or the tokens.

use super::MADE;
use super::edit::{int, ints};
use serde::Serialize;
use std::collections::HashSet;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// An input that gets the same number everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Constant {
    /// The input.
    pub input: String,
    /// The number.
    pub value: i64,
}

/// Makes every input but `main` a constant: ones for a mask, zeros else. One of two open axes gets the shape of `main`, others have ones for open lengths.
pub fn fill(graph: &mut GraphProto, main: &str) -> Vec<Constant> {
    let read: HashSet<&str> = graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let (own, others): (Vec<_>, Vec<_>) = graph.input.iter().cloned().partition(|input| input.name == main);
    let others: Vec<ValueInfoProto> = others.into_iter().filter(|input| read.contains(input.name.as_str())).collect();
    let main_rank = own.first().map_or(0, |input| lengths(input).len());
    graph.input = own;
    let mut nodes = Vec::new();
    let mut filled = Vec::new();
    for input in others {
        let value = i64::from(input.name.to_lowercase().contains("mask"));
        let lengths = lengths(&input);
        let like_main = main_rank == 2 && lengths.len() == 2 && lengths.iter().all(Option::is_none);
        let shape = format!("{MADE}{}/shape", input.name);
        if like_main {
            nodes.push(node("Shape", &input.name, vec![main.to_owned()], shape.clone(), vec![]));
        } else {
            let known: Vec<i64> = lengths.iter().map(|length| length.unwrap_or(1)).collect();
            let rank = known.len() as i64;
            graph.initializer.push(TensorProto {
                name: shape.clone(),
                dims: vec![rank],
                data_type: DataType::Int64 as i32,
                raw_data: known.iter().flat_map(|length| length.to_le_bytes()).collect(),
                ..Default::default()
            });
        }
        let ones = format!("{MADE}{}/filled", input.name);
        nodes.push(node("ConstantOfShape", &input.name, vec![shape], ones.clone(), vec![filling(value)]));
        let kind = i64::from(element(&input));
        nodes.push(node("Cast", &input.name, vec![ones], input.name.clone(), vec![int("to", kind)]));
        filled.push(Constant { input: input.name, value });
    }
    nodes.append(&mut graph.node);
    graph.node = nodes;
    filled
}

fn node(op: &str, place: &str, input: Vec<String>, output: String, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("{place}.{op}"),
        input,
        output: vec![output],
        attribute,
        ..Default::default()
    }
}

fn filling(value: i64) -> AttributeProto {
    let tensor = TensorProto {
        dims: vec![1],
        data_type: DataType::Int64 as i32,
        raw_data: value.to_le_bytes().to_vec(),
        ..Default::default()
    };
    AttributeProto { t: Some(tensor), r#type: 4, ..ints("value", &[]) }
}

/// Lengths of the axes; none where they are open.
pub fn lengths(input: &ValueInfoProto) -> Vec<Option<i64>> {
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Vec::new();
    };
    let axes = tensor.shape.iter().flat_map(|shape| &shape.dim);
    axes.map(|axis| match axis.value {
        Some(Value::DimValue(length)) if length > 0 => Some(length),
        _ => None,
    })
    .collect()
}

/// The type of its numbers.
pub fn element(input: &ValueInfoProto) -> i32 {
    match input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type,
        None => 0,
    }
}
