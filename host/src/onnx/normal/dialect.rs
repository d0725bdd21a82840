//! Operators of old and new versions of ONNX that tract has no, or no differentiable, form of.

use super::edit::{Asked, Constants, Emit, int, ints, numbers, rewrite, text};
use super::fused;
use anyhow::{Context as _, Result, bail, ensure};
use tract_onnx::pb::{GraphProto, NodeProto};

/// Rewrites the graph.
pub fn expand(graph: &mut GraphProto, opset: i64) -> Result<()> {
    rewrite(graph, opset, |node, constants, emit| match node.op_type.as_str() {
        "Upsample" => upsample(node, constants, emit),
        "Dropout" => dropout(node, emit),
        "BatchNormalization" => batch_normalisation(node, constants, emit),
        "LRN" => local_response(node, emit),
        "RMSNormalization" | "SimplifiedLayerNormalization" => root_mean_square(node, emit),
        "Celu" => celu(node, emit),
        "Swish" => swish(node, emit),
        "ReduceLogSumExp" => log_sum_exp(node, constants, emit),
        "GlobalLpPool" => global_length(node, emit),
        "Pad" if node.text("mode") == "wrap" => wrap(node, constants, emit),
        "Pad" => crop(node, constants, emit),
        "Resize" => old_resize(node, emit),
        "Einsum" => diagonal(node),
        "GatherND" => gather(node, constants, emit),
        "ConvTranspose" => output_shape(node),
        "MaxPool" | "AveragePool" | "LpPool" => padded_by_itself(node),
        _ => Ok(false),
    })
}

/// Upsampling as opset 10 resizes: see `onnx::operators`.
pub const UPSAMPLE: &str = "DecomcamUpsample";

fn upsample(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let scales = match (node.attribute("scales"), node.given(1)) {
        (Some(scales), _) => scales.floats.clone(),
        (None, Some(scales)) => constants.floats(scales)?,
        (None, None) => bail!("expected scales; export with a fixed scale"),
    };
    let scales = emit.floats(&[scales.len()], &scales);
    let mode = if node.text("mode").is_empty() { "nearest" } else { node.text("mode") };
    let attributes = vec![text("mode", mode), text("nearest_mode", "floor")];
    emit.op_to(UPSAMPLE, &[node.needed(0)?, &scales], attributes, node.out()?);
    Ok(true)
}

/// Nothing is dropped when a network is used.
fn dropout(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    emit.rename(node.needed(0)?, node.out()?);
    Ok(true)
}

/// Normalisation by the batch's own mean and variance, or by ones that are computed.
fn batch_normalisation(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let training = node.int("training_mode", 0) == 1;
    let known = (1..5).all(|at| node.given(at).is_some_and(|name| constants.get(name).is_some()));
    if !training && known {
        return Ok(false);
    }
    let input = node.needed(0)?;
    // Batch x channels x all positions.
    let flat = emit.reshape(input, &[0, 0, -1]);
    let column = |at: usize, emit: &mut Emit| -> Result<String> { Ok(emit.reshape(node.needed(at)?, &[1, -1, 1])) };
    let mean = if training { emit.reduce("ReduceMean", &flat, &[0, 2]) } else { column(3, emit)? };
    let centred = emit.op("Sub", &[&flat, &mean], vec![]);
    let variance = if training {
        let square = emit.op("Mul", &[&centred, &centred], vec![]);
        emit.reduce("ReduceMean", &square, &[0, 2])
    } else {
        column(4, emit)?
    };
    let epsilon = emit.number(node.float("epsilon", 1e-5));
    let sum = emit.op("Add", &[&variance, &epsilon], vec![]);
    let root = emit.op("Sqrt", &[&sum], vec![]);
    let normal = emit.op("Div", &[&centred, &root], vec![]);
    let (scale, shift) = (column(1, emit)?, column(2, emit)?);
    let scaled = emit.op("Mul", &[&normal, &scale], vec![]);
    let shifted = emit.op("Add", &[&scaled, &shift], vec![]);
    let shape = emit.op("Shape", &[input], vec![]);
    emit.op_to("Reshape", &[&shifted, &shape], vec![], node.out()?);
    // The running mean and variance are of no use outside training; what reads them gets those of the file.
    for (output, at) in node.output.iter().skip(1).zip([3, 4]).filter(|(output, _)| !output.is_empty()) {
        emit.rename(node.needed(at)?, output);
    }
    Ok(true)
}

/// x / (bias + alpha * mean of squares of `size` channels)^beta, where channels beyond the ends are zero.
fn local_response(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let size = node.int("size", 0);
    ensure!((1..=4096).contains(&size), "expected a size of 1 to 4096, found {size}");
    let input = node.needed(0)?;
    let square = emit.op("Mul", &[input, input], vec![]);
    let flat = emit.reshape(&square, &[0, 0, -1]);
    let plane = emit.unsqueeze(&flat, &[1]);
    let (before, after) = ((size - 1) / 2, size / 2);
    let attributes = vec![
        ints("kernel_shape", &[size, 1]),
        ints("strides", &[1, 1]),
        ints("pads", &[before, 0, after, 0]),
        int("count_include_pad", 1),
    ];
    let mean = emit.op("AveragePool", &[&plane], attributes);
    let shape = emit.op("Shape", &[input], vec![]);
    let mean = emit.op("Reshape", &[&mean, &shape], vec![]);
    let [alpha, bias, beta] = [("alpha", 1e-4), ("bias", 1.0), ("beta", -0.75)].map(|(name, default)| {
        let value = if name == "beta" { -node.float(name, -default) } else { node.float(name, default) };
        emit.number(value)
    });
    let scaled = emit.op("Mul", &[&mean, &alpha], vec![]);
    let sum = emit.op("Add", &[&scaled, &bias], vec![]);
    let power = emit.op("Pow", &[&sum, &beta], vec![]);
    emit.op_to("Mul", &[input, &power], vec![], node.out()?);
    Ok(true)
}

fn root_mean_square(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    if node.int("axis", -1) != -1 {
        return Ok(false);
    }
    let epsilon = node.float("epsilon", 1e-5);
    let normal = fused::root_mean_square(node.needed(0)?, epsilon, emit);
    emit.op_to("Mul", &[&normal, node.needed(1)?], vec![], node.out()?);
    Ok(true)
}

/// alpha (exp(x / alpha) - 1) below zero, x above. tract leaves out the first alpha.
fn celu(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let alpha = node.float("alpha", 1.0);
    ensure!(alpha > 0.0, "expected an alpha above zero, found {alpha}");
    let (into, back) = (emit.number(1.0 / alpha), emit.number(alpha));
    let shares = emit.op("Mul", &[node.needed(0)?, &into], vec![]);
    let curved = emit.op("Elu", &[&shares], vec![]);
    emit.op_to("Mul", &[&curved, &back], vec![], node.out()?);
    Ok(true)
}

/// x sigmoid(alpha x). tract leaves out alpha.
fn swish(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let input = node.needed(0)?;
    let alpha = emit.number(node.float("alpha", 1.0));
    let steep = emit.op("Mul", &[input, &alpha], vec![]);
    let gate = emit.op("Sigmoid", &[&steep], vec![]);
    emit.op_to("Mul", &[input, &gate], vec![], node.out()?);
    Ok(true)
}

/// ln(sum(e^x)), where no power overflows: of what x is less than the largest one.
fn log_sum_exp(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let input = node.needed(0)?;
    let axes: Vec<i64> = match (node.attribute("axes"), node.given(1)) {
        (Some(axes), _) => axes.ints.clone(),
        (None, Some(axes)) if constants.get(axes).is_none() => return Ok(false),
        (None, Some(axes)) => constants.numbers(axes)?.into_iter().map(|axis| axis as i64).collect(),
        (None, None) => vec![],
    };
    if axes.is_empty() && node.int("noop_with_empty_axes", 0) == 1 {
        return Ok(false);
    }
    let reduce = |op: &str, tensor: &str, emit: &mut Emit| match axes[..] {
        [] => emit.op(op, &[tensor], vec![int("keepdims", 1)]),
        _ => emit.reduce(op, tensor, &axes),
    };
    let largest = reduce("ReduceMax", input, emit);
    let less = emit.op("Sub", &[input, &largest], vec![]);
    let powers = emit.op("Exp", &[&less], vec![]);
    let sum = reduce("ReduceSum", &powers, emit);
    let logarithm = emit.op("Log", &[&sum], vec![]);
    let keeps = node.int("keepdims", 1) == 1;
    if keeps {
        emit.op_to("Add", &[&logarithm, &largest], vec![], node.out()?);
        return Ok(true);
    }
    let found = emit.op("Add", &[&logarithm, &largest], vec![]);
    if axes.is_empty() {
        emit.op_to("Squeeze", &[&found], vec![], node.out()?);
    } else if emit.opset >= 13 {
        let axes = emit.integers(&axes);
        emit.op_to("Squeeze", &[&found, &axes], vec![], node.out()?);
    } else {
        emit.op_to("Squeeze", &[&found], vec![ints("axes", &axes)], node.out()?);
    }
    Ok(true)
}

/// (sum over all positions of |x|^p)^(1/p), of maps. tract's is another number.
fn global_length(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let p = node.int("p", 2);
    ensure!(p > 0, "expected a p above zero, found {p}");
    let flat = emit.reshape(node.needed(0)?, &[0, 0, -1]);
    let length = match p {
        1 => emit.reduce("ReduceL1", &flat, &[2]),
        2 => emit.reduce("ReduceL2", &flat, &[2]),
        _ => {
            let (power, root) = (emit.number(p as f32), emit.number(1.0 / p as f32));
            let size = emit.op("Abs", &[&flat], vec![]);
            let powers = emit.op("Pow", &[&size, &power], vec![]);
            let sum = emit.reduce("ReduceSum", &powers, &[2]);
            emit.op("Pow", &[&sum, &root], vec![])
        }
    };
    let shape = emit.integers(&[0, 0, 1, 1]);
    emit.op_to("Reshape", &[&length, &shape], vec![], node.out()?);
    Ok(true)
}

/// Padding by less than nothing cuts off; what is left is padded.
fn crop(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let known = node.given(1).and_then(|pads| constants.get(pads));
    let mut inputs: Vec<&str> = node.input.iter().map(String::as_str).collect();
    if !matches!(node.text("mode"), "" | "constant") && node.given(2).is_some() {
        // tract takes a number to pad with for the mode.
        inputs[2] = "";
        emit.op_to("Pad", &inputs, node.attribute.clone(), node.out()?);
        return Ok(true);
    }
    let pads: Vec<i64> = match (node.attribute("pads"), known) {
        (Some(pads), _) => pads.ints.clone(),
        (None, Some(pads)) => numbers(pads)?.into_iter().map(|pad| pad as i64).collect(),
        _ => return Ok(false),
    };
    if pads.iter().all(|pad| *pad >= 0) || node.given(3).is_some() {
        return Ok(false);
    }
    let rank = pads.len() / 2;
    let mut kept = node.needed(0)?.to_owned();
    for axis in 0..rank {
        let (before, after) = (pads[axis].min(0), pads[axis + rank].min(0));
        if (before, after) != (0, 0) {
            kept = emit.slice(&kept, axis as i64, -before, if after == 0 { i64::MAX } else { after });
        }
    }
    let pads: Vec<i64> = pads.iter().map(|pad| *pad.max(&0)).collect();
    let mut attributes: Vec<_> = node.attribute.iter().filter(|attribute| attribute.name != "pads").cloned().collect();
    if node.given(1).is_none() {
        attributes.push(ints("pads", &pads));
        emit.op_to("Pad", &[&kept], attributes, node.out()?);
        return Ok(true);
    }
    let pads = emit.integers(&pads);
    let mut inputs = vec![kept.as_str(), &pads];
    inputs.extend(node.given(2));
    emit.op_to("Pad", &inputs, attributes, node.out()?);
    Ok(true)
}

/// Each axis goes on where it begins, and comes from where it ends. tract knows no such padding.
fn wrap(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let whole = |at: usize, what: &str| -> Result<Option<Vec<i64>>> {
        let Some(name) = node.given(at) else { return Ok(None) };
        let Some(known) = constants.get(name) else {
            bail!("expected {what} that are constant; export with fixed ones")
        };
        Ok(Some(numbers(known)?.into_iter().map(|number| number as i64).collect()))
    };
    let pads = whole(1, "pads")?.context("expected pads")?;
    ensure!(pads.iter().all(|pad| *pad >= 0), "padding that wraps and cuts off is not known");
    let count = pads.len() / 2;
    let axes = whole(3, "axes")?.unwrap_or_else(|| (0..count as i64).collect());
    ensure!(axes.len() == count, "expected two pads for each of {} axes, found {}", axes.len(), pads.len());
    let mut padded = node.needed(0)?.to_owned();
    for (at, axis) in axes.into_iter().enumerate() {
        // Numbers are taken one by one, so that padding by more than there is fails.
        let mut taken = |numbers: Vec<i64>| -> Option<String> {
            let indices = (!numbers.is_empty()).then(|| emit.integers(&numbers))?;
            Some(emit.op("Gather", &[&padded, &indices], vec![int("axis", axis)]))
        };
        let (last, first) = (taken((-pads[at]..0).collect()), taken((0..pads[at + count]).collect()));
        let pieces: Vec<&str> = last.iter().chain([&padded]).chain(&first).map(String::as_str).collect();
        if pieces.len() > 1 {
            padded = emit.op("Concat", &pieces, vec![int("axis", axis)]);
        }
    }
    emit.rename(&padded, node.out()?);
    Ok(true)
}

/// What opset 10 calls Resize is upsampling; tract reads it as later versions are read. Later ones choose the nearest number at the corners in ways that tract does not know.
fn old_resize(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let nearest = matches!(node.text("mode"), "" | "nearest");
    let corners = node.text("coordinate_transformation_mode") == "align_corners";
    ensure!(!(nearest && corners), "the nearest number with aligned corners is not known; export with another mode");
    if emit.opset != 10 {
        return Ok(false);
    }
    let mode = if nearest { "nearest" } else { node.text("mode") };
    let attributes = vec![text("mode", mode), text("nearest_mode", "floor")];
    emit.op_to(UPSAMPLE, &[node.needed(0)?, node.needed(1)?], attributes, node.out()?);
    Ok(true)
}

/// A product that takes the diagonal of a tensor is summed by tract as if it took all of it.
fn diagonal(node: &NodeProto) -> Result<bool> {
    let equation = node.text("equation").split("->").next().unwrap_or("").replace(' ', "");
    let repeats = |term: &str| term.char_indices().any(|(at, name)| name != '.' && term[..at].contains(name));
    let wrong = node.input.len() > 1 && equation.split(',').any(repeats);
    ensure!(!wrong, "a product with the diagonal of a tensor (\"{equation}\") is not known");
    Ok(false)
}

/// tract does not read it.
fn output_shape(node: &NodeProto) -> Result<bool> {
    let known = node.attribute("output_shape").is_none_or(|shape| shape.ints.is_empty());
    ensure!(known, "output_shape is not known; export with pads and output_padding instead");
    Ok(false)
}

/// Poolings that pad by themselves, in forms on whose lengths ONNX Runtime and the specification disagree.
fn padded_by_itself(node: &NodeProto) -> Result<bool> {
    let dilated = node.attribute("dilations").is_some_and(|by| by.ints.iter().any(|by| *by != 1));
    let unclear = match node.text("auto_pad") {
        "SAME_UPPER" | "SAME_LOWER" => dilated,
        "VALID" => node.int("ceil_mode", 0) != 0,
        _ => false,
    };
    ensure!(
        !unclear,
        "auto_pad {} together with {} is read in different ways; export with pads instead",
        node.text("auto_pad"),
        if dilated { "dilations" } else { "ceil_mode" }
    );
    Ok(false)
}

/// One index for each of the first axis' numbers that are taken is a Gather. PyTorch's newer exporter writes so what exchanges red and blue.
fn gather(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let indices = node.given(1).and_then(|name| constants.get(name));
    let Some(indices) = indices.filter(|_| node.int("batch_dims", 0) == 0) else { return Ok(false) };
    let [count, 1] = indices.dims[..] else { return Ok(false) };
    let numbers: Vec<i64> = numbers(indices)?.into_iter().map(|number| number as i64).collect();
    if numbers.len() as i64 != count {
        return Ok(false);
    }
    let indices = emit.integers(&numbers);
    emit.op_to("Gather", &[node.needed(0)?, &indices], vec![int("axis", 0)], node.out()?);
    Ok(true)
}
