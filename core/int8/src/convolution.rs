//! Convolutions, and fully connected layers as convolutions of one position.

use crate::fixed::Multiplier;
use crate::number::{Number, Sum, zeros_fit};
use crate::plan::{LARGEST, volume};

/// Channels of a depthwise convolution that are summed side by side.
const LANES: usize = 32;

/// A convolution of pictures whose channels come last: sum over the window of (x - zero) (w - weights' zero), plus bias, rescaled channel by channel.
///
/// Numbers of 8 bits are summed in 32; those of 16 in 64, or in 32 where the reference does so. Zero points of 16 bits are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convolution<'a, N: Number = i8, S: Sum = i32> {
    /// Pictures.
    pub batch: usize,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height, width and channels of the output.
    pub output: [usize; 3],
    /// Height and width of the window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns from one tap of a window to the next.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the picture where the first window begins.
    pub padding: [usize; 2],
    /// The input's zero point; outside the picture the input is that.
    pub zero: i32,
    /// The weights' zero point: 0, but in networks of bytes without sign.
    pub weights_zero: i32,
    /// The output's zero point.
    pub output_zero: i32,
    /// The smallest output.
    pub low: N,
    /// The largest output.
    pub high: N,
    /// Output channels x window height x window width x input channels, of a group; depthwise: window height x window width x output channels.
    pub weights: &'a [i8],
    /// For each output channel; empty for none.
    pub bias: &'a [S],
    /// For each output channel, or one for all: [`Multiplier::value`].
    pub multipliers: &'a [i32],
    /// For each output channel, or one for all: [`Multiplier::shift`].
    pub shifts: &'a [i8],
}

/// The taps of a window that lie on the picture, along one axis: the first and the one after the last; and the place of tap 0, which may lie before the picture.
#[derive(Clone, Copy)]
pub(crate) struct Taps {
    pub(crate) from: usize,
    pub(crate) to: usize,
    start: isize,
    dilation: usize,
}

impl Taps {
    pub(crate) fn of(at: usize, stride: usize, padding: usize, dilation: usize, taps: usize, length: usize) -> Self {
        let start = (at * stride) as isize - padding as isize;
        let place = |tap: usize| start + (tap * dilation) as isize;
        // Windows are small: a search is short, and divides by nothing.
        let mut from = 0;
        while from < taps && place(from) < 0 {
            from += 1;
        }
        let mut to = taps;
        while to > from && place(to - 1) >= length as isize {
            to -= 1;
        }
        Self { from, to, start, dilation }
    }

    /// Where a tap from `from` to `to` lies.
    pub(crate) fn place(&self, tap: usize) -> usize {
        (self.start + (tap * self.dilation) as isize) as usize
    }

    pub(crate) fn count(&self) -> usize {
        self.to - self.from
    }
}

/// Whether windows that begin at `padding` before a picture and go on by `stride` are few and small enough to index.
pub(crate) fn windows_fit(output: usize, stride: usize, padding: usize, dilation: usize, taps: usize) -> bool {
    let last = output.checked_mul(stride).and_then(|last| last.checked_add(taps.checked_mul(dilation)?));
    stride > 0 && dilation > 0 && taps > 0 && padding <= LARGEST && last.is_some_and(|last| last <= LARGEST)
}

impl<N: Number, S: Sum> Convolution<'_, N, S> {
    fn group_channels(&self) -> Option<usize> {
        let [.., outputs] = self.output;
        let taps = volume(&[outputs, self.window[0], self.window[1]])?;
        let channels = self.weights.len().checked_div(taps)?;
        (channels.checked_mul(taps)? == self.weights.len() && channels > 0).then_some(channels)
    }

    /// How many numbers it reads and writes.
    pub(crate) fn numbers(&self, depthwise: bool) -> Option<([usize; 2], usize)> {
        let [.., channels] = self.input;
        let [rows, columns, outputs] = self.output;
        let fits = |axis: usize, output: usize| {
            windows_fit(
                output,
                *self.stride.get(axis)?,
                *self.padding.get(axis)?,
                *self.dilation.get(axis)?,
                *self.window.get(axis)?,
            )
            .then_some(())
        };
        fits(0, rows)?;
        fits(1, columns)?;
        let weights = if depthwise {
            (outputs.checked_rem(channels)? == 0).then_some(())?;
            volume(&[self.window[0], self.window[1], outputs])?
        } else {
            let group = self.group_channels()?;
            let groups = channels.checked_div(group)?;
            (groups * group == channels && outputs.checked_rem(groups)? == 0).then_some(())?;
            volume(&[self.window[0], self.window[1], outputs, group])?
        };
        let zeros = zeros_fit::<N>(&[self.zero, self.weights_zero, self.output_zero]);
        let scaled = |length: usize| length == 1 || length == outputs;
        let consistent = self.weights.len() == weights
            && (self.bias.is_empty() || self.bias.len() == outputs)
            && scaled(self.multipliers.len())
            && self.shifts.len() == self.multipliers.len()
            && self.shifts.iter().all(|shift| (-31..=S::MOST_SHIFT).contains(shift))
            && zeros
            && self.low <= self.high;
        let all = |[height, width, channels]: [usize; 3]| volume(&[self.batch, height, width, channels]);
        consistent.then_some(([all(self.input)?, 0], all(self.output)?))
    }

    /// The output for the sum of products of a channel.
    #[inline]
    fn rescaled(&self, channel: usize, sum: S) -> Option<N::Held> {
        let at = if self.multipliers.len() == 1 { 0 } else { channel };
        let multiplier = Multiplier { value: *self.multipliers.get(at)?, shift: i32::from(*self.shifts.get(at)?) };
        let value = sum.rescaled(multiplier).wrapping_add(self.output_zero);
        Some(N::held(value.max(self.low.into()).min(self.high.into())))
    }

    /// What the weights' zero point takes from the sums of a depthwise convolution's channels, from `first` on. Apart, so that networks without one pay nothing.
    #[inline(never)]
    fn take_away(&self, picture: &[N::Held], [down, across]: [Taps; 2], first: usize, sums: &mut [S]) -> Option<()> {
        let ([_, width, channels], [.., outputs]) = (self.input, self.output);
        let multiple = outputs.checked_div(channels)?;
        for tap in down.from..down.to {
            for along in across.from..across.to {
                let from = (down.place(tap) * width + across.place(along)) * channels;
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = picture.get(from + (first + lane).checked_div(multiple)?)?;
                    *sum = sum.plus((self.zero - N::value(*x)) * self.weights_zero);
                }
            }
        }
        Some(())
    }

    /// The sum of x - zero over the taps on the picture, from the channel `offset` on.
    #[inline(never)]
    fn seen(&self, picture: &[N::Held], [down, across]: [Taps; 2], offset: usize, group: usize) -> Option<i32> {
        let [_, width, channels] = self.input;
        let mut sum = 0i32;
        for tap in down.from..down.to {
            for along in across.from..across.to {
                let from = (down.place(tap) * width + across.place(along)) * channels + offset;
                sum =
                    run_of(picture, from, group)?.iter().fold(sum, |sum, x| sum.wrapping_add(N::value(*x) - self.zero));
            }
        }
        Some(sum)
    }

    pub(crate) fn run(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let zero = self.zero as i16;
        let ([height, width, channels], [rows, columns, outputs]) = (self.input, self.output);
        let [tall, wide] = self.window;
        let group = self.group_channels()?;
        let outputs_of_group = outputs.checked_div(channels.checked_div(group)?)?;
        // Taps side by side are one run of numbers.
        let runs = group == channels && self.dilation[1] == 1;
        let mut pixels = output.chunks_exact_mut(outputs.max(1));
        for picture in input.chunks_exact((height * width * channels).max(1)) {
            for y in 0..rows {
                let down = Taps::of(y, self.stride[0], self.padding[0], self.dilation[0], tall, height);
                for x in 0..columns {
                    let across = Taps::of(x, self.stride[1], self.padding[1], self.dilation[1], wide, width);
                    let pixel = pixels.next()?;
                    // What the weights' zero point takes away, and from which channel on that was summed: it is the same for all outputs of a group.
                    let (mut away, mut summed) = (0i32, None);
                    for (channel, (to, weights)) in
                        pixel.iter_mut().zip(self.weights.chunks_exact((tall * wide * group).max(1))).enumerate()
                    {
                        let mut sum = self.bias.get(channel).copied().unwrap_or_default();
                        let offset = if group == channels { 0 } else { channel.checked_div(outputs_of_group)? * group };
                        if self.weights_zero != 0 {
                            if summed != Some(offset) {
                                let seen = self.seen(picture, [down, across], offset, group)?;
                                (away, summed) = (seen.wrapping_mul(self.weights_zero), Some(offset));
                            }
                            sum = sum.plus(away.wrapping_neg());
                        }
                        for tap in down.from..down.to {
                            let row = down.place(tap) * width;
                            if runs {
                                let length = across.count() * channels;
                                let from = (row + across.place(across.from)) * channels;
                                let with = (tap * wide + across.from) * channels;
                                let seen = run_of(picture, from, length)?;
                                sum = sum.plus_dot::<N>(seen, run_of(weights, with, length)?, zero);
                                continue;
                            }
                            for along in across.from..across.to {
                                let from = (row + across.place(along)) * channels + offset;
                                let with = (tap * wide + along) * group;
                                let seen = run_of(picture, from, group)?;
                                sum = sum.plus_dot::<N>(seen, run_of(weights, with, group)?, zero);
                            }
                        }
                        *to = self.rescaled(channel, sum)?;
                    }
                }
            }
        }
        Some(())
    }

    pub(crate) fn run_depthwise(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let ([height, width, channels], [rows, columns, outputs]) = (self.input, self.output);
        let [tall, wide] = self.window;
        let multiple = outputs.checked_div(channels)?;
        let mut pixels = output.chunks_exact_mut(outputs.max(1));
        for picture in input.chunks_exact((height * width * channels).max(1)) {
            for y in 0..rows {
                let down = Taps::of(y, self.stride[0], self.padding[0], self.dilation[0], tall, height);
                for x in 0..columns {
                    let across = Taps::of(x, self.stride[1], self.padding[1], self.dilation[1], wide, width);
                    let pixel = pixels.next()?;
                    for (block, to) in pixel.chunks_mut(LANES).enumerate() {
                        let first = block * LANES;
                        let mut sums = [S::default(); LANES];
                        for (sum, bias) in sums.iter_mut().zip(self.bias.iter().skip(first)) {
                            *sum = *bias;
                        }
                        if self.weights_zero != 0 {
                            self.take_away(picture, [down, across], first, sums.get_mut(..to.len())?)?;
                        }
                        for tap in down.from..down.to {
                            let row = down.place(tap) * width;
                            for along in across.from..across.to {
                                let from = (row + across.place(along)) * channels;
                                let weights = run_of(self.weights, (tap * wide + along) * outputs + first, to.len())?;
                                if multiple == 1 {
                                    let seen = run_of(picture, from + first, to.len())?;
                                    for ((sum, x), w) in sums.iter_mut().zip(seen).zip(weights) {
                                        *sum = sum.plus((N::value(*x) - self.zero) * i32::from(*w));
                                    }
                                    continue;
                                }
                                for (lane, (sum, w)) in sums.iter_mut().zip(weights).enumerate() {
                                    let x = picture.get(from + (first + lane).checked_div(multiple)?)?;
                                    *sum = sum.plus((N::value(*x) - self.zero) * i32::from(*w));
                                }
                            }
                        }
                        for (lane, (to, sum)) in to.iter_mut().zip(sums).enumerate() {
                            *to = self.rescaled(first + lane, sum)?;
                        }
                    }
                }
            }
        }
        Some(())
    }
}

/// So many side by side.
#[inline]
fn run_of<T>(all: &[T], from: usize, length: usize) -> Option<&[T]> {
    all.get(from..)?.get(..length)
}
