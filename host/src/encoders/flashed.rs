//! The gradient at the layer that an int8 network averages before its linear layer, in closed form: with the bits that a board computes.

use super::graph::Wiring;
use crate::model::{Model, ScoreKind};
use crate::onnx::shuffle::Shuffle;
use crate::tflite::File;
use crate::tflite::head::{self, Head};

/// Largest difference between the closed form and the gradient of the graph, over the largest number: a few roundings. Where integers meet an end of their
/// range the gradient of the graph is another one, and is kept.
const SAME: f32 = 1e-5;

/// Global average pooling and a linear layer of integers, behind the layer that is looked at.
pub(super) struct FlashedHead(Head);

impl FlashedHead {
    /// None, unless the network is one of integers that ends so behind the layer.
    pub(super) fn of(model: &Model, wiring: &Wiring, classes: usize) -> Option<Self> {
        let (bytes, integers) = (model.flashed()?, model.integers()?);
        let plain = wiring.key.shuffle == Shuffle::default() && wiring.score.kind == ScoreKind::Dot;
        let scores = integers.tensor(&wiring.score.image).filter(|_| plain)?.tensor;
        let layer = integers.tensor(&wiring.layer.name)?.tensor;
        let head = head::of(&File::read(bytes).ok()?, scores).ok()?;
        (head.layer == layer && head.bias.len() == classes).then_some(Self(head))
    }

    /// g_c = sum_k t_k W_kc / positions at every position, if that is what the graph found up to rounding; `target` is t, one number a class.
    /// Channels x height x width.
    pub(super) fn gradients(&self, target: &[f32], of_graph: Vec<f32>) -> Vec<f32> {
        let Head { shape: [height, width, channels], weights, scales, .. } = &self.0;
        let positions = height * width;
        if target.len() != scales.len() || of_graph.len() != channels * positions {
            return of_graph;
        }
        let mut of_channels = vec![0.0_f32; *channels];
        let rows = weights.chunks_exact(*channels).zip(scales).zip(target).filter(|(_, target)| **target != 0.0);
        for ((row, scale), target) in rows {
            for (sum, weight) in of_channels.iter_mut().zip(row) {
                *sum += target * (f32::from(*weight) * scale);
            }
        }
        let found = of_channels.iter().map(|sum| sum / positions as f32);
        let found: Vec<f32> = found.flat_map(|gradient| std::iter::repeat_n(gradient, positions)).collect();
        let largest = found.iter().fold(0.0, |largest: f32, gradient| largest.max(gradient.abs()));
        let same = found.iter().zip(&of_graph).all(|(found, graph)| (found - graph).abs() <= SAME * largest);
        if same { found } else { of_graph }
    }
}
