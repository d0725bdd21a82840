//! A matrix of weights times a matrix of channels x positions: the arithmetic of 1x1 convolutions.
//!
//! The positions are taken in panels of sixteen, which are copied so that a panel lies in one piece. Six channels of the output by one panel are summed in
//! registers. Every sum runs over the input's channels in their order, starting from zero, with fused multiply-add if the processor has it; then come bias,
//! residual and clamp.

use super::clamped;
use super::processor::Work;

/// Output channels that are summed at the same time.
pub(crate) const BLOCK: usize = 6;
/// Positions of a panel.
const PANEL: usize = 16;

/// A panel ends inside the output.
const INSIDE: &str = "a panel inside the output";

/// `output = clamp(weights * input + bias + residual)`.
pub(crate) struct Product<'a> {
    /// Output channels.
    pub(crate) rows: usize,
    /// Positions.
    pub(crate) columns: usize,
    /// As [`packed`] lays them out.
    pub(crate) weights: &'a [f32],
    /// One number for each output channel.
    pub(crate) bias: &'a [f32],
    /// Of the output's shape.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Input channels x positions.
    pub(crate) input: &'a [f32],
    /// Output channels x positions.
    pub(crate) output: &'a mut [f32],
    pub(crate) scratch: &'a mut Vec<f32>,
}

/// Weights, `depth` for each output channel, in blocks of channels: for each input channel those of all channels of the block.
pub(crate) fn packed(weights: impl Fn(usize, usize) -> f32, rows: usize, depth: usize) -> Vec<f32> {
    let mut packed = vec![0.0; rows.div_ceil(BLOCK) * BLOCK * depth];
    for (at, block) in packed.chunks_exact_mut(BLOCK * depth).enumerate() {
        for (k, weight) in block.iter_mut().enumerate().map(|(i, weight)| ((i % BLOCK, i / BLOCK), weight)) {
            let row = at * BLOCK + k.0;
            if row < rows {
                *weight = weights(row, k.1);
            }
        }
    }
    packed
}

/// Numbers of the panels that are computed together: as many as stay near. A block of channels goes through all of them before the next one does, so that each
/// row of the output is written in long pieces; single panels would touch as many pages of memory as there are channels.
const TOGETHER: usize = 16 * 1024;

impl Work for Product<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        let depth = self.input.len() / self.columns;
        let together = PANEL * (TOGETHER / (PANEL * depth)).clamp(1, 32);
        let mut scratch = std::mem::take(self.scratch);
        scratch.resize(depth * together.min(self.columns.next_multiple_of(PANEL)), 0.0);
        for first in (0..self.columns).step_by(together) {
            let end = self.columns.min(first + together);
            for at in (first..end).step_by(PANEL) {
                let to = &mut scratch[(at - first) * depth..][..PANEL * depth];
                if end - at > PANEL / 2 {
                    self.copy::<PANEL>(at, (end - at).min(PANEL), to);
                } else {
                    self.copy::<{ PANEL / 2 }>(at, end - at, to);
                }
            }
            for block in 0..self.rows.div_ceil(BLOCK) {
                for at in (first..end).step_by(PANEL) {
                    let panel = &scratch[(at - first) * depth..][..PANEL * depth];
                    if end - at > PANEL / 2 {
                        self.sum::<FUSED, PANEL>(block, at, (end - at).min(PANEL), panel);
                    } else {
                        self.sum::<FUSED, { PANEL / 2 }>(block, at, end - at, panel);
                    }
                }
            }
        }
        *self.scratch = scratch;
    }
}

impl Product<'_> {
    /// Copies `count` positions from `at` on, at most N, so that they lie in one piece. What stands behind them is computed with, and not stored.
    #[inline(always)]
    fn copy<const N: usize>(&self, at: usize, count: usize, to: &mut [f32]) {
        for (to, line) in to.as_chunks_mut::<N>().0.iter_mut().zip(self.input.chunks_exact(self.columns)) {
            match line[at..].first_chunk::<N>() {
                Some(line) if count == N => *to = *line,
                _ => to.iter_mut().zip(&line[at..at + count]).for_each(|(to, from)| *to = *from),
            }
        }
    }

    /// A block of output channels of a panel.
    #[inline(always)]
    fn sum<const FUSED: bool, const N: usize>(&mut self, block: usize, at: usize, count: usize, panel: &[f32]) {
        let depth = self.input.len() / self.columns;
        let weights = &self.weights[block * BLOCK * depth..][..BLOCK * depth];
        let sums = tile::<FUSED, N>(weights, panel.as_chunks::<N>().0);
        let (low, high, pitch) = (self.low, self.high, self.columns);
        let (first, rows) = (block * BLOCK, BLOCK.min(self.rows - block * BLOCK));
        let bias = &self.bias[first..first + rows];
        let output = &mut self.output[first * pitch + at..];
        let residual = self.residual.map(|residual| &residual[first * pitch + at..]);
        if let (Some(bias), true) = (bias.first_chunk::<BLOCK>(), count == N) {
            // Whole: no sum leaves its register before it is finished.
            let mut finish = |i: usize, sums: [f32; N]| {
                let line: &mut [f32; N] = output[i * pitch..].first_chunk_mut().expect(INSIDE);
                let sums = sums.map(|sum| sum + bias[i]);
                *line = match residual {
                    Some(residual) => {
                        let residual: &[f32; N] = residual[i * pitch..].first_chunk().expect(INSIDE);
                        std::array::from_fn(|j| clamped(sums[j] + residual[j], low, high))
                    }
                    None => sums.map(|sum| clamped(sum, low, high)),
                };
            };
            let [a, b, c, d, e, f] = sums;
            finish(0, a);
            finish(1, b);
            finish(2, c);
            finish(3, d);
            finish(4, e);
            finish(5, f);
            return;
        }
        for (i, (sums, bias)) in sums.iter().zip(bias).enumerate() {
            for (j, (to, sum)) in output[i * pitch..].iter_mut().zip(sums).take(count).enumerate() {
                let sum = residual.map_or(sum + bias, |residual| sum + bias + residual[i * pitch + j]);
                *to = clamped(sum, low, high);
            }
        }
    }
}

/// Sums of a block of output channels by a panel.
#[inline(always)]
fn tile<const FUSED: bool, const N: usize>(weights: &[f32], panel: &[[f32; N]]) -> [[f32; N]; BLOCK] {
    // Written out, because a compiler that left a loop over the block standing would keep the sums in memory.
    let [mut a, mut b, mut c, mut d, mut e, mut f] = [[0.0f32; N]; BLOCK];
    for (weights, values) in weights.as_chunks::<BLOCK>().0.iter().zip(panel) {
        a = plus::<FUSED, N>(a, weights[0], values);
        b = plus::<FUSED, N>(b, weights[1], values);
        c = plus::<FUSED, N>(c, weights[2], values);
        d = plus::<FUSED, N>(d, weights[3], values);
        e = plus::<FUSED, N>(e, weights[4], values);
        f = plus::<FUSED, N>(f, weights[5], values);
    }
    [a, b, c, d, e, f]
}

#[inline(always)]
fn plus<const FUSED: bool, const N: usize>(mut sums: [f32; N], weight: f32, values: &[f32; N]) -> [f32; N] {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = if FUSED { weight.mul_add(*value, *sum) } else { *sum + weight * value };
    }
    sums
}
