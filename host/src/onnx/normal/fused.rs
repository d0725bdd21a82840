//! Operators that ONNX Runtime makes of several when it optimises a file: the several.

use super::edit::{Asked, Constants, Emit, float, int, rewrite};
use anyhow::{Result, bail};
use tract_onnx::pb::{GraphProto, NodeProto};

/// Rewrites the graph.
pub fn expand(graph: &mut GraphProto, opset: i64) -> Result<()> {
    rewrite(graph, opset, |node, _: &Constants, emit| match node.op_type.as_str() {
        "FusedConv" => conv(node, emit),
        "FusedGemm" => gemm(node, emit),
        "FusedMatMul" | "TransposeMatMul" => matmul(node, emit),
        "Gelu" if node.domain == "com.microsoft" => gelu(node, node.needed(0)?.to_owned(), emit),
        "BiasGelu" => {
            let sum = emit.op("Add", &[node.needed(0)?, node.needed(1)?], vec![]);
            gelu(node, sum, emit)
        }
        "FastGelu" => fast_gelu(node, emit),
        "QuickGelu" => quick_gelu(node, emit),
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => skip_normalisation(node, emit),
        "EmbedLayerNormalization" => embedding(node, emit),
        "BiasAdd" => {
            let sum = emit.op("Add", &[node.needed(0)?, node.needed(1)?], vec![]);
            emit.op_to("Add", &[&sum, node.needed(2)?], vec![], node.out()?);
            Ok(true)
        }
        _ => Ok(false),
    })
}

/// An activation function under the name that a fused operator gives it.
fn activate(node: &NodeProto, number: String, emit: &mut Emit) -> Result<bool> {
    let parameters = node.attribute("activation_params").map(|given| given.floats.clone()).unwrap_or_default();
    let alpha = parameters.first().copied().unwrap_or_else(|| node.float("activation_alpha", 0.01));
    let out = node.out()?;
    match node.text("activation") {
        "" => emit.rename(&number, out),
        "Clip" => {
            let [low, high] =
                [parameters.first(), parameters.get(1)].map(|bound| emit.number(bound.copied().unwrap_or(0.0)));
            let raised = emit.op("Max", &[&number, &low], vec![]);
            emit.op_to("Min", &[&raised, &high], vec![], out);
        }
        "LeakyRelu" => emit.op_to("LeakyRelu", &[&number], vec![float("alpha", alpha)], out),
        "HardSigmoid" => {
            let beta = parameters.get(1).copied().unwrap_or(0.5);
            emit.op_to("HardSigmoid", &[&number], vec![float("alpha", alpha), float("beta", beta)], out);
        }
        plain @ ("Relu" | "Sigmoid" | "Tanh") => emit.op_to(plain, &[&number], vec![], out),
        other => bail!("activation \"{other}\" is not known; use the original file, or save it at the basic level"),
    }
    Ok(true)
}

fn conv(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let inputs: Vec<&str> = (0..3).filter_map(|at| node.given(at)).collect();
    let mut number = emit.op("Conv", &inputs, node.attributes_but(&["activation", "activation_params"]));
    if let Some(sum) = node.given(3) {
        number = emit.op("Add", &[&number, sum], vec![]);
    }
    activate(node, number, emit)
}

fn gemm(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let inputs: Vec<&str> = (0..3).filter_map(|at| node.given(at)).collect();
    let own = ["activation", "activation_alpha", "activation_beta", "activation_gamma", "activation_params"];
    let number = emit.op("Gemm", &inputs, node.attributes_but(&own));
    activate(node, number, emit)
}

/// The operator of ours that swaps the last two axes, whatever their number.
pub const SWAP: &str = "DecomcamSwapLast";

/// The operator of ours that moves the first axis to the place before the last, whatever their number.
pub const INWARDS: &str = "DecomcamFirstInwards";

fn matmul(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let side = |at: usize, batch: &str, name: &str, emit: &mut Emit| -> Result<String> {
        let mut tensor = node.needed(at)?.to_owned();
        for (name, operator) in [(batch, INWARDS), (name, SWAP)] {
            if node.int(name, 0) == 1 {
                tensor = emit.op(operator, &[&tensor], vec![]);
            }
        }
        Ok(tensor)
    };
    let (a, b) = (side(0, "transBatchA", "transA", emit)?, side(1, "transBatchB", "transB", emit)?);
    let alpha = node.float("alpha", 1.0);
    if alpha == 1.0 {
        emit.op_to("MatMul", &[&a, &b], vec![], node.out()?);
    } else {
        let product = emit.op("MatMul", &[&a, &b], vec![]);
        let alpha = emit.number(alpha);
        emit.op_to("Mul", &[&product, &alpha], vec![], node.out()?);
    }
    Ok(true)
}

/// x (1 + erf(x / sqrt 2)) / 2.
fn gelu(node: &NodeProto, number: String, emit: &mut Emit) -> Result<bool> {
    let root = emit.number(std::f32::consts::SQRT_2);
    let (one, half) = (emit.number(1.0), emit.number(0.5));
    let scaled = emit.op("Div", &[&number, &root], vec![]);
    let erf = emit.op("Erf", &[&scaled], vec![]);
    let share = emit.op("Add", &[&erf, &one], vec![]);
    let product = emit.op("Mul", &[&number, &share], vec![]);
    emit.op_to("Mul", &[&product, &half], vec![], node.out()?);
    Ok(true)
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
fn fast_gelu(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let number = match node.given(1) {
        Some(bias) => emit.op("Add", &[node.needed(0)?, bias], vec![]),
        None => node.needed(0)?.to_owned(),
    };
    let [cubic, root, one, half] =
        [0.044_715, (2.0 / std::f32::consts::PI).sqrt(), 1.0, 0.5].map(|value| emit.number(value));
    let square = emit.op("Mul", &[&number, &number], vec![]);
    let cube = emit.op("Mul", &[&square, &number], vec![]);
    let cube = emit.op("Mul", &[&cube, &cubic], vec![]);
    let sum = emit.op("Add", &[&number, &cube], vec![]);
    let scaled = emit.op("Mul", &[&sum, &root], vec![]);
    let tanh = emit.op("Tanh", &[&scaled], vec![]);
    let share = emit.op("Add", &[&tanh, &one], vec![]);
    let product = emit.op("Mul", &[&number, &share], vec![]);
    emit.op_to("Mul", &[&product, &half], vec![], node.out()?);
    Ok(true)
}

/// x sigmoid(alpha x).
fn quick_gelu(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let number = node.needed(0)?;
    let alpha = emit.number(node.float("alpha", 1.702));
    let scaled = emit.op("Mul", &[number, &alpha], vec![]);
    let share = emit.op("Sigmoid", &[&scaled], vec![]);
    emit.op_to("Mul", &[number, &share], vec![], node.out()?);
    Ok(true)
}

/// Outputs: the normalised sum, and as the fourth the sum itself.
fn skip_normalisation(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let simple = node.op_type == "SkipSimplifiedLayerNormalization";
    let bias = if simple { node.given(3) } else { node.given(4) };
    let (a, b) = (node.needed(0)?, node.needed(1)?);
    let named = node.output.get(3).filter(|name| !name.is_empty());
    let sum = match (bias, named) {
        (None, Some(name)) => {
            emit.op_to("Add", &[a, b], vec![], name);
            name.clone()
        }
        (None, None) => emit.op("Add", &[a, b], vec![]),
        (Some(bias), named) => {
            let sum = emit.op("Add", &[a, b], vec![]);
            match named {
                Some(name) => {
                    emit.op_to("Add", &[&sum, bias], vec![], name);
                    name.clone()
                }
                None => emit.op("Add", &[&sum, bias], vec![]),
            }
        }
    };
    let epsilon = node.float("epsilon", 1e-12);
    if simple {
        let normal = root_mean_square(&sum, epsilon, emit);
        emit.op_to("Mul", &[&normal, node.needed(2)?], vec![], node.out()?);
        return Ok(true);
    }
    let normal = normalised(&sum, epsilon, emit);
    let scaled = emit.op("Mul", &[&normal, node.needed(2)?], vec![]);
    match node.given(3) {
        Some(shift) => emit.op_to("Add", &[&scaled, shift], vec![], node.out()?),
        None => emit.rename(&scaled, node.out()?),
    }
    Ok(true)
}

/// (x - mean) / sqrt(variance + epsilon) over the last axis.
pub fn normalised(number: &str, epsilon: f32, emit: &mut Emit) -> String {
    let mean = emit.reduce("ReduceMean", number, &[-1]);
    let centred = emit.op("Sub", &[number, &mean], vec![]);
    root_mean_square(&centred, epsilon, emit)
}

/// x / sqrt(mean of squares + epsilon) over the last axis.
pub fn root_mean_square(number: &str, epsilon: f32, emit: &mut Emit) -> String {
    let square = emit.op("Mul", &[number, number], vec![]);
    let mean = emit.reduce("ReduceMean", &square, &[-1]);
    let epsilon = emit.number(epsilon);
    let sum = emit.op("Add", &[&mean, &epsilon], vec![]);
    let root = emit.op("Sqrt", &[&sum], vec![]);
    emit.op("Div", &[number, &root], vec![])
}

/// Words, positions and segments are looked up, summed and normalised.
fn embedding(node: &NodeProto, emit: &mut Emit) -> Result<bool> {
    let words = emit.op("Gather", &[node.needed(2)?, node.needed(0)?], vec![int("axis", 0)]);
    let positions = match node.given(8) {
        Some(ids) => emit.op("Gather", &[node.needed(3)?, ids], vec![int("axis", 0)]),
        None => {
            let shape = emit.op("Shape", &[node.needed(0)?], vec![]);
            let (zero, one) = (emit.integer(0), emit.integer(1));
            let length = emit.op("Gather", &[&shape, &one], vec![int("axis", 0)]);
            let range = emit.op("Range", &[&zero, &length, &one], vec![]);
            emit.op("Gather", &[node.needed(3)?, &range], vec![int("axis", 0)])
        }
    };
    let mut sum = emit.op("Add", &[&words, &positions], vec![]);
    if let Some(table) = node.given(4) {
        let segments = match node.given(1) {
            Some(ids) => emit.op("Gather", &[table, ids], vec![int("axis", 0)]),
            None => emit.slice(table, 0, 0, 1),
        };
        sum = emit.op("Add", &[&sum, &segments], vec![]);
    }
    let normal = normalised(&sum, node.float("epsilon", 1e-12), emit);
    let scaled = emit.op("Mul", &[&normal, node.needed(5)?], vec![]);
    emit.op_to("Add", &[&scaled, node.needed(6)?], vec![], node.out()?);
    Ok(true)
}
