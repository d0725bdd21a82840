//! Pooling and means.

use crate::convolution::{Taps, windows_fit};
use crate::fixed::Multiplier;
use crate::number::{Number, zeros_fit};
use crate::plan::volume;

/// Channels that are pooled side by side.
const LANES: usize = 64;

/// The average or the largest of each window; what lies outside the picture does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<N: Number = i8> {
    /// Pictures.
    pub batch: usize,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Height and width of the window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows above and columns left of the picture where the first window begins.
    pub padding: [usize; 2],
    /// What is added to each number before the average and taken from it after, so that halves are rounded away from its negative: 0; or 128 in networks of bytes without
    /// sign, whose halves are rounded up. The largest number is the same with any.
    pub lift: i32,
    /// The smallest output.
    pub low: N,
    /// The largest output.
    pub high: N,
}

impl<N: Number> Pool<N> {
    /// How many numbers it reads and writes.
    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        let [height, width, channels] = self.input;
        let [rows, columns] = self.output;
        let fits = windows_fit(rows, self.stride[0], self.padding[0], 1, self.window[0])
            && windows_fit(columns, self.stride[1], self.padding[1], 1, self.window[1])
            // Sums fit 32 bits, and taps are searched one by one.
            && volume(&self.window)? <= N::MOST_SUMMED
            && (0..=128).contains(&self.lift)
            && self.low <= self.high;
        let output = volume(&[self.batch, rows, columns, channels])?;
        fits.then_some(([volume(&[self.batch, height, width, channels])?, 0], output))
    }

    pub(crate) fn run_average(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        self.run(
            input,
            output,
            0,
            |so_far, x| so_far + x,
            |sum, count| {
                let (sum, half) = (sum + self.lift * count, count >> 1);
                (if sum > 0 { sum + half } else { sum - half }).checked_div(count).unwrap_or(0) - self.lift
            },
        )
    }

    pub(crate) fn run_max(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        self.run(input, output, N::LEAST, i32::max, |largest, _| largest)
    }

    #[inline]
    fn run(
        &self,
        input: &[i8],
        output: &mut [i8],
        start: i32,
        gather: impl Fn(i32, i32) -> i32,
        finish: impl Fn(i32, i32) -> i32,
    ) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let [height, width, channels] = self.input;
        let [rows, columns] = self.output;
        let mut pixels = output.chunks_exact_mut(channels.max(1));
        for picture in input.chunks_exact((height * width * channels).max(1)) {
            for y in 0..rows {
                let down = Taps::of(y, self.stride[0], self.padding[0], 1, self.window[0], height);
                for x in 0..columns {
                    let across = Taps::of(x, self.stride[1], self.padding[1], 1, self.window[1], width);
                    let count = (down.count() * across.count()) as i32;
                    for (block, to) in pixels.next()?.chunks_mut(LANES).enumerate() {
                        let mut gathered = [start; LANES];
                        for tap in down.from..down.to {
                            for along in across.from..across.to {
                                let from = (down.place(tap) * width + across.place(along)) * channels + block * LANES;
                                for (so_far, x) in gathered.iter_mut().zip(picture.get(from..)?.get(..to.len())?) {
                                    *so_far = gather(*so_far, N::value(*x));
                                }
                            }
                        }
                        for (to, all) in to.iter_mut().zip(gathered) {
                            *to = N::held(finish(all, count).max(self.low.into()).min(self.high.into()));
                        }
                    }
                }
            }
        }
        Some(())
    }
}

/// The mean over the middle of three axes, rescaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mean {
    /// Lengths of the three axes.
    pub shape: [usize; 3],
    /// The input's zero point.
    pub zero: i32,
    /// The output's zero point.
    pub output_zero: i32,
    /// From the sum in the input's steps to the mean in the output's: [`Mean::multiplier`].
    pub multiplier: Multiplier,
}

impl Mean {
    /// The multiplier of a mean over so many numbers, from the quotient of the scales of input and output.
    pub fn multiplier(scales: f64, count: usize) -> Option<Multiplier> {
        let Multiplier { value, shift } = Multiplier::of(scales)?;
        let count = i64::try_from(count).ok().filter(|count| *count > 0)?;
        let by = (63 - count.leading_zeros() as i32).min(32).min(31 + shift);
        let value = (i64::from(value) << by).checked_div(count)? as i32;
        Some(Multiplier { value, shift: shift - by })
    }

    /// How many numbers it reads and writes.
    pub(crate) fn numbers<N: Number>(&self) -> Option<([usize; 2], usize)> {
        let [outer, count, inner] = self.shape;
        let fits = zeros_fit::<N>(&[self.zero, self.output_zero])
            && (-31..=30).contains(&self.multiplier.shift)
            && (1..=N::MOST_SUMMED).contains(&count);
        fits.then_some(([volume(&self.shape)?, 0], volume(&[outer, inner])?))
    }

    pub(crate) fn run<N: Number>(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let [_, count, inner] = self.shape;
        let inner = inner.max(1);
        // Chunks are not zipped: that divides by their length, where it is not known to be positive.
        let mut outputs = output.chunks_exact_mut(inner);
        for all in input.chunks_exact((count * inner).max(1)) {
            let means = outputs.next()?;
            for (block, to) in means.chunks_mut(LANES).enumerate() {
                let mut sums = [0i32; LANES];
                for row in all.chunks_exact(inner) {
                    for (sum, x) in sums.iter_mut().zip(row.get(block * LANES..)?.get(..to.len())?) {
                        *sum += N::value(*x);
                    }
                }
                for (to, sum) in to.iter_mut().zip(sums) {
                    let sum = sum.wrapping_sub(self.zero.wrapping_mul(count as i32));
                    let mean = self.multiplier.times(sum).wrapping_add(self.output_zero);
                    *to = N::held(mean.clamp(N::LEAST, N::MOST));
                }
            }
        }
        Some(())
    }
}
