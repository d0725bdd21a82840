//! The arithmetic of 1x1 convolutions: a matrix of weights times a matrix of channels x positions.
//!
//! The positions are taken in panels of sixteen, which are copied so that a panel lies in one piece. Six channels of the output by one panel are summed in
//! registers. Every sum runs over the input's channels in their order, starting from zero, with fused multiply-add; then come bias, residual and clamp.

use super::processor::Work;

/// Output channels that are summed at the same time.
pub(super) const BLOCK: usize = 6;
/// Positions of a panel.
const PANEL: usize = 16;

/// `output = clamp(weights * input + bias + residual)`.
pub(super) struct Product<'a> {
    /// Output channels.
    pub(super) rows: usize,
    /// Positions.
    pub(super) columns: usize,
    /// As [`packed`] lays them out.
    pub(super) weights: &'a [f32],
    /// One number for each output channel.
    pub(super) bias: &'a [f32],
    /// Of the output's shape.
    pub(super) residual: Option<&'a [f32]>,
    pub(super) low: f32,
    pub(super) high: f32,
    /// Input channels x positions.
    pub(super) input: &'a [f32],
    /// Output channels x positions.
    pub(super) output: &'a mut [f32],
    pub(super) scratch: &'a mut Vec<f32>,
}

/// Weights, `depth` for each output channel, in blocks of channels: for each input channel those of all channels of the block.
pub(super) fn packed(weights: impl Fn(usize, usize) -> f32, rows: usize, depth: usize) -> Vec<f32> {
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

impl Work for Product<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        let mut at = 0;
        while at < self.columns {
            let left = self.columns - at;
            if left > PANEL / 2 {
                self.panel::<FUSED, PANEL>(at, left.min(PANEL));
            } else {
                self.panel::<FUSED, { PANEL / 2 }>(at, left);
            }
            at += PANEL;
        }
    }
}

impl Product<'_> {
    /// All output channels of `count` positions from `at` on.
    #[inline(always)]
    fn panel<const FUSED: bool, const N: usize>(&mut self, at: usize, count: usize) {
        let depth = self.input.len() / self.columns;
        self.scratch.resize(depth * N, 0.0);
        let panel = self.scratch.as_chunks_mut::<N>().0;
        for (to, line) in panel.iter_mut().zip(self.input.chunks_exact(self.columns)) {
            match line[at..].first_chunk::<N>() {
                Some(line) if count == N => *to = *line,
                // What stands behind is computed with, and not stored.
                _ => to.iter_mut().zip(&line[at..at + count]).for_each(|(to, from)| *to = *from),
            }
        }
        for (block, weights) in self.weights.chunks_exact(BLOCK * depth).enumerate() {
            let sums = tile::<FUSED, N>(weights, panel);
            for (i, sums) in sums.iter().enumerate() {
                let row = block * BLOCK + i;
                if row >= self.rows {
                    break;
                }
                let from = row * self.columns + at;
                let (bias, low, high) = (self.bias[row], self.low, self.high);
                let line = &mut self.output[from..from + count];
                let residual = self.residual.map(|residual| &residual[from..from + count]);
                if let (Ok(line), Some(residual)) = (<&mut [f32; N]>::try_from(&mut *line), residual) {
                    for ((to, sum), residual) in line.iter_mut().zip(sums).zip(residual) {
                        *to = (sum + bias + residual).max(low).min(high);
                    }
                } else if let Ok(line) = <&mut [f32; N]>::try_from(&mut *line) {
                    for (to, sum) in line.iter_mut().zip(sums) {
                        *to = (sum + bias).max(low).min(high);
                    }
                } else {
                    for (i, (to, sum)) in line.iter_mut().zip(sums).enumerate() {
                        let sum = residual.map_or(sum + bias, |residual| sum + bias + residual[i]);
                        *to = sum.max(low).min(high);
                    }
                }
            }
        }
    }
}

/// Sums of a block of output channels by a panel.
#[inline(always)]
fn tile<const FUSED: bool, const N: usize>(weights: &[f32], panel: &[[f32; N]]) -> [[f32; N]; BLOCK] {
    let mut sums = [[0.0f32; N]; BLOCK];
    for (weights, values) in weights.as_chunks::<BLOCK>().0.iter().zip(panel) {
        for i in 0..BLOCK {
            for j in 0..N {
                sums[i][j] =
                    if FUSED { weights[i].mul_add(values[j], sums[i][j]) } else { sums[i][j] + weights[i] * values[j] };
            }
        }
    }
    sums
}
