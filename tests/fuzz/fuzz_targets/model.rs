//! Any bytes as an ONNX network: inspected, read, differentiated and run, or refused; never an abort, a hang or gigabytes.
//!
//! Panics of the runtime are contained, as the program contains them. Bytes are mostly changed as a graph, since few
//! changes of single bytes leave a protobuf behind: `cargo +nightly fuzz run --fuzz-dir tests/fuzz model CORPUS
//! tests/gradients -- -rss_limit_mb=2048 -timeout=20`.
#![no_main]

use anyhow::{Context, Result, ensure};
use decomcam::onnx::gradient::append_gradient;
use decomcam::onnx::guard::contained;
use decomcam::onnx::quantised::{self, Form, Pairs, Wanted};
use decomcam::random::Random;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use prost::Message;
use tract_onnx::pb::{self, tensor_shape_proto::dimension};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// More numbers than this are legal and only slow.
const MOST_NUMBERS: usize = 1 << 18;

fuzz_target!(|bytes: &[u8]| {
    let look = decomcam::onnx::inspect::InspectOptions { size: Some(decomcam::Size::square(16)), ..Default::default() };
    let _ = decomcam::onnx::inspect::inspect(bytes, &look);
    for pairs in [Pairs::Clamp, Pairs::Round] {
        let _ = contained(|| compute(bytes, pairs));
    }
});

/// The input's name and shape, with small numbers for open lengths.
fn input(graph: &pb::GraphProto) -> Option<(String, Vec<Option<usize>>)> {
    let weights: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let input = graph.input.iter().find(|input| !weights.contains(&input.name.as_str()))?;
    let pb::type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let shape = tensor.shape.as_ref()?.dim.iter().map(|axis| match axis.value {
        Some(dimension::Value::DimValue(length)) => Some(length.clamp(1, 64) as usize),
        _ => Some(2),
    });
    Some((input.name.clone(), shape.collect()))
}

fn compute(bytes: &[u8], pairs: Pairs) -> Result<()> {
    let proto = pb::ModelProto::decode(bytes)?;
    let graph = proto.graph.as_ref().context("no graph")?;
    let (name, shape) = input(graph).context("no input")?;
    let volume = shape.iter().flatten().product::<usize>();
    ensure!(volume <= 4096);
    let mut outputs: Vec<&str> = vec!["layer"];
    outputs.extend(graph.output.iter().map(|output| output.name.as_str()));
    let wanted = Wanted {
        input: &name,
        datum_type: f32::datum_type(),
        shape: &shape,
        outputs: &outputs,
        pairs,
        folder: None,
        form: Form::default(),
        readings: &[],
        beside: None,
    };
    let mut model = quantised::read(bytes, &wanted)?;
    let small =
        |fact: &TypedFact| fact.shape.as_concrete().is_some_and(|s| s.iter().product::<usize>() <= MOST_NUMBERS);
    ensure!(model.nodes.iter().all(|node| node.outputs.iter().all(|output| small(&output.fact))));
    let (layer, scored) = (model.outputs[0], *model.outputs.last().context("no output")?);
    let axes = (0..model.outlet_fact(scored)?.rank()).collect();
    let score = model.wire_node("fuzz.score", Reduce::new(axes, Reducer::Sum), &[scored])?[0];
    if let Ok(gradient) = append_gradient(&mut model, score, layer) {
        model.outputs.push(gradient);
    }
    let plan = model.into_optimized()?.into_runnable()?;
    let values: Vec<f32> = (0..volume).map(|at| (at % 17) as f32 / 8.0 - 1.0).collect();
    let shape: Vec<usize> = shape.into_iter().flatten().collect();
    plan.run(tvec!(Tensor::from_shape(&shape, &values)?.into()))?;
    Ok(())
}

/// A length that a file may state.
fn length(random: &mut Random) -> i64 {
    [-1, 0, 1, 2, 3, 4, 7, 8, 64, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN][random.below(14)]
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(u64::from(seed));
    if random.below(8) > 0
        && let Ok(mut proto) = pb::ModelProto::decode(&data[..size])
        && let Some(graph) = &mut proto.graph
    {
        for _ in 0..=random.below(3) {
            change(graph, &mut random);
        }
        let changed = proto.encode_to_vec();
        if changed.len() <= max_size.min(data.len()) {
            data[..changed.len()].copy_from_slice(&changed);
            return changed.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});

/// One change to a graph: a name, a length, a type, an attribute, a node.
fn change(graph: &mut pb::GraphProto, random: &mut Random) {
    let names: Vec<String> = graph
        .node
        .iter()
        .flat_map(|node| node.input.iter().chain(&node.output))
        .chain(graph.input.iter().map(|input| &input.name))
        .cloned()
        .collect();
    if names.is_empty() || graph.node.is_empty() {
        return;
    }
    let name = names[random.below(names.len())].clone();
    let at = random.below(graph.node.len());
    let other = random.below(graph.node.len());
    let weight = random.below(graph.initializer.len());
    match random.below(14) {
        0 | 1 => {
            let inputs = &mut graph.node[at].input;
            if !inputs.is_empty() {
                let slot = random.below(inputs.len());
                inputs[slot] = name;
            }
        }
        2 => graph.node[at].input.push(name),
        3 => drop(graph.node[at].input.pop()),
        4 => graph.node[at].op_type = graph.node[other].op_type.clone(),
        5 => graph.node[at].op_type = OPERATORS[random.below(OPERATORS.len())].to_owned(),
        6 => graph.node[at].attribute = graph.node[other].attribute.clone(),
        7 => graph.node.swap(at, other),
        8 => {
            let mut node = graph.node[at].clone();
            node.name += "_";
            node.output = vec![format!("{name}_")];
            graph.node.insert(other, node);
        }
        9 => {
            for attribute in &mut graph.node[at].attribute {
                attribute.i = length(random);
                if !attribute.ints.is_empty() {
                    let slot = random.below(attribute.ints.len());
                    attribute.ints[slot] = length(random);
                }
            }
        }
        10 => {
            if let Some(tensor) = graph.initializer.get_mut(weight)
                && !tensor.dims.is_empty()
            {
                let slot = random.below(tensor.dims.len());
                tensor.dims[slot] = length(random);
            }
        }
        11 => {
            if let Some(tensor) = graph.initializer.get_mut(weight) {
                tensor.data_type = random.below(24) as i32;
            }
        }
        12 => {
            // Shapes, pads and repetitions are weights of whole numbers.
            let whole = pb::tensor_proto::DataType::Int64 as i32;
            let mut shapes: Vec<_> = graph.initializer.iter_mut().filter(|tensor| tensor.data_type == whole).collect();
            let shape = random.below(shapes.len());
            if let Some(tensor) = shapes.get_mut(shape) {
                let numbers = tensor.dims.iter().fold(1i64, |numbers, axis| numbers.saturating_mul(*axis));
                tensor.raw_data = (0..numbers.clamp(0, 8)).flat_map(|_| length(random).to_le_bytes()).collect();
                tensor.int64_data.clear();
            }
        }
        _ => drop(graph.node.remove(at)),
    }
}

const OPERATORS: [&str; 40] = [
    "Add",
    "Mul",
    "MatMul",
    "Gemm",
    "Conv",
    "ConvTranspose",
    "Expand",
    "Tile",
    "ConstantOfShape",
    "Range",
    "Pad",
    "Resize",
    "Reshape",
    "Transpose",
    "Concat",
    "Split",
    "Slice",
    "Gather",
    "GatherND",
    "ScatterND",
    "OneHot",
    "CumSum",
    "TopK",
    "Loop",
    "Scan",
    "If",
    "NonZero",
    "Shape",
    "Size",
    "Cast",
    "Softmax",
    "LayerNormalization",
    "MaxPool",
    "AveragePool",
    "Einsum",
    "QuantizeLinear",
    "DequantizeLinear",
    "EyeLike",
    "Where",
    "Unsqueeze",
];
