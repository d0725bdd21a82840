//! Weights of four bits, or with a scale for each block: floats.

use super::edit::{self, Asked, Constants, Emit, count, rewrite};
use anyhow::{Context, Result, bail, ensure};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

/// The values of NormalFloat-4, as bitsandbytes has them.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// The values of its four-bit floats.
const FP4: [f32; 16] = [
    0.0,
    0.005_208_333,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    -0.0,
    -0.005_208_333,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// Replaces operators on such weights by operators on floats.
pub fn dequantise(graph: &mut GraphProto) -> Result<()> {
    rewrite(graph, 0, |node, constants, emit| match node.op_type.as_str() {
        "DequantizeLinear" => linear(node, constants, emit),
        "MatMulNBits" => by_bits(node, constants, emit),
        "MatMulBnb4" => bitsandbytes(node, constants, emit),
        _ => Ok(false),
    })
}

/// A `DequantizeLinear` of constants that tract would not compute: of four or sixteen bits, or blocked.
fn linear(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let Some(weights) = constants.get(node.needed(0)?) else { return Ok(false) };
    let (Some(scale), block) = (constants.get(node.needed(1)?), node.int("block_size", 0)) else { return Ok(false) };
    let kind = DataType::try_from(weights.data_type);
    let unusual = matches!(kind, Ok(DataType::Int4 | DataType::Uint4 | DataType::Int16 | DataType::Uint16));
    if !unusual && block == 0 {
        return Ok(false);
    }
    let dims: Vec<usize> = weights.dims.iter().map(|length| *length as usize).collect();
    let values = edit::numbers(weights)?;
    let scales = edit::numbers(scale)?;
    let zeros = node.given(2).map_or_else(|| Ok(vec![0.0; scales.len()]), |zeros| constants.numbers(zeros))?;
    ensure!(zeros.len() == scales.len(), "expected as many zero points as scales");
    let axis = node.int("axis", 1);
    let axis = if axis < 0 { axis + dims.len() as i64 } else { axis } as usize;
    let parameter: Box<dyn Fn(usize) -> usize> = if scales.len() == 1 {
        Box::new(|_| 0)
    } else {
        ensure!(axis < dims.len(), "expected an axis of {dims:?}, found {axis}");
        let inner: usize = dims[axis + 1..].iter().product();
        let length = dims[axis];
        let step = if block > 0 { block as usize } else { 1 };
        let blocks = length.div_ceil(step);
        let outer: usize = if block > 0 { dims[..axis].iter().product() } else { 1 };
        let inside = if block > 0 { inner } else { 1 };
        ensure!(scales.len() == outer * blocks * inside, "expected a scale for each block, found {}", scales.len());
        if block > 0 {
            Box::new(move |at| (at / inner / length * blocks + at / inner % length / step) * inner + at % inner)
        } else {
            Box::new(move |at| at / inner % length)
        }
    };
    let floats: Vec<f32> = (values.iter().enumerate())
        .map(|(at, value)| {
            let parameter = parameter(at);
            ((value - zeros[parameter]) * scales[parameter]) as f32
        })
        .collect();
    let weights = emit.floats(&dims, &floats);
    emit.rename(&weights, node.out()?);
    Ok(true)
}

/// A' = A W: W is N x K, in blocks along K, the low bits first.
fn by_bits(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let size = |name: &str| usize::try_from(node.int(name, 0)).ok().filter(|size| *size > 0);
    let (n, k) = size("N").zip(size("K")).context("expected N and K")?;
    let (bits, block) = (size("bits").unwrap_or(4), size("block_size").context("expected block_size")?);
    ensure!(matches!(bits, 2 | 4 | 8), "expected weights of 2, 4 or 8 bits, found {bits}");
    count(&[n as i64, k as i64])?;
    let packed = constants.get(node.needed(1)?).context("expected constant weights")?;
    let packed = edit::numbers(packed)?;
    let scales = constants.floats(node.needed(2)?)?;
    if node.given(4).is_some() {
        bail!("weights in another order (g_idx) are not supported; export without act-order");
    }
    let (blocks, per_byte) = (k.div_ceil(block), 8 / bits);
    let row = blocks * block.div_ceil(per_byte);
    ensure!(packed.len() == n * row && scales.len() == n * blocks, "expected {n} x {blocks} blocks of weights");
    let nibble = |bytes: &[f64], at: usize| {
        let byte = bytes[at / per_byte] as u8;
        f32::from((byte >> (bits * (at % per_byte))) & ((1u16 << bits) - 1) as u8)
    };
    let zeros: Vec<f32> = match node.given(3) {
        None => vec![(1u16 << (bits - 1)) as f32; n * blocks],
        Some(zeros) => {
            let zeros = edit::numbers(constants.get(zeros).context("expected constant zero points")?)?;
            let packed_row = blocks.div_ceil(per_byte);
            if zeros.len() == n * packed_row && (per_byte > 1 || blocks == packed_row) {
                (0..n * blocks).map(|at| nibble(&zeros[at / blocks * packed_row..], at % blocks)).collect()
            } else {
                zeros.into_iter().map(|zero| zero as f32).collect()
            }
        }
    };
    ensure!(zeros.len() == n * blocks, "expected a zero point for each block, found {}", zeros.len());
    let mut weights = vec![0f32; k * n];
    for column in 0..n {
        for at in 0..k {
            let parameter = column * blocks + at / block;
            let value = nibble(&packed[column * row + at / block * block.div_ceil(per_byte)..], at % block);
            weights[at * n + column] = (value - zeros[parameter]) * scales[parameter];
        }
    }
    let weights = emit.floats(&[k, n], &weights);
    product(node, &weights, node.given(5), emit)
}

fn bitsandbytes(node: &NodeProto, constants: &Constants, emit: &mut Emit) -> Result<bool> {
    let size = |name: &str| usize::try_from(node.int(name, 0)).ok().filter(|size| *size > 0);
    let (n, k) = size("N").zip(size("K")).context("expected N and K")?;
    let block = size("block_size").context("expected block_size")?;
    count(&[n as i64, k as i64])?;
    let table = if node.int("quant_type", 1) == 0 { FP4 } else { NF4 };
    let packed = edit::numbers(constants.get(node.needed(1)?).context("expected constant weights")?)?;
    let largest = constants.floats(node.needed(2)?)?;
    ensure!(
        packed.len() == (n * k).div_ceil(2) && largest.len() == (n * k).div_ceil(block),
        "expected {n} x {k} weights of 4 bits"
    );
    let mut weights = vec![0f32; k * n];
    for at in 0..n * k {
        // The high half comes first.
        let byte = packed[at / 2] as u8;
        let nibble = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
        weights[at % k * n + at / k] = table[usize::from(nibble)] * largest[at / block];
    }
    let weights = emit.floats(&[k, n], &weights);
    product(node, &weights, None, emit)
}

fn product(node: &NodeProto, weights: &str, bias: Option<&str>, emit: &mut Emit) -> Result<bool> {
    match bias {
        Some(bias) => {
            let product = emit.op("MatMul", &[node.needed(0)?, weights], vec![]);
            emit.op_to("Add", &[&product, bias], vec![], node.out()?);
        }
        None => emit.op_to("MatMul", &[node.needed(0)?, weights], vec![], node.out()?),
    }
    Ok(true)
}
