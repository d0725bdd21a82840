//! The usual end of a classifier: the average over all places of a layer, and a linear layer. It is found by looking back from the scores of the classes.

use super::normal::edit::Constants;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Nodes that are looked back through.
const FARTHEST: usize = 64;

/// What is said of another end.
pub const WANTED: &str = "expected an average over all places of the layer and one linear layer before the scores";

/// The end of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Names of the tensor that is averaged: its own, and those that it had before nothing but a rounding or another name.
    pub layers: Vec<String>,
    /// Whether its channels come last.
    pub channels_last: bool,
    /// Height and width of the window of the average, if the file says that; else it is the whole layer.
    pub window: Option<[usize; 2]>,
    /// Classes x channels.
    pub weights: Vec<f32>,
    /// One for each class.
    pub bias: Vec<f32>,
}

/// The end before the tensor `scores`, of 1 x `classes`.
///
/// # Errors
/// Another end: what was found instead.
pub fn of(graph: &GraphProto, scores: &str, classes: usize) -> Result<Head> {
    let find = Finder {
        constants: Constants::of(graph),
        producers: graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (&**name, node))).collect(),
    };
    let (mut at, mut bias) = (scores, vec![0f32; classes]);
    let mut linear: Option<Vec<f32>> = None;
    for _ in 0..FARTHEST {
        let Some(node) = find.producers.get(at).copied() else { bail!("{WANTED}; found the network's input") };
        let computed = node.input.iter().find(|input| !find.is_constant(input));
        let input = computed.with_context(|| format!("{WANTED}; found constants alone"))?;
        match (&*node.op_type, &mut linear) {
            ("Identity" | "Cast" | "Dropout" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten", _)
            | ("QuantizeLinear" | "DequantizeLinear" | "Transpose", _) => (),
            ("Add", None) => {
                let other = node.input.iter().find(|other| *other != input).context(WANTED)?;
                add(&mut bias, &find.numbers(other)?.1)?;
            }
            ("Gemm" | "MatMul" | "Conv", None) => linear = Some(find.linear(node, classes, &mut bias)?),
            ("GlobalAveragePool" | "AveragePool" | "ReduceMean", Some(weights)) => {
                let axes = match &*node.op_type {
                    "ReduceMean" => find.axes(node)?,
                    _ => vec![2, 3],
                };
                let channels_last = axes == [1, 2] || axes == [-3, -2];
                ensure!(
                    channels_last || axes == [2, 3] || axes == [-2, -1],
                    "{WANTED}; found a mean over axes {axes:?}"
                );
                let window = if node.op_type == "AveragePool" { Some(window(node)?) } else { None };
                let weights = std::mem::take(weights);
                return Ok(Head { layers: find.names(input), channels_last, window, weights, bias });
            }
            (other, _) => bail!("{WANTED}; found {other} \"{at}\""),
        }
        at = input;
    }
    bail!("{WANTED}; found none in the last {FARTHEST} operators")
}

struct Finder<'g> {
    constants: Constants<'g>,
    producers: HashMap<&'g str, &'g NodeProto>,
}

impl<'g> Finder<'g> {
    fn is_constant(&self, name: &str) -> bool {
        let made = |node: &&NodeProto| !node.input.is_empty() && node.input.iter().all(|input| self.is_constant(input));
        name.is_empty() || self.constants.get(name).is_some() || self.producers.get(name).is_some_and(made)
    }

    /// Lengths and numbers of weights, which may lie in the file as integers or turned.
    fn numbers(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        if let Some(tensor) = self.constants.get(name) {
            let dims = tensor.dims.iter().map(|length| usize::try_from(*length)).collect::<Result<_, _>>()?;
            return Ok((dims, self.constants.floats(name)?));
        }
        let node = self.producers.get(name).with_context(|| format!("expected \"{name}\" to be a constant"))?;
        let input = |at: usize| node.input.get(at).filter(|name| !name.is_empty());
        let (dims, numbers) = self.numbers(input(0).context("an operator without an input")?)?;
        match &*node.op_type {
            "Identity" | "Cast" => Ok((dims, numbers)),
            "Transpose" if dims.len() == 2 => {
                let (rows, columns) = (dims[0], dims[1]);
                let turned = (0..numbers.len()).map(|at| numbers[at % rows * columns + at / rows]).collect();
                Ok((vec![columns, rows], turned))
            }
            "DequantizeLinear" => {
                let scales = self.numbers(input(1).context("a scale is lacking")?)?.1;
                let zeros = match input(2) {
                    Some(zeros) => self.numbers(zeros)?.1,
                    None => vec![0.0; scales.len()],
                };
                let axis = int(node, "axis").unwrap_or(1);
                let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis })?;
                let inner: usize = dims.iter().skip(axis + 1).product();
                ensure!(
                    zeros.len() == scales.len() && (scales.len() == 1 || dims.get(axis) == Some(&scales.len())),
                    "\"{name}\": expected one scale, or one for each index of axis {axis}"
                );
                let real = |(at, q): (usize, f32)| {
                    let index = if scales.len() == 1 { 0 } else { at / inner.max(1) % scales.len() };
                    (q - zeros[index]) * scales[index]
                };
                Ok((dims, numbers.into_iter().enumerate().map(real).collect()))
            }
            other => bail!("expected \"{name}\" to be a constant, found {other}"),
        }
    }

    /// Weights of classes x channels; their bias is added to `bias`.
    fn linear(&self, node: &NodeProto, classes: usize, bias: &mut [f32]) -> Result<Vec<f32>> {
        let name = node.input.get(1).context("a linear layer without weights")?;
        ensure!(self.is_constant(name), "{WANTED}; found {} of two computed tensors", node.op_type);
        let (dims, numbers) = self.numbers(name)?;
        let is_gemm = node.op_type == "Gemm";
        ensure!(!is_gemm || int(node, "transA").unwrap_or(0) == 0, "{WANTED}; found a Gemm of turned features");
        let (alpha, beta) = if is_gemm { (real(node, "alpha"), real(node, "beta")) } else { (None, None) };
        if let Some(name) = node.input.get(2).filter(|name| !name.is_empty()) {
            let scaled: Vec<f32> =
                self.numbers(name)?.1.into_iter().map(|number| number * beta.unwrap_or(1.0)).collect();
            add(bias, &scaled)?;
        }
        let rows_are_classes = match &*node.op_type {
            "Conv" => {
                ensure!(
                    dims.len() == 4 && dims[2..] == [1, 1] && int(node, "group").unwrap_or(1) == 1,
                    "{WANTED}; found a convolution of {dims:?}"
                );
                true
            }
            _ => is_gemm && int(node, "transB").unwrap_or(0) == 1,
        };
        ensure!(dims.len() >= 2 && dims.len() <= 4, "{WANTED}; found weights of {dims:?}");
        let (rows, columns) = (dims[0], dims[1]);
        let found = if rows_are_classes { rows } else { columns };
        ensure!(
            found == classes && rows * columns == numbers.len(),
            "{WANTED}; found weights of {dims:?} for {classes} classes"
        );
        let scaled = |number: f32| number * alpha.unwrap_or(1.0);
        Ok(if rows_are_classes {
            numbers.into_iter().map(scaled).collect()
        } else {
            (0..numbers.len()).map(|at| scaled(numbers[at % rows * columns + at / rows])).collect()
        })
    }

    fn axes(&self, node: &NodeProto) -> Result<Vec<i64>> {
        let mut axes = match node.input.get(1).filter(|name| !name.is_empty()) {
            Some(name) => self.constants.numbers(name)?.into_iter().map(|axis| axis as i64).collect(),
            None => attribute(node, "axes").map(|found| found.ints.clone()).unwrap_or_default(),
        };
        axes.sort_unstable();
        Ok(axes)
    }

    fn names(&self, tensor: &str) -> Vec<String> {
        let mut names = vec![tensor.to_owned()];
        let mut at = tensor;
        for _ in 0..FARTHEST {
            let Some(node) = self.producers.get(at) else { break };
            let is_same =
                ["Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"].contains(&&*node.op_type);
            let Some(input) = node.input.first().filter(|_| is_same) else { break };
            names.push(input.clone());
            at = input;
        }
        names
    }
}

fn add(bias: &mut [f32], more: &[f32]) -> Result<()> {
    ensure!(more.len() == 1 || more.len() == bias.len(), "{WANTED}; found a bias of {} numbers", more.len());
    bias.iter_mut().zip(more.iter().cycle()).for_each(|(to, more)| *to += more);
    Ok(())
}

/// Height and width of the window of an average that reaches over no border.
fn window(node: &NodeProto) -> Result<[usize; 2]> {
    let ints = |name: &str| attribute(node, name).map(|found| found.ints.clone()).unwrap_or_default();
    let plain = ints("pads").iter().all(|pad| *pad == 0) && ints("dilations").iter().all(|dilation| *dilation == 1);
    let [height, width] = ints("kernel_shape")[..] else { bail!("{WANTED}; found an average without a window") };
    ensure!(plain, "{WANTED}; found an average with padding or dilation");
    Ok([usize::try_from(height)?, usize::try_from(width)?])
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|found| found.i)
}

fn real(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|found| found.f)
}
