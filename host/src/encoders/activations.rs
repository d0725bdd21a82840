//! The activations of an inner layer for one picture.

use crate::Size;
use crate::model::Layer;
use crate::onnx::guard::ensure_finite;
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
    /// With tokens: the activations of those that are no part of the grid, tokens x channels; first those before it, then those after it.
    pub prefix: Vec<f32>,
    /// The steps that the values are rounded to, of a quantised network that is run faithfully.
    pub steps: Option<Steps>,
}

/// A layer's tensor as maps, channels x height x width, and the tokens that are no part of the grid.
pub(super) fn maps(layer: &Layer, mut tensor: Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let after = tensor.split_off(tensor.len() - layer.channels * layer.suffix_tokens);
    let grid = tensor.split_off(layer.channels * layer.prefix_tokens);
    tensor.extend(after);
    (layer.layout.maps(grid, layer.channels), tensor)
}

/// The tensor that a layer of this size would hold with these maps, and these tokens that are no part of the grid.
pub(super) fn tensor_of(layer: &Layer, size: Size, others: &[f32], maps: &[f32]) -> Result<Vec<f32>> {
    let tokens = layer.prefix_tokens + layer.suffix_tokens;
    ensure!(
        maps.len() == layer.channels * size.area() && others.len() == layer.channels * tokens,
        "expected activations of {} x {size} and {tokens} other tokens, found {} and {} numbers",
        layer.channels,
        maps.len(),
        others.len()
    );
    ensure_finite(maps).and_then(|()| ensure_finite(others)).context("a layer's activations")?;
    let (before, after) = others.split_at(layer.channels * layer.prefix_tokens);
    Ok([before, &layer.layout.tensor(maps, layer.channels), after].concat())
}
