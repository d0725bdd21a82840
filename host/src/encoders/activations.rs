//! What a network holds at an inner layer while it looks at a picture.

use crate::Size;
use crate::model::Layer;
use crate::onnx::guard::ensure_finite;
use crate::onnx::layout::{LayerLayout, transposed};
pub use crate::onnx::quantised::Steps;
use anyhow::{Context, Result, ensure};

/// The activations of a layer, as maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Channels of the layer.
    pub channels: usize,
    /// Height and width of the layer, in positions.
    pub size: Size,
    /// Channels x height x width, row by row.
    pub values: Vec<f32>,
    /// With tokens: the activations of those that are no part of the grid, tokens x channels.
    pub prefix: Vec<f32>,
    /// The steps that the values are rounded to, of a quantised network that is run faithfully.
    pub steps: Option<Steps>,
}

impl Activations {
    /// From the layer's own tensor.
    pub(super) fn of_tensor(layer: &Layer, input: Size, tensor: Vec<f32>, steps: Option<Steps>) -> Self {
        let prefix = tensor[..layer.channels * layer.prefix_tokens].to_vec();
        Self { channels: layer.channels, size: layer.size(input), prefix, values: maps(layer, tensor), steps }
    }
}

/// A layer's tensor as maps, channels x height x width; what precedes the grid is dropped.
pub(super) fn maps(layer: &Layer, tensor: Vec<f32>) -> Vec<f32> {
    match layer.layout {
        LayerLayout::Maps => tensor,
        LayerLayout::Tokens => {
            let grid = &tensor[layer.channels * layer.prefix_tokens..];
            transposed(grid, grid.len() / layer.channels)
        }
    }
}

/// The tensor that a layer would hold with these maps.
pub(super) fn tensor_of(layer: &Layer, input: Size, prefix: &[f32], maps: &[f32]) -> Result<Vec<f32>> {
    ensure!(
        maps.len() == layer.channels * layer.size(input).area() && prefix.len() == layer.channels * layer.prefix_tokens,
        "expected activations of shape {:?}, found {} and {} numbers",
        layer.shape(input),
        prefix.len(),
        maps.len()
    );
    ensure_finite(maps).and_then(|()| ensure_finite(prefix)).context("a layer's activations")?;
    Ok(match layer.layout {
        LayerLayout::Maps => maps.to_vec(),
        LayerLayout::Tokens => [prefix, &transposed(maps, layer.channels)].concat(),
    })
}
