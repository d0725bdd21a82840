//! The usual end of a classifier, in integers: the average over all places of a layer, and a linear layer.

use super::file::{File, Operator, Tensor, kind};
use super::layers::WeightSteps;
use super::options::{self, code, quantised};
use crate::onnx::head::WANTED;
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::tables::Quantised;

/// The end of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Number of the tensor that is averaged.
    pub layer: usize,
    /// Height, width and channels of that tensor.
    pub shape: [usize; 3],
    /// What its integers stand for.
    pub features: Quantised,
    /// Classes x channels.
    pub weights: Vec<i8>,
    /// Real number of one step of the weights, for each class.
    pub scales: Vec<f32>,
    /// For each class, in real numbers.
    pub bias: Vec<f32>,
}

/// A linear layer.
struct Linear {
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// The end before the scores, a tensor of the file.
///
/// # Errors
/// Another end: what was found instead.
pub fn of(file: &File, scores: usize) -> Result<Head> {
    ensure!(
        file.operators.iter().all(|operator| {
            operator.name == "QUANTIZE"
                || operator.outputs.iter().all(|output| file.tensors[*output].kind != kind::UINT8)
        }),
        "expected a network of int8, found one of uint8, which TensorFlow Lite Micro no longer runs; convert it to int8"
    );
    ensure!(
        file.tensors.iter().all(|tensor| tensor.kind != kind::INT16),
        "expected a network of int8, found one of int16, whose activations boards do not explain; convert it to int8"
    );
    let mut linear: Option<Linear> = None;
    let mut at = scores;
    for _ in 0..file.operators.len() {
        let Some(operator) = file.operators.iter().find(|operator| operator.outputs.contains(&at)) else {
            bail!("{WANTED}; found the network's input");
        };
        let input = operator.inputs.first().copied().flatten().context(WANTED)?;
        match (operator.code, &linear) {
            (code::RESHAPE | code::SQUEEZE | code::EXPAND_DIMS, _) => (),
            (code::CONV_2D | code::FULLY_CONNECTED, None) => linear = Some(of_linear(file, operator, input)?),
            (code::AVERAGE_POOL_2D | code::MEAN, Some(_)) => {
                let shape = averaged(file, operator, &file.tensors[input])?;
                let Linear { weights, scales, bias } = linear.context(WANTED)?;
                let features = quantised(&file.tensors[input])?;
                ensure!(weights.len() == bias.len() * shape[2], "{WANTED}; found {} weights", weights.len());
                return Ok(Head { layer: input, shape, features, weights, scales, bias });
            }
            _ => bail!("{WANTED}; found {} \"{}\"", operator.name, file.tensors[at].short_name()),
        }
        at = input;
    }
    bail!("{WANTED}; found neither")
}

/// Height, width and channels of what is averaged, over all places.
fn averaged(file: &File, operator: &Operator, input: &Tensor) -> Result<[usize; 3]> {
    let [1, height, width, channels] = input.shape[..] else {
        bail!("{WANTED}; found an average of shape {:?}", input.shape);
    };
    let output = file.output(operator)?;
    let whole = output.numbers() == channels;
    let plain = if operator.code == code::MEAN {
        options::axes(file.input(operator, 1)?, 4)? == [1, 2]
    } else {
        operator.byte(5)? == 0
    };
    ensure!(whole && plain, "{WANTED}; found {} of {:?} to {:?}", operator.name, input.shape, output.shape);
    Ok([height, width, channels])
}

fn of_linear(file: &File, operator: &Operator, pooled: usize) -> Result<Linear> {
    let weights = file.input(operator, 1)?;
    let of_one = operator.code == code::FULLY_CONNECTED || weights.shape.get(1..3) == Some(&[1, 1]);
    let activation = if operator.code == code::CONV_2D { 3 } else { 0 };
    ensure!(
        of_one && operator.byte(activation)? == 0,
        "{WANTED}; found {} of weights {:?} with or without an activation",
        operator.name,
        weights.shape
    );
    let classes = *weights.shape.first().context("no weights")?;
    let weight_steps = WeightSteps::of(weights, 0, classes)?;
    let scales: Vec<f32> = (0..classes).map(|class| weight_steps.scale(class)).collect();
    let steps = quantised(&file.tensors[pooled])?;
    let bias = match operator.inputs.get(2).copied().flatten() {
        Some(bias) => file.tensors[bias].integers()?,
        None => vec![0; classes],
    };
    ensure!(bias.len() == classes, "expected a bias of {classes} numbers, found {}", bias.len());
    let real = |(q, scale): (i32, &f32)| (f64::from(q) * f64::from(steps.scale) * f64::from(*scale)) as f32;
    Ok(Linear { weights: weights.bytes()?, bias: bias.into_iter().zip(&scales).map(real).collect(), scales })
}
