//! Outputs with more than one position, read as one number for each class.

use super::MADE;
use super::edit::{Emit, int};
use serde::{Deserialize, Serialize};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

/// How an output is read that has a number for each class at many places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reading {
    /// Of a segmentation, classes x height x width: the mean of a class's numbers over the pixels where it is the largest; over all pixels if it is nowhere.
    Pixels {
        /// Whether it is height x width x classes.
        #[serde(default)]
        channels_last: bool,
    },
    /// Of a detector, boxes x numbers: a class's largest number of all boxes.
    Boxes {
        /// Whether it is numbers x boxes.
        #[serde(default)]
        transposed: bool,
        /// Numbers of a box before those of the classes, such as its place.
        #[serde(default)]
        before: usize,
        /// Whether the last of these says how likely it is that there is anything, and counts as a factor.
        #[serde(default)]
        objectness: bool,
    },
}

impl Reading {
    /// Name of the tensor of 1 x classes that comes of a tensor.
    pub fn name_of(tensor: &str) -> String {
        format!("{MADE}classes/{tensor}")
    }

    /// Adds the tensor of 1 x classes to a graph.
    pub(super) fn add(self, graph: &mut GraphProto, tensor: &str, opset: i64) {
        let place = NodeProto { name: format!("{tensor}.classes"), ..Default::default() };
        let mut emit = Emit::instead_of(&place, opset);
        let numbers = match self {
            Self::Pixels { channels_last } => pixels(tensor, channels_last, &mut emit),
            Self::Boxes { transposed, before, objectness } => boxes(tensor, transposed, before, objectness, &mut emit),
        };
        let shape = emit.integers(&[1, -1]);
        emit.op_to("Reshape", &[&numbers, &shape], vec![], &Self::name_of(tensor));
        graph.node.append(&mut emit.nodes);
        graph.initializer.append(&mut emit.constants);
    }
}

fn pixels(tensor: &str, channels_last: bool, emit: &mut Emit) -> String {
    let maps = if channels_last { emit.transpose(tensor, &[0, 3, 1, 2]) } else { tensor.to_owned() };
    let flat = emit.reshape(&maps, &[0, 0, -1]);
    let largest = emit.reduce("ReduceMax", &flat, &[1]);
    let wins = emit.op("GreaterOrEqual", &[&flat, &largest], vec![]);
    let wins = as_number(&wins, emit);
    let count = emit.reduce("ReduceSum", &wins, &[2]);
    let half = emit.number(0.5);
    let nowhere = emit.op("Less", &[&count, &half], vec![]);
    let nowhere = as_number(&nowhere, emit);
    let weights = emit.op("Add", &[&wins, &nowhere], vec![]);
    let total = emit.reduce("ReduceSum", &weights, &[2]);
    let weighted = emit.op("Mul", &[&flat, &weights], vec![]);
    let sum = emit.reduce("ReduceSum", &weighted, &[2]);
    emit.op("Div", &[&sum, &total], vec![])
}

fn as_number(condition: &str, emit: &mut Emit) -> String {
    emit.op("Cast", &[condition], vec![int("to", i64::from(DataType::Float as i32))])
}

fn boxes(tensor: &str, transposed: bool, before: usize, objectness: bool, emit: &mut Emit) -> String {
    let numbers = if transposed { emit.transpose(tensor, &[0, 2, 1]) } else { tensor.to_owned() };
    let before = before as i64;
    let mut classes = if before > 0 { emit.slice(&numbers, 2, before, i64::from(i32::MAX)) } else { numbers.clone() };
    if objectness && before > 0 {
        let factor = emit.slice(&numbers, 2, before - 1, before);
        classes = emit.op("Mul", &[&classes, &factor], vec![]);
    }
    emit.reduce("ReduceMax", &classes, &[1])
}
