//! A matrix of weights times a matrix of channels x positions: the arithmetic of 1x1 convolutions.
//!
//! The positions are taken in panels of sixteen, which are copied so that a panel lies in one piece. Six channels of the output by one panel are summed in
//! registers. Every sum runs over the input's channels in their order, starting from zero, with fused multiply-add if the processor has it; then come bias,
//! residual and clamp.

use super::clamped;
use super::processor::{Processor, Work};

/// Output channels that are summed at the same time.
pub(crate) const BLOCK: usize = 6;
/// Positions of a panel.
const PANEL: usize = 16;

/// A panel ends inside the output.
const INSIDE: &str = "a panel inside the output";

/// `output = clamp(weights * input + bias + residual)`.
pub(crate) struct Product<'a> {
    pub(crate) factor: Factor<'a>,
    /// Positions.
    pub(crate) columns: usize,
    /// Of the output's shape.
    pub(crate) residual: Option<&'a [f32]>,
    /// Input channels x positions.
    pub(crate) input: &'a [f32],
    /// Output channels x positions.
    pub(crate) output: &'a mut [f32],
    pub(crate) scratch: &'a mut Vec<f32>,
}

/// What an input is multiplied with, and what becomes of the sums.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    /// Output channels.
    pub(crate) rows: usize,
    /// Input channels.
    pub(crate) depth: usize,
    /// As [`packed`] lays them out.
    pub(crate) weights: &'a [f32],
    /// One number for each output channel.
    pub(crate) bias: &'a [f32],
    pub(crate) low: f32,
    pub(crate) high: f32,
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
    fn run<P: Processor>(self) {
        let Self { factor, columns, residual, input, output, scratch: kept } = self;
        let depth = factor.depth;
        let together = PANEL * (TOGETHER / (PANEL * depth)).clamp(1, 32);
        let mut scratch = std::mem::take(kept);
        scratch.resize(depth * together.min(columns.next_multiple_of(PANEL)), 0.0);
        for first in (0..columns).step_by(together) {
            let count = together.min(columns - first);
            copy(&input[first..], columns, count, depth, &mut scratch);
            let residual = residual.map(|residual| &residual[first..]);
            for block in 0..factor.rows.div_ceil(BLOCK) {
                factor.sums::<P>(block, &scratch, count, residual, &mut output[first..], columns);
            }
        }
        *kept = scratch;
    }
}

/// Numbers that `count` positions of so many channels take as panels.
pub(crate) fn panels_len(count: usize, depth: usize) -> usize {
    count.next_multiple_of(PANEL) * depth
}

/// Copies the first `count` positions of each channel of the input, which are `pitch` apart, in panels.
#[inline(always)]
pub(crate) fn copy(input: &[f32], pitch: usize, count: usize, depth: usize, panels: &mut [f32]) {
    for at in (0..count).step_by(PANEL) {
        let to = &mut panels[at * depth..][..PANEL * depth];
        if count - at > PANEL / 2 {
            copy_panel::<PANEL>(&input[at..], pitch, (count - at).min(PANEL), to);
        } else {
            copy_panel::<{ PANEL / 2 }>(&input[at..], pitch, count - at, to);
        }
    }
}

/// Copies `count` positions, at most N, so that they lie in one piece. What stands behind them is computed with, and not stored.
#[inline(always)]
fn copy_panel<const N: usize>(input: &[f32], pitch: usize, count: usize, to: &mut [f32]) {
    for (to, line) in to.as_chunks_mut::<N>().0.iter_mut().zip(input.chunks(pitch)) {
        match line.first_chunk::<N>() {
            Some(line) if count == N => *to = *line,
            _ => to.iter_mut().zip(&line[..count]).for_each(|(to, from)| *to = *from),
        }
    }
}

impl<'a> Factor<'a> {
    /// That of one block of output channels.
    #[inline(always)]
    pub(crate) fn block(&self, block: usize) -> Factor<'a> {
        let (first, rows) = (block * BLOCK, BLOCK.min(self.rows - block * BLOCK));
        let weights = &self.weights[first * self.depth..][..BLOCK * self.depth];
        Factor { rows, weights, bias: &self.bias[first..][..rows], ..*self }
    }

    /// A block of output channels of `count` positions: rows of the output, and of the residual, are `pitch` apart, and begin with the first of these positions.
    #[inline(always)]
    pub(crate) fn sums<P: Processor>(
        &self,
        block: usize,
        panels: &[f32],
        count: usize,
        residual: Option<&[f32]>,
        output: &mut [f32],
        pitch: usize,
    ) {
        let first = block * BLOCK * pitch;
        for at in (0..count).step_by(PANEL) {
            let panel = &panels[at * self.depth..][..PANEL * self.depth];
            let residual = residual.map(|residual| &residual[first + at..]);
            let output = &mut output[first + at..];
            if count - at > PANEL / 2 {
                self.sum::<P, PANEL>(block, (count - at).min(PANEL), panel, residual, output, pitch);
            } else {
                self.sum::<P, { PANEL / 2 }>(block, count - at, panel, residual, output, pitch);
            }
        }
    }

    /// A block of output channels of a panel.
    #[inline(always)]
    fn sum<P: Processor, const N: usize>(
        &self,
        block: usize,
        count: usize,
        panel: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
        pitch: usize,
    ) {
        let weights = &self.weights[block * BLOCK * self.depth..][..BLOCK * self.depth];
        let sums = tile::<P, N>(weights, panel.as_chunks::<N>().0);
        let bias = &self.bias[block * BLOCK..self.rows.min((block + 1) * BLOCK)];
        let (low, high) = (self.low, self.high);
        P::apart(Finish { sums: &sums, bias, count, residual, low, high, output, pitch });
    }
}

/// Writes the sums of a block of output channels by a panel.
struct Finish<'a, const N: usize> {
    sums: &'a [[f32; N]; BLOCK],
    bias: &'a [f32],
    count: usize,
    residual: Option<&'a [f32]>,
    low: f32,
    high: f32,
    output: &'a mut [f32],
    pitch: usize,
}

impl<const N: usize> Work for Finish<'_, N> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let Self { sums, bias, count, residual, low, high, output, pitch } = self;
        for (i, (sums, bias)) in sums.iter().zip(bias).enumerate() {
            if count == N {
                let line: &mut [f32; N] = output[i * pitch..].first_chunk_mut().expect(INSIDE);
                let sums = sums.map(|sum| sum + bias);
                *line = match residual {
                    Some(residual) => {
                        let residual: &[f32; N] = residual[i * pitch..].first_chunk().expect(INSIDE);
                        std::array::from_fn(|j| clamped(sums[j] + residual[j], low, high))
                    }
                    None => sums.map(|sum| clamped(sum, low, high)),
                };
                continue;
            }
            for (j, (to, sum)) in output[i * pitch..].iter_mut().zip(sums).take(count).enumerate() {
                let sum = residual.map_or(sum + bias, |residual| sum + bias + residual[i * pitch + j]);
                *to = clamped(sum, low, high);
            }
        }
    }
}

/// Sums of a block of output channels by a panel.
#[inline(always)]
fn tile<P: Processor, const N: usize>(weights: &[f32], panel: &[[f32; N]]) -> [[f32; N]; BLOCK] {
    // Written out, because a compiler that left a loop over the block standing would keep the sums in memory.
    let [mut a, mut b, mut c, mut d, mut e, mut f] = [[0.0f32; N]; BLOCK];
    for (weights, values) in weights.as_chunks::<BLOCK>().0.iter().zip(panel) {
        a = plus::<P, N>(a, weights[0], values);
        b = plus::<P, N>(b, weights[1], values);
        c = plus::<P, N>(c, weights[2], values);
        d = plus::<P, N>(d, weights[3], values);
        e = plus::<P, N>(e, weights[4], values);
        f = plus::<P, N>(f, weights[5], values);
    }
    [a, b, c, d, e, f]
}

#[inline(always)]
fn plus<P: Processor, const N: usize>(mut sums: [f32; N], weight: f32, values: &[f32; N]) -> [f32; N] {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = if P::FUSED { weight.mul_add(*value, *sum) } else { *sum + weight * value };
    }
    sums
}
