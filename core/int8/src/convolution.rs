//! Convolutions, and fully connected layers as convolutions of one position.

use crate::fixed::Multiplier;
use crate::plan::{LARGEST, volume};

/// Channels of a depthwise convolution that are summed side by side.
const LANES: usize = 32;

/// A convolution of pictures whose channels come last: sum over the window of (x - zero) (w - weights' zero), plus bias, rescaled channel by channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convolution<'a> {
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
    pub low: i8,
    /// The largest output.
    pub high: i8,
    /// Output channels x window height x window width x input channels, of a group; depthwise: window height x window width x output channels.
    pub weights: &'a [i8],
    /// For each output channel; empty for none.
    pub bias: &'a [i32],
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

impl Convolution<'_> {
    fn group_channels(&self) -> Option<usize> {
        let [.., outputs] = self.output;
        let taps = volume(&[outputs, self.window[0], self.window[1]])?;
        let channels = self.weights.len().checked_div(taps)?;
        (channels.checked_mul(taps)? == self.weights.len() && channels > 0).then_some(channels)
    }

    pub(crate) fn lengths(&self, depthwise: bool) -> Option<([usize; 2], usize)> {
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
        let zeros = [self.zero, self.weights_zero, self.output_zero].iter().all(|zero| (-128..=127).contains(zero));
        let scaled = |length: usize| length == 1 || length == outputs;
        let consistent = self.weights.len() == weights
            && (self.bias.is_empty() || self.bias.len() == outputs)
            && scaled(self.multipliers.len())
            && self.shifts.len() == self.multipliers.len()
            && self.shifts.iter().all(|shift| (-31..=30).contains(shift))
            && zeros
            && self.low <= self.high;
        let all = |[height, width, channels]: [usize; 3]| volume(&[self.batch, height, width, channels]);
        consistent.then_some(([all(self.input)?, 0], all(self.output)?))
    }

    /// The output for the sum of products of a channel.
    #[inline]
    fn rescaled(&self, channel: usize, sum: i32) -> Option<i8> {
        let at = if self.multipliers.len() == 1 { 0 } else { channel };
        let multiplier = Multiplier { value: *self.multipliers.get(at)?, shift: i32::from(*self.shifts.get(at)?) };
        let value = multiplier.times(sum).wrapping_add(self.output_zero);
        Some(value.max(i32::from(self.low)).min(i32::from(self.high)) as i8)
    }

    /// What the weights' zero point takes from the sums of a depthwise convolution's channels, from `first` on. Apart, so that networks without one pay nothing.
    #[inline(never)]
    fn take_away(&self, picture: &[i8], [down, across]: [Taps; 2], first: usize, sums: &mut [i32]) -> Option<()> {
        let ([_, width, channels], [.., outputs]) = (self.input, self.output);
        let multiple = outputs.checked_div(channels)?;
        for tap in down.from..down.to {
            for along in across.from..across.to {
                let from = (down.place(tap) * width + across.place(along)) * channels;
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let x = picture.get(from + (first + lane).checked_div(multiple)?)?;
                    *sum = sum.wrapping_sub((i32::from(*x) - self.zero) * self.weights_zero);
                }
            }
        }
        Some(())
    }

    /// The sum of x - zero over the taps on the picture, from the channel `offset` on.
    #[inline(never)]
    fn seen(&self, picture: &[i8], [down, across]: [Taps; 2], offset: usize, group: usize) -> Option<i32> {
        let [_, width, channels] = self.input;
        let mut sum = 0i32;
        for tap in down.from..down.to {
            for along in across.from..across.to {
                let from = (down.place(tap) * width + across.place(along)) * channels + offset;
                sum = input_run(picture, from, group)?
                    .iter()
                    .fold(sum, |sum, x| sum.wrapping_add(i32::from(*x) - self.zero));
            }
        }
        Some(sum)
    }

    pub(crate) fn run(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
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
                        let mut sum = self.bias.get(channel).copied().unwrap_or(0);
                        let offset = if group == channels { 0 } else { channel.checked_div(outputs_of_group)? * group };
                        if self.weights_zero != 0 {
                            if summed != Some(offset) {
                                let seen = self.seen(picture, [down, across], offset, group)?;
                                (away, summed) = (seen.wrapping_mul(self.weights_zero), Some(offset));
                            }
                            sum = sum.wrapping_sub(away);
                        }
                        for tap in down.from..down.to {
                            let row = down.place(tap) * width;
                            if runs {
                                let length = across.count() * channels;
                                let from = (row + across.place(across.from)) * channels;
                                let with = (tap * wide + across.from) * channels;
                                let seen = input_run(picture, from, length)?;
                                sum = sum.wrapping_add(dot(seen, input_run(weights, with, length)?, self.zero));
                                continue;
                            }
                            for along in across.from..across.to {
                                let from = (row + across.place(along)) * channels + offset;
                                let with = (tap * wide + along) * group;
                                let seen = input_run(picture, from, group)?;
                                sum = sum.wrapping_add(dot(seen, input_run(weights, with, group)?, self.zero));
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
                        let mut sums = [0i32; LANES];
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
                                let weights =
                                    input_run(self.weights, (tap * wide + along) * outputs + first, to.len())?;
                                if multiple == 1 {
                                    let seen = input_run(picture, from + first, to.len())?;
                                    for ((sum, x), w) in sums.iter_mut().zip(seen).zip(weights) {
                                        *sum = sum.wrapping_add((i32::from(*x) - self.zero) * i32::from(*w));
                                    }
                                    continue;
                                }
                                for (lane, (sum, w)) in sums.iter_mut().zip(weights).enumerate() {
                                    let x = picture.get(from + (first + lane).checked_div(multiple)?)?;
                                    *sum = sum.wrapping_add((i32::from(*x) - self.zero) * i32::from(*w));
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

#[inline]
fn input_run(numbers: &[i8], from: usize, length: usize) -> Option<&[i8]> {
    numbers.get(from..)?.get(..length)
}

/// sum of (x - zero) w.
#[inline]
fn dot(x: &[i8], w: &[i8], zero: i32) -> i32 {
    // A difference of bytes fits 16 bits, and so do the weights: machines have instructions for such products.
    let zero = zero as i16;
    x.iter().zip(w).fold(0i32, |sum, (x, w)| {
        sum.wrapping_add(i32::from(i16::from(*x).wrapping_sub(zero)) * i32::from(i16::from(*w)))
    })
}
