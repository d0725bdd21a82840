//! Borrowed views of activation or gradient maps that somebody else owns: floats or quantised bytes, in any memory order.

use crate::Error;
use crate::maths::{self, LANES};

/// Where value (c, y, x) of `channels` x `height` x `width` maps lies: element `c * channel_stride + y * row_stride + x * column_stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layout {
    channels: usize,
    height: usize,
    width: usize,
    channel_stride: usize,
    row_stride: usize,
    column_stride: usize,
}

impl Layout {
    /// Channels x height x width, row-major: ONNX, PyTorch.
    pub const fn chw(channels: usize, height: usize, width: usize) -> Self {
        Self::strided([channels, height, width], [height.wrapping_mul(width), width, 1])
    }

    /// Height x width x channels, row-major: TensorFlow Lite.
    pub const fn hwc(height: usize, width: usize, channels: usize) -> Self {
        Self::strided([channels, height, width], [1, width.wrapping_mul(channels), channels])
    }

    /// `shape` is channels, height, width; `strides` the elements from one to the next of each.
    pub const fn strided(shape: [usize; 3], strides: [usize; 3]) -> Self {
        let [channels, height, width] = shape;
        let [channel_stride, row_stride, column_stride] = strides;
        Self { channels, height, width, channel_stride, row_stride, column_stride }
    }

    /// Whether a map lies row by row without a gap.
    const fn is_contiguous(&self) -> bool {
        self.column_stride == 1 && self.row_stride == self.width
    }

    /// Values. To be asked only if there is an extent.
    const fn count(&self) -> usize {
        self.channels.wrapping_mul(self.height).wrapping_mul(self.width)
    }

    /// Elements from the first to the last value, both included; None if there is no value or the number does not fit.
    fn extent(&self) -> Option<usize> {
        let last = |count: usize, stride: usize| count.checked_sub(1)?.checked_mul(stride);
        // The number of values must fit as well, because positions are counted.
        self.channels.checked_mul(self.height)?.checked_mul(self.width)?;
        last(self.channels, self.channel_stride)?
            .checked_add(last(self.height, self.row_stride)?)?
            .checked_add(last(self.width, self.column_stride)?)?
            .checked_add(1)
    }
}

/// How quantised bytes stand for numbers: value = (byte - zero point) * scale, the product rounded to `f32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantisation<'a> {
    /// One scale and zero point for all values.
    PerTensor {
        /// Finite, and 255 times it as well.
        scale: f32,
        /// In the range of the bytes.
        zero_point: i16,
    },
    /// Each channel its own.
    PerChannel {
        /// One for each channel, finite, and 255 times it as well.
        scales: &'a [f32],
        /// One for each channel, in the range of the bytes; or none, if all are zero.
        zero_points: &'a [i16],
    },
}

impl Quantisation<'_> {
    fn of_channel(&self, channel: usize) -> Option<(f32, i16)> {
        match self {
            Self::PerTensor { scale, zero_point } => Some((*scale, *zero_point)),
            Self::PerChannel { scales, zero_points } => {
                let zero_point = if zero_points.is_empty() { 0 } else { *zero_points.get(channel)? };
                Some((*scales.get(channel)?, zero_point))
            }
        }
    }

    fn is_for(&self, channels: usize, bytes: core::ops::RangeInclusive<i16>) -> Result<(), Error> {
        if let Self::PerChannel { scales, zero_points } = self
            && (scales.len() != channels || !(zero_points.is_empty() || zero_points.len() == channels))
        {
            return Err(Error::Shape);
        }
        for channel in 0..channels {
            let (scale, zero_point) = self.of_channel(channel).ok_or(Error::Shape)?;
            // A byte and its zero point are at most 255 apart.
            if !(255.0 * scale).is_finite() || !bytes.contains(&zero_point) {
                return Err(Error::Quantisation);
            }
            if let Self::PerTensor { .. } = self {
                break;
            }
        }
        Ok(())
    }
}

/// `channels` x `height` x `width` values in a borrowed buffer. Results never depend on how the values are stored: bytes give the bits of the same
/// values given as `f32`.
#[derive(Clone, Copy, Debug)]
pub struct Maps<'a> {
    values: Values<'a>,
    layout: Layout,
}

#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    F32(&'a [f32]),
    F32Words(&'a [[u8; 4]]),
    I8(&'a [i8], Quantisation<'a>),
    U8(&'a [u8], Quantisation<'a>),
}

impl<'a> Maps<'a> {
    /// A view of floats. The buffer may be longer than the layout needs.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero, if the layout reaches beyond the buffer, if it has more values than the buffer, or a stride of zero between
    /// columns.
    pub fn f32(values: &'a [f32], layout: Layout) -> Result<Self, Error> {
        Self::within(values.len(), Values::F32(values), layout)
    }

    /// A view of floats as little-endian words, as they lie in a file that may be anywhere in memory.
    ///
    /// # Errors
    /// Those of [`Maps::f32`].
    pub fn f32_words(words: &'a [[u8; 4]], layout: Layout) -> Result<Self, Error> {
        Self::within(words.len(), Values::F32Words(words), layout)
    }

    /// A view of signed bytes.
    ///
    /// # Errors
    /// [`Error::Shape`] as for floats, or if a per-channel quantisation has another number of channels; [`Error::Quantisation`] if a zero point is no
    /// byte, or a scale is not finite or so large that a value would not be.
    pub fn i8(values: &'a [i8], layout: Layout, quantisation: Quantisation<'a>) -> Result<Self, Error> {
        let maps = Self::within(values.len(), Values::I8(values, quantisation), layout)?;
        quantisation.is_for(layout.channels, -128..=127)?;
        Ok(maps)
    }

    /// A view of unsigned bytes.
    ///
    /// # Errors
    /// Those of [`Maps::i8`].
    pub fn u8(values: &'a [u8], layout: Layout, quantisation: Quantisation<'a>) -> Result<Self, Error> {
        let maps = Self::within(values.len(), Values::U8(values, quantisation), layout)?;
        quantisation.is_for(layout.channels, 0..=255)?;
        Ok(maps)
    }

    fn within(len: usize, values: Values<'a>, layout: Layout) -> Result<Self, Error> {
        // No more values than the buffer has: what a call costs is bounded by the lengths that it gets.
        match layout.extent() {
            Some(extent) if extent.max(layout.count()) <= len && (layout.column_stride > 0 || layout.width == 1) => {
                Ok(Self { values, layout })
            }
            _ => Err(Error::Shape),
        }
    }

    /// A view of exactly `channels` x `height` x `width` floats, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero or the length of `values` is not their product.
    pub fn chw(values: &'a [f32], channels: usize, height: usize, width: usize) -> Result<Self, Error> {
        Self::dense(values, Layout::chw(channels, height, width))
    }

    /// A view of exactly `height` x `width` x `channels` floats, row-major.
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero or the length of `values` is not their product.
    pub fn hwc(values: &'a [f32], height: usize, width: usize, channels: usize) -> Result<Self, Error> {
        Self::dense(values, Layout::hwc(height, width, channels))
    }

    fn dense(values: &'a [f32], layout: Layout) -> Result<Self, Error> {
        match layout.extent() {
            Some(extent) if extent == values.len() => Self::f32(values, layout),
            _ => Err(Error::Shape),
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.layout.channels
    }

    /// Rows of a map.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Columns of a map.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Rows and columns of a map.
    pub const fn size(&self) -> (usize, usize) {
        (self.layout.height, self.layout.width)
    }

    /// Values in one map, `height * width`.
    pub fn positions(&self) -> usize {
        self.layout.height * self.layout.width
    }

    /// One value. None if there is no such channel, row or column.
    pub fn value(&self, channel: usize, y: usize, x: usize) -> Option<f32> {
        let Layout { channels, height, width, channel_stride, row_stride, column_stride } = self.layout;
        if channel >= channels || y >= height || x >= width {
            return None;
        }
        let index = channel * channel_stride + y * row_stride + x * column_stride;
        match self.values {
            Values::F32(values) => values.get(index).copied(),
            Values::F32Words(words) => words.get(index).copied().map(f32::from_le_bytes),
            Values::I8(bytes, quantisation) => {
                let (scale, zero_point) = quantisation.of_channel(channel)?;
                bytes.get(index).map(|byte| f32::from(i16::from(*byte) - zero_point) * scale)
            }
            Values::U8(bytes, quantisation) => {
                let (scale, zero_point) = quantisation.of_channel(channel)?;
                bytes.get(index).map(|byte| f32::from(i16::from(*byte) - zero_point) * scale)
            }
        }
    }

    /// Copies one channel's map, row-major, into `out`, as floats.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such channel or `out` is not `positions()` long; `out` is untouched then.
    #[inline(never)]
    pub fn read(&self, channel: usize, out: &mut [f32]) -> Result<(), Error> {
        if channel >= self.layout.channels || out.len() != self.positions() {
            return Err(Error::Shape);
        }
        let mut rest = out;
        self.visit(channel, &mut |run| {
            if let Some((places, others)) = core::mem::take(&mut rest).split_at_mut_checked(run.len()) {
                for (place, value) in places.iter_mut().zip(run) {
                    *place = *value;
                }
                rest = others;
            }
        })
    }

    /// Mean of one channel's map: the bits of [`crate::sums::mean`] of what [`Maps::read`] copies, without a copy.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such channel.
    pub fn mean(&self, channel: usize) -> Result<f32, Error> {
        if channel >= self.layout.channels {
            return Err(Error::Shape);
        }
        if let (Values::F32(values), true) = (self.values, self.layout.is_contiguous()) {
            let start = channel * self.layout.channel_stride;
            return Ok(maths::mean(values.get(start..start + self.positions()).ok_or(Error::Shape)?));
        }
        Ok(maths::mean_of_runs(self.positions(), &|see| {
            // The channel exists.
            let _ = self.visit(channel, see);
        }))
    }

    /// sum over positions of value times `other`, in lane order: the bits of [`crate::sums::dot`].
    pub(crate) fn dot(&self, channel: usize, other: &[f32]) -> Result<f32, Error> {
        let mut lanes = [0.0; LANES];
        let mut rest = other;
        self.visit(channel, &mut |run| {
            if let Some((others, more)) = rest.split_at_checked(run.len()) {
                maths::add_products(&mut lanes, run, others);
                rest = more;
            }
        })?;
        Ok(maths::tree(lanes))
    }

    /// Largest |value| of one channel; infinity if any is infinite or NaN, or there is no such channel.
    pub(crate) fn largest_magnitude(&self, channel: usize) -> f32 {
        let mut largest = 0.0_f32;
        let seen = self.visit(channel, &mut |run| largest = maths::greater(maths::largest_magnitude(run), largest));
        if seen.is_ok() { largest } else { f32::INFINITY }
    }

    /// Whether no value is NaN or infinite. Bytes need no look: their scales have been checked.
    #[cfg(feature = "capi")]
    pub(crate) fn is_finite(&self) -> bool {
        match self.values {
            Values::F32(_) | Values::F32Words(_) => (0..self.channels()).all(|c| self.largest_magnitude(c).is_finite()),
            Values::I8(..) | Values::U8(..) => true,
        }
    }

    /// Calls `f` with the values of one channel, row by row, in runs of which all but the last are a whole number of lanes long.
    pub(crate) fn visit(&self, channel: usize, f: &mut dyn FnMut(&[f32])) -> Result<(), Error> {
        if channel >= self.layout.channels {
            return Err(Error::Shape);
        }
        let mut run = [0.0; RUN];
        let run = &mut run;
        match self.values {
            Values::F32(values) if self.layout.is_contiguous() => {
                let start = channel * self.layout.channel_stride;
                f(values.get(start..start + self.positions()).ok_or(Error::Shape)?);
                Ok(())
            }
            Values::F32(values) => visit(values, &self.layout, channel, run, |value| value, f),
            Values::F32Words(words) => visit(words, &self.layout, channel, run, f32::from_le_bytes, f),
            Values::I8(values, quantisation) => {
                let (scale, zero_point) = quantisation.of_channel(channel).ok_or(Error::Shape)?;
                visit(values, &self.layout, channel, run, |byte| f32::from(i16::from(byte) - zero_point) * scale, f)
            }
            Values::U8(values, quantisation) => {
                let (scale, zero_point) = quantisation.of_channel(channel).ok_or(Error::Shape)?;
                visit(values, &self.layout, channel, run, |byte| f32::from(i16::from(byte) - zero_point) * scale, f)
            }
        }
    }
}

/// Values that are converted before they are handed on.
const RUN: usize = 4 * LANES;

fn visit<T: Copy>(
    values: &[T],
    layout: &Layout,
    channel: usize,
    run: &mut [f32; RUN],
    number: impl Fn(T) -> f32,
    f: &mut dyn FnMut(&[f32]),
) -> Result<(), Error> {
    let mut len = 0;
    for y in 0..layout.height {
        // From the first value of the row to the last one; a stride of zero is that of one column.
        let start = channel * layout.channel_stride + y * layout.row_stride;
        let row = values.get(start..=start + (layout.width - 1) * layout.column_stride).ok_or(Error::Shape)?;
        let mut row = row.chunks(layout.column_stride.max(1));
        loop {
            let free = run.get_mut(len..).ok_or(Error::Shape)?;
            let room = free.len();
            let mut taken = 0;
            for (place, values) in free.iter_mut().zip(&mut row) {
                if let [value, ..] = values {
                    *place = number(*value);
                }
                taken += 1;
            }
            if taken < room {
                len += taken;
                break;
            }
            f(run);
            len = 0;
        }
    }
    f(run.get(..len).ok_or(Error::Shape)?);
    Ok(())
}
