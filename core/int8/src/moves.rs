//! Numbers that change their places, and pictures that change their sizes.

use crate::arithmetic::{Walk, span};
use crate::number::Number;
use crate::plan::{LARGEST, volume};

/// Copies a block of numbers, of up to six axes, from one tensor into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Lengths of the block's axes; 1 for those that it lacks.
    pub shape: [usize; 6],
    /// The first number read.
    pub from: usize,
    /// Numbers from one place to the next along each axis, where it is read; negative ones go backwards.
    pub from_strides: [isize; 6],
    /// The first number written, counted from the operator's output.
    pub to: usize,
    /// Numbers from one place to the next along each axis, where it is written.
    pub to_strides: [usize; 6],
}

impl Move {
    /// How many numbers it reads and writes.
    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        volume(&self.shape)?;
        let (mut least, mut most) = (self.from, self.from);
        for (length, stride) in self.shape.iter().zip(&self.from_strides) {
            let way = (length - 1).checked_mul(stride.unsigned_abs())?;
            if *stride < 0 {
                least = least.checked_sub(way)?;
            } else {
                most = most.checked_add(way)?;
            }
        }
        (least <= most && most < LARGEST).then_some(())?;
        let written = self.to.checked_add(span(&self.shape, &self.to_strides)?)?;
        Some(([most + 1, 0], written))
    }

    pub(crate) fn run<N: Number>(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let [.., length] = self.shape;
        let ([.., from_step], [.., to_step]) = (self.from_strides, self.to_strides);
        let from_strides = self.from_strides.map(|stride| stride as usize);
        let rows = volume(self.shape.first_chunk::<5>()?)?;
        let mut walk = Walk::over(&self.shape);
        for _ in 0..rows {
            // Wrapping sums of strides that are negative are what they should be.
            let from = self.from.wrapping_add(walk.place(&from_strides));
            let to = self.to.wrapping_add(walk.place(&self.to_strides));
            if from_step == 1 && to_step == 1 {
                let seen = input.get(from..)?.get(..length)?;
                for (to, from) in output.get_mut(to..)?.get_mut(..length)?.iter_mut().zip(seen) {
                    *to = *from;
                }
            } else {
                for at in 0..length {
                    let seen = input.get(from.wrapping_add_signed((at as isize).wrapping_mul(from_step)))?;
                    *output.get_mut(to.wrapping_add(at.wrapping_mul(to_step)))? = *seen;
                }
            }
            walk.advance();
        }
        Some(())
    }
}

/// A picture of another size, bilinear in steps of 1/1024 of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bilinear {
    /// Pictures.
    pub batch: usize,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Whether the corner pixels' centres stay where they are.
    pub align_corners: bool,
    /// Whether a pixel's centre is at half of its side.
    pub half_pixels: bool,
}

/// Between which two pixels a place lies, and how far from the first, in steps of 1/1024.
struct Between {
    low: usize,
    high: usize,
    way: i32,
}

impl Bilinear {
    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        let [height, width, channels] = self.input;
        let [rows, columns] = self.output;
        // 1024 times a place fits 32 bits.
        let small = [height, width, rows, columns].iter().all(|side| *side < 1 << 20);
        (small && !(self.align_corners && self.half_pixels)).then_some(())?;
        // As the scale is rounded, the last places of a large output may lie behind the picture, where the reference reads what is not the picture's.
        let inside = |length: usize, output: usize| {
            self.between(output.checked_sub(1)?, length, output).filter(|last| last.low < length).map(drop)
        };
        inside(height, rows)?;
        inside(width, columns)?;
        let input = volume(&[self.batch, height, width, channels])?;
        Some(([input, 0], volume(&[self.batch, rows, columns, channels])?))
    }

    fn between(&self, at: usize, length: usize, output: usize) -> Option<Between> {
        let (length, output, at) = (length as i32, output as i32, at as i32);
        let scale = if self.align_corners && output > 1 {
            (1024 * (length - 1) + (output - 1) / 2).checked_div(output - 1)?
        } else {
            (1024 * length + output / 2).checked_div(output)?
        };
        let place = at.wrapping_mul(scale);
        let place = if self.half_pixels { place.wrapping_add(scale / 2 - 512) } else { place };
        let low = (place / 1024).max(0);
        let high = (place.wrapping_add(1023) / 1024).min(length - 1).max(0);
        Some(Between { low: low as usize, high: high as usize, way: place.wrapping_sub(low * 1024) })
    }

    pub(crate) fn run(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let [height, width, channels] = self.input;
        let [rows, columns] = self.output;
        let mut pixels = output.chunks_exact_mut(channels.max(1));
        for picture in input.chunks_exact((height * width * channels).max(1)) {
            for y in 0..rows {
                let down = self.between(y, height, rows)?;
                for x in 0..columns {
                    let across = self.between(x, width, columns)?;
                    let pixel = |y: usize, x: usize| picture.get((y * width + x) * channels..)?.get(..channels);
                    let (up, low) = (i64::from(1024 - down.way), i64::from(down.way));
                    let (left, right) = (i64::from(1024 - across.way), i64::from(across.way));
                    let (a, b) = (pixel(down.low, across.low)?, pixel(down.high, across.low)?);
                    let (c, d) = (pixel(down.low, across.high)?, pixel(down.high, across.high)?);
                    for ((((to, a), b), c), d) in pixels.next()?.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        let [a, b, c, d] = [a, b, c, d].map(|x| i64::from(*x));
                        let sum = a * up * left + b * low * left + c * up * right + d * low * right;
                        let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
                        *to = ((sum + half) / (1 << 20)) as i8;
                    }
                }
            }
        }
        Some(())
    }
}

/// A picture of another size, each pixel one of the input's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// Pictures.
    pub batch: usize,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// For each row of the output, the row of the input.
    pub rows: &'a [i32],
    /// For each column of the output, the column of the input.
    pub columns: &'a [i32],
}

impl Nearest<'_> {
    pub(crate) fn numbers(&self) -> Option<([usize; 2], usize)> {
        let [height, width, channels] = self.input;
        let inside =
            |places: &[i32], length: usize| places.iter().all(|at| usize::try_from(*at).is_ok_and(|at| at < length));
        (inside(self.rows, height) && inside(self.columns, width)).then_some(())?;
        let input = volume(&[self.batch, height, width, channels])?;
        Some(([input, 0], volume(&[self.batch, self.rows.len(), self.columns.len(), channels])?))
    }

    pub(crate) fn run<N: Number>(&self, input: &[i8], output: &mut [i8]) -> Option<()> {
        let (input, output) = (N::numbers(input), N::numbers_mut(output));
        let [height, width, channels] = self.input;
        let mut pixels = output.chunks_exact_mut(channels.max(1));
        for picture in input.chunks_exact((height * width * channels).max(1)) {
            for y in self.rows {
                for x in self.columns {
                    let seen = picture.get((*y as usize * width + *x as usize) * channels..)?.get(..channels)?;
                    for (to, from) in pixels.next()?.iter_mut().zip(seen) {
                        *to = *from;
                    }
                }
            }
        }
        Some(())
    }
}
