//! Borrowed views of activation or gradient maps that somebody else owns.

use crate::Error;
use crate::maths::{self, LANES};

/// Maps of `channels` x `height` x `width` values in a borrowed buffer, in any order that three strides describe.
///
/// # Shapes
/// Value (c, y, x) is element `c * channel_stride + y * row_stride + x * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Maps<'a> {
    values: Values<'a>,
    channels: usize,
    height: usize,
    width: usize,
    channel_stride: usize,
    row_stride: usize,
    column_stride: usize,
}

/// What the buffer holds. Every reader goes through [`Maps::read`], so a further kind of value is one more arm there.
#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    F32(&'a [f32]),
}

impl<'a> Maps<'a> {
    /// A view of `channels` x `height` x `width` values, row-major (ONNX, PyTorch).
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero or the length of `values` is not their product.
    pub fn chw(values: &'a [f32], channels: usize, height: usize, width: usize) -> Result<Self, Error> {
        let positions = height.checked_mul(width).ok_or(Error::Shape)?;
        Self::dense(values, [channels, height, width], [positions, width, 1])
    }

    /// A view of `height` x `width` x `channels` values, row-major (TensorFlow Lite).
    ///
    /// # Errors
    /// [`Error::Shape`] if a size is zero or the length of `values` is not their product.
    pub fn hwc(values: &'a [f32], height: usize, width: usize, channels: usize) -> Result<Self, Error> {
        let row = width.checked_mul(channels).ok_or(Error::Shape)?;
        Self::dense(values, [channels, height, width], [1, row, channels])
    }

    fn dense(values: &'a [f32], shape: [usize; 3], strides: [usize; 3]) -> Result<Self, Error> {
        let [channels, height, width] = shape;
        let [channel_stride, row_stride, column_stride] = strides;
        let len = channels.checked_mul(height).and_then(|n| n.checked_mul(width)).ok_or(Error::Shape)?;
        if len == 0 || len != values.len() {
            return Err(Error::Shape);
        }
        Ok(Self { values: Values::F32(values), channels, height, width, channel_stride, row_stride, column_stride })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of a map.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of a map.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values in one map, `height * width`.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Copies one channel's map, row-major, into `out`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such channel or `out` is not `positions()` long; `out` is untouched then.
    pub fn read(&self, channel: usize, out: &mut [f32]) -> Result<(), Error> {
        if channel >= self.channels || out.len() != self.positions() {
            return Err(Error::Shape);
        }
        let start = channel * self.channel_stride;
        match self.values {
            Values::F32(values) => {
                if self.column_stride == 1 && self.row_stride == self.width {
                    let map = values.get(start..start + out.len()).ok_or(Error::Shape)?;
                    for (out, value) in out.iter_mut().zip(map) {
                        *out = *value;
                    }
                } else {
                    let mut rest = out;
                    for y in 0..self.height {
                        let (row, below) = rest.split_at_mut_checked(self.width).ok_or(Error::Shape)?;
                        for (x, out) in row.iter_mut().enumerate() {
                            let index = start + y * self.row_stride + x * self.column_stride;
                            *out = *values.get(index).ok_or(Error::Shape)?;
                        }
                        rest = below;
                    }
                }
            }
        }
        Ok(())
    }

    /// Mean of one channel's map: the bits of [`maths::mean`] of what [`Maps::read`] copies, without a copy.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no such channel.
    pub fn mean(&self, channel: usize) -> Result<f32, Error> {
        let count = self.positions() as f32;
        let first = self.sum_less(channel, 0.0)? / count;
        Ok(first + self.sum_less(channel, first)? / count)
    }

    /// sum over positions of (value - offset), in lane order.
    fn sum_less(&self, channel: usize, offset: f32) -> Result<f32, Error> {
        if channel >= self.channels {
            return Err(Error::Shape);
        }
        let Values::F32(values) = self.values;
        let start = channel * self.channel_stride;
        let mut lanes = [0.0; LANES];
        let mut position = 0;
        for y in 0..self.height {
            for x in 0..self.width {
                let index = start + y * self.row_stride + x * self.column_stride;
                let value = values.get(index).ok_or(Error::Shape)?;
                if let Some(lane) = lanes.get_mut(position % LANES) {
                    *lane += value - offset;
                }
                position += 1;
            }
        }
        Ok(maths::tree(lanes))
    }
}
