//! The arithmetic of depthwise convolutions: each plane by a small kernel of its own.
//!
//! A plane is copied into scratch with its padding around it, so that no tap has to ask whether it is inside. Columns that are a stride apart come to lie side
//! by side: a row of scratch holds the columns 0, s, 2 s, ..., then 1, s + 1, ... One vector of neighbours is then loaded at once, whatever the stride.
//!
//! Every output is its bias plus the products in the order of the kernel's taps, without fused multiply-add: the numbers of a plain loop, bit for bit, but
//! that a tap on the padding adds zero instead of nothing.

use crate::arithmetic;
use crate::arithmetic::processor::{Processor, Work};

/// What is done to each plane. All pairs are height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub(super) input: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Rows and columns of zeros before the input; of a negative number, rows and columns of the input that are not read.
    pub(super) before: [isize; 2],
    /// Input rows and columns are this far apart, with zeros between: one, but in a transposed convolution.
    pub(super) spread: [usize; 2],
}

/// Numbers that a vector of the tile holds.
const LANES: usize = 8;

/// The same where rows are as long as that.
const WIDE: usize = 16;

/// Planes, one after another: `output[p] = clamp(input[p / multiplier] * kernel[p] + bias[p])`.
pub(super) struct Planes<'a> {
    pub(super) geometry: &'a Geometry,
    /// Output planes for each input plane.
    pub(super) multiplier: usize,
    pub(super) kernel: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) input: &'a [f32],
    /// Planes begin so many numbers apart.
    pub(super) output: &'a mut [f32],
    pub(super) pitch: usize,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Geometry {
    /// Whether the unrolled kernels fit: a square kernel of 3, 5 or 7, both strides the same, 1 or 2, and dilation at stride 1 only.
    fn is_square(&self) -> bool {
        let [kernel, stride, dilation] = [self.kernel, self.stride, self.dilation];
        let same = kernel[0] == kernel[1] && stride[0] == stride[1] && dilation[0] == dilation[1];
        same && matches!(kernel[0], 3 | 5 | 7) && (stride[0] == 1 || stride[0] == 2 && dilation[0] == 1)
    }

    /// Numbers in a row of scratch for each remainder of the column: all that any tap of a whole vector reads, and all that the input has.
    fn phase(&self) -> usize {
        let read = self.output[1].max(LANES) + (self.kernel[1] - 1) * self.dilation[1] / self.stride[1];
        let last = (self.input[1] - 1) * self.spread[1];
        read.max(last.saturating_add_signed(self.before[1]) / self.stride[1] + 1)
    }

    /// Rows of scratch that tiles of so many rows read.
    fn rows(&self, tile: usize) -> usize {
        let rows = self.output[0].max(tile * self.dilation[0]);
        self.stride[0] * (rows - 1) + (self.kernel[0] - 1) * self.dilation[0] + 1
    }
}

/// Rows of a tile. With seven, sums no longer stay in registers.
const ROWS: usize = 4;

impl Work for Planes<'_> {
    #[inline(always)]
    fn run<P: Processor>(self) {
        let wide = self.geometry.output[1] >= WIDE;
        match (self.geometry.is_square(), self.geometry.kernel[0], self.geometry.stride[0]) {
            (true, 3, 1) if wide => P::apart(Square::<3, 1, WIDE>(self)),
            (true, 5, 1) if wide => P::apart(Square::<5, 1, WIDE>(self)),
            (true, 3, 2) if wide => P::apart(Square::<3, 2, WIDE>(self)),
            (true, 5, 2) if wide => P::apart(Square::<5, 2, WIDE>(self)),
            (true, 3, 1) => P::apart(Square::<3, 1, LANES>(self)),
            (true, 5, 1) => P::apart(Square::<5, 1, LANES>(self)),
            (true, 7, 1) => P::apart(Square::<7, 1, LANES>(self)),
            (true, 3, 2) => P::apart(Square::<3, 2, LANES>(self)),
            (true, 5, 2) => P::apart(Square::<5, 2, LANES>(self)),
            (true, 7, 2) => P::apart(Square::<7, 2, LANES>(self)),
            _ => P::apart(Any(self)),
        }
    }
}

/// Square kernels of side K, both strides S, in vectors of L.
struct Square<'a, const K: usize, const S: usize, const L: usize>(Planes<'a>);

impl<const K: usize, const S: usize, const L: usize> Work for Square<'_, K, S, L> {
    #[inline(always)]
    fn run<P: Processor>(mut self) {
        self.0.square::<K, S, L>();
    }
}

/// Every other form.
struct Any<'a>(Planes<'a>);

impl Work for Any<'_> {
    #[inline(always)]
    fn run<P: Processor>(mut self) {
        self.0.any();
    }
}

impl Planes<'_> {
    /// Clears scratch for tiles of so many rows, and returns the length of a row.
    #[inline(always)]
    fn clear(&mut self, tile: usize) -> usize {
        let pitch = self.geometry.phase() * self.geometry.stride[1];
        self.scratch.clear();
        self.scratch.resize(self.geometry.rows(tile) * pitch, 0.0);
        pitch
    }

    /// Copies the plane of the input that output plane `at` is made of.
    #[inline(always)]
    fn copy(&mut self, at: usize, pitch: usize) {
        let g = self.geometry;
        let plane = &self.input[at / self.multiplier * g.input[0] * g.input[1]..][..g.input[0] * g.input[1]];
        for (y, from) in plane.chunks_exact(g.input[1]).enumerate() {
            let Ok(row) = usize::try_from((y * g.spread[0]) as isize + g.before[0]) else { continue };
            let Some(to) = self.scratch.get_mut(row * pitch..(row + 1) * pitch) else { break };
            copy_row(g, from, to);
        }
    }

    #[inline(always)]
    fn square<const K: usize, const S: usize, const L: usize>(&mut self) {
        let g = *self.geometry;
        let (pitch, phase) = (self.clear(ROWS), g.phase());
        let area = g.output[0] * g.output[1];
        let columns: [usize; K] = std::array::from_fn(|kx| (kx * g.dilation[1] % S) * phase + kx * g.dilation[1] / S);
        // Whether each tile is written whole.
        let whole = g.output[1] >= L && g.output[0] / g.dilation[0] >= ROWS;
        for at in 0..self.bias.len() {
            if at % self.multiplier == 0 {
                self.copy(at, pitch);
            }
            let kernel: &[[f32; K]] = self.kernel[at * K * K..][..K * K].as_chunks().0;
            let kernel: [[f32; K]; K] = std::array::from_fn(|ky| kernel[ky]);
            let plane = Plane { source: self.scratch, pitch, columns, kernel, bias: self.bias[at] };
            let output = &mut self.output[at * self.pitch..][..area];
            if whole {
                plane.tiles::<S, L, true>(&g, self.low, self.high, output);
            } else {
                plane.tiles::<S, L, false>(&g, self.low, self.high, output);
            }
        }
    }

    #[inline(always)]
    fn any(&mut self) {
        let g = *self.geometry;
        let (pitch, phase) = (self.clear(1), g.phase());
        let [height, width] = g.output;
        let stride = g.stride[1];
        let mut taps = Vec::with_capacity(g.kernel[0] * g.kernel[1]);
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                let column = kx * g.dilation[1];
                taps.push(ky * g.dilation[0] * pitch + column % stride * phase + column / stride);
            }
        }
        for at in 0..self.bias.len() {
            if at % self.multiplier == 0 {
                self.copy(at, pitch);
            }
            let kernel = &self.kernel[at * taps.len()..][..taps.len()];
            let output = &mut self.output[at * self.pitch..][..height * width];
            for y in 0..height {
                for x in (0..width).step_by(LANES) {
                    let x = x.min(width.saturating_sub(LANES));
                    let source = &self.scratch[g.stride[0] * y * pitch + x..];
                    let mut sum = [self.bias[at]; LANES];
                    for (tap, weight) in taps.iter().zip(kernel) {
                        let values: [f32; LANES] = vector(source, *tap);
                        for (sum, value) in sum.iter_mut().zip(values) {
                            *sum += weight * value;
                        }
                    }
                    store(&clamped(sum, self.low, self.high), &mut output[y * width + x..], width);
                }
            }
        }
    }
}

/// A row of the input to a row of scratch: padded, and columns a stride apart side by side.
#[inline(always)]
fn copy_row(g: &Geometry, from: &[f32], to: &mut [f32]) {
    let (stride, phase) = (g.stride[1], g.phase());
    match (stride, g.spread[1], usize::try_from(g.before[1])) {
        (1, 1, Ok(before)) => copy_near(from, &mut to[before..]),
        (2, 1, Ok(before)) => {
            let (even, odd) = to.split_at_mut(phase);
            // Column x of the input is column x + before of the padded row.
            if before % 2 == 0 {
                deinterleave(from, &mut even[before / 2..], &mut odd[before / 2..]);
            } else {
                deinterleave(from, &mut odd[before / 2..], &mut even[before / 2 + 1..]);
            }
        }
        _ => {
            for (x, from) in from.iter().enumerate() {
                let Ok(column) = usize::try_from((x * g.spread[1]) as isize + g.before[1]) else { continue };
                to[column % stride * phase + column / stride] = *from;
            }
        }
    }
}

/// Copies a short row: a call of the system's copy would take longer than the copy.
#[inline(always)]
fn copy_near(from: &[f32], to: &mut [f32]) {
    let to = &mut to[..from.len()];
    if !(copy_by::<8>(from, to) || copy_by::<4>(from, to)) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

/// Copies a row of N numbers or more, the last of them perhaps twice.
#[inline(always)]
fn copy_by<const N: usize>(from: &[f32], to: &mut [f32]) -> bool {
    let (Some(last), Some(to_last)) = (from.last_chunk::<N>(), to.last_chunk_mut::<N>()) else { return false };
    *to_last = *last;
    for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.as_chunks::<N>().0) {
        *to = *from;
    }
    true
}

/// The numbers in turn to one row and to the other.
#[inline(always)]
fn deinterleave(from: &[f32], first: &mut [f32], second: &mut [f32]) {
    let second = &mut second[..from.len() / 2];
    let first = &mut first[..from.len().div_ceil(2)];
    let (pairs, last) = from.as_chunks::<2>();
    for ((first, second), pair) in first.iter_mut().zip(second).zip(pairs) {
        *first = pair[0];
        *second = pair[1];
    }
    if let ([last], Some(first)) = (last, first.last_mut()) {
        *first = *last;
    }
}

/// Rows of a tile end inside the plane.
const INSIDE: &str = "a tile inside the plane";

/// A padded plane and its kernel.
struct Plane<'a, const K: usize> {
    source: &'a [f32],
    pitch: usize,
    /// Where the taps of a row lie.
    columns: [usize; K],
    kernel: [[f32; K]; K],
    bias: f32,
}

impl<const K: usize> Plane<'_, K> {
    #[inline(always)]
    fn tiles<const S: usize, const L: usize, const WHOLE: bool>(
        &self,
        g: &Geometry,
        low: f32,
        high: f32,
        output: &mut [f32],
    ) {
        let ([height, width], apart) = (g.output, g.dilation[0]);
        // Rows that are a dilation apart share their taps.
        for first in 0..apart.min(height) {
            let count = (height - first).div_ceil(apart);
            for i in (0..count).step_by(ROWS) {
                // The last tile goes back over rows that are done.
                let i = i.min(count.saturating_sub(ROWS));
                for x in (0..width).step_by(L) {
                    let x = x.min(width.saturating_sub(L));
                    let source = &self.source[(first + S * i * apart) * self.pitch + x..];
                    let output = &mut output[(first + i * apart) * width + x..];
                    let mut lines = output.chunks_mut(apart * width);
                    if WHOLE {
                        // Looked up before the tile is computed: a compiler would put off parts of the sums behind each of these checks.
                        let lines: [&mut [f32; L]; ROWS] =
                            std::array::from_fn(|_| lines.next().and_then(<[f32]>::first_chunk_mut).expect(INSIDE));
                        let tile = self.tile::<S, L>(source, apart * self.pitch);
                        for (line, sums) in lines.into_iter().zip(tile) {
                            *line = clamped(sums, low, high);
                        }
                    } else {
                        let tile = self.tile::<S, L>(source, apart * self.pitch);
                        for (line, sums) in lines.zip(tile).take(count) {
                            store(&clamped(sums, low, high), line, width);
                        }
                    }
                }
            }
        }
    }

    /// Rows of one vector. A row of the source is loaded once for all the rows of the tile that it is a tap of.
    #[inline(always)]
    fn tile<const S: usize, const L: usize>(&self, source: &[f32], pitch: usize) -> [[f32; L]; ROWS] {
        let [mut a, mut b, mut c, mut d] = [[self.bias; L]; ROWS];
        // Written out, because a compiler that left a loop over the rows standing would keep the sums in memory, which is five times slower.
        macro_rules! rows {
            ($($y:literal)*) => {$(
                if $y < S * (ROWS - 1) + K {
                    let line = &source[$y * pitch..];
                    for (kx, column) in self.columns.iter().enumerate() {
                        let values: [f32; L] = vector(line, *column);
                        a = self.plus(a, $y, 0, kx, &values);
                        b = self.plus(b, $y, S, kx, &values);
                        c = self.plus(c, $y, 2 * S, kx, &values);
                        d = self.plus(d, $y, 3 * S, kx, &values);
                    }
                }
            )*};
        }
        const { assert!(S * (ROWS - 1) + K <= 13) };
        rows!(0 1 2 3 4 5 6 7 8 9 10 11 12);
        [a, b, c, d]
    }

    /// The sums of a row of the tile, whose first tap is row `first` of the source, with what row `y` of the source is worth to it.
    #[inline(always)]
    fn plus<const L: usize>(
        &self,
        mut sums: [f32; L],
        y: usize,
        first: usize,
        kx: usize,
        values: &[f32; L],
    ) -> [f32; L] {
        if y >= first && y - first < K {
            let weight = self.kernel[y - first][kx];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        sums
    }
}

#[inline(always)]
fn vector<const L: usize>(source: &[f32], at: usize) -> [f32; L] {
    let mut values = [0.0; L];
    values.copy_from_slice(&source[at..at + L]);
    values
}

#[inline(always)]
fn clamped<const L: usize>(values: [f32; L], low: f32, high: f32) -> [f32; L] {
    values.map(|value| arithmetic::clamped(value, low, high))
}

/// As much of the vector as the row is wide.
#[inline(always)]
fn store<const L: usize>(values: &[f32; L], row: &mut [f32], width: usize) {
    // Each length is written out: a copy of a length that is only known later would be a call of the system's.
    macro_rules! first {
        ($($length:literal)*) => {
            match width {
                $($length => row[..$length].copy_from_slice(&values[..$length]),)*
                _ => row[..L].copy_from_slice(values),
            }
        };
    }
    first!(1 2 3 4 5 6 7);
}
