//! Options and shapes of operators, read the same way for the plan and for the network in real numbers.

use super::file::{File, Operator, Tensor, kind};
use super::names;
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::Number;
use decomcam_int8::tables::Quantised;

/// Numbers of operators in the schema.
pub mod code {
    #![allow(missing_docs)]
    pub const ADD: i32 = 0;
    pub const AVERAGE_POOL_2D: i32 = 1;
    pub const CONCATENATION: i32 = 2;
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEQUANTIZE: i32 = 6;
    pub const FULLY_CONNECTED: i32 = 9;
    pub const LOGISTIC: i32 = 14;
    pub const MAX_POOL_2D: i32 = 17;
    pub const MUL: i32 = 18;
    pub const RELU: i32 = 19;
    pub const RELU_N1_TO_1: i32 = 20;
    pub const RELU6: i32 = 21;
    pub const RESHAPE: i32 = 22;
    pub const RESIZE_BILINEAR: i32 = 23;
    pub const SOFTMAX: i32 = 25;
    pub const TANH: i32 = 28;
    pub const PAD: i32 = 34;
    pub const TRANSPOSE: i32 = 39;
    pub const MEAN: i32 = 40;
    pub const SUB: i32 = 41;
    pub const SQUEEZE: i32 = 43;
    pub const STRIDED_SLICE: i32 = 45;
    pub const SPLIT: i32 = 49;
    pub const PADV2: i32 = 60;
    pub const SLICE: i32 = 65;
    pub const EXPAND_DIMS: i32 = 70;
    pub const RESIZE_NEAREST_NEIGHBOR: i32 = 97;
    pub const LEAKY_RELU: i32 = 98;
    pub const SPLIT_V: i32 = 102;
    pub const QUANTIZE: i32 = 114;
    pub const HARD_SWISH: i32 = 117;
}

/// How wide a tensor's integers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// A byte, with or without sign; those without are held less 128.
    Eight,
    /// Two bytes, the lower one first.
    Sixteen,
}

impl Width {
    /// That of a tensor.
    ///
    /// # Errors
    /// Numbers of another type.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        match tensor.kind {
            kind::INT8 | kind::UINT8 => Ok(Self::Eight),
            kind::INT16 => Ok(Self::Sixteen),
            other => {
                bail!("\"{}\": expected int8 or int16, found {}", tensor.short_name(), names::type_of(other))
            }
        }
    }

    /// Bytes of one integer.
    pub fn bytes(self) -> usize {
        match self {
            Self::Eight => i8::BYTES,
            Self::Sixteen => i16::BYTES,
        }
    }

    /// The smallest and the largest integer.
    pub fn ends(self) -> (i32, i32) {
        match self {
            Self::Eight => (i8::LEAST, i8::MOST),
            Self::Sixteen => (i16::LEAST, i16::MOST),
        }
    }
}

/// A tensor's integers: how wide they are, and what they stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// How wide they are.
    pub width: Width,
    /// What they stand for.
    pub steps: Quantised,
}

impl Levels {
    /// Those of a tensor.
    ///
    /// # Errors
    /// Those of [`quantised`].
    pub fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self { width: Width::of(tensor)?, steps: quantised(tensor)? })
    }

    /// What an integer stands for.
    pub fn real(&self, q: i32) -> f32 {
        (q - self.steps.zero_point) as f32 * self.steps.scale
    }

    /// What the smallest and the largest integer stand for.
    pub fn reach(&self) -> (f32, f32) {
        let (least, most) = self.width.ends();
        (self.real(least), self.real(most))
    }

    /// The real numbers that integers stand for, of their bytes.
    pub fn reals(&self, bytes: &[i8]) -> Vec<f32> {
        match self.width {
            Width::Eight => i8::numbers(bytes).iter().map(|held| self.real(i8::value(*held))).collect(),
            Width::Sixteen => i16::numbers(bytes).iter().map(|held| self.real(i16::value(*held))).collect(),
        }
    }

    /// The bytes of the integers nearest to real numbers.
    pub fn bytes(&self, reals: impl Iterator<Item = f32>) -> Vec<i8> {
        let (least, most) = self.width.ends();
        let integers = reals.map(|real| self.steps.step_of(real).clamp(least, most));
        match self.width {
            Width::Eight => integers.map(i8::held).collect(),
            Width::Sixteen => integers.flat_map(i16::held).collect(),
        }
    }
}

/// Steps of a tensor of integers; those of bytes without sign are held less 128.
pub fn quantised(tensor: &Tensor) -> Result<Quantised> {
    let name = tensor.short_name();
    let (low, high, offset) = match (Width::of(tensor)?, tensor.kind) {
        (Width::Eight, kind::UINT8) => (0, 255, 128),
        (Width::Eight, _) => (-128, 127, 0),
        // Kernels of 16 bits have no other zero point, and nor have the converter's files.
        (Width::Sixteen, _) => (0, 0, 0),
    };
    let scale = *tensor.scales.first().with_context(|| format!("\"{name}\": expected a scale, found none"))?;
    let given = tensor.zero_points.first().copied().unwrap_or(0);
    ensure!(
        scale > 0.0 && tensor.scales.iter().all(|other| *other == scale),
        "\"{name}\": expected one scale above 0, found {:?}",
        &tensor.scales[..tensor.scales.len().min(4)]
    );
    ensure!(
        (low..=high).contains(&given),
        "\"{name}\": expected a zero point from {low} to {high}, as the kernels of {} take it, found {given}",
        names::type_of(tensor.kind)
    );
    Ok(Quantised { scale, zero_point: (given - offset) as i32 })
}

/// Numbers from one place to the next along each axis.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides: Vec<usize> = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for length in shape.iter().rev() {
        strides.push(stride);
        stride *= length;
    }
    strides.reverse();
    strides
}

/// Lengths of axes, aligned at the last, 1 for those that are lacking.
pub fn six(shape: &[usize]) -> [usize; 6] {
    let mut six = [1; 6];
    six.iter_mut().rev().zip(shape.iter().rev()).for_each(|(to, from)| *to = *from);
    six
}

/// [`strides`], aligned at the last axis.
pub fn six_strides(shape: &[usize]) -> [usize; 6] {
    let mut six = [0; 6];
    six.iter_mut().rev().zip(strides(shape).iter().rev()).for_each(|(to, from)| *to = *from);
    six
}

/// An axis counted from the first, of one that may be counted from behind.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted).ok().filter(|axis| *axis < rank).with_context(|| format!("axis {axis} of {rank}"))
}

/// Length of an axis after a window, and what is added before it: option `padding` 0 keeps lengths (SAME), 1 adds nothing (VALID).
pub fn window(length: usize, taps: usize, stride: usize, dilation: usize, padding: i8) -> Result<(usize, usize)> {
    ensure!(taps > 0 && stride > 0 && dilation > 0, "expected windows, strides and dilations of at least 1");
    let reach =
        (taps - 1).checked_mul(dilation).and_then(|reach| reach.checked_add(1)).context("a window too large")?;
    match padding {
        0 => {
            let output = length.div_ceil(stride);
            let needed =
                (output - 1).checked_mul(stride).and_then(|last| last.checked_add(reach)).context("too large")?;
            Ok((output, needed.saturating_sub(length) / 2))
        }
        1 => {
            ensure!(length >= reach, "expected a window of at most {length}, found {reach}");
            Ok(((length - reach) / stride + 1, 0))
        }
        other => bail!("expected padding SAME or VALID, found number {other}"),
    }
}

/// A length or a stride of the options.
pub fn positive(number: i32, what: &str) -> Result<usize> {
    let found = usize::try_from(number).ok().filter(|number| (1..1 << 20).contains(number));
    found.with_context(|| format!("expected {what} of at least 1, found {number}"))
}

/// What a fused activation leaves: real bounds.
pub fn bounds(activation: i8) -> Result<(Option<f32>, Option<f32>)> {
    Ok(match activation {
        0 => (None, None),
        1 => (Some(0.0), None),
        2 => (Some(-1.0), Some(1.0)),
        3 => (Some(0.0), Some(6.0)),
        other => bail!("the fused activation number {other} is not known; none, RELU, RELU_N1_TO_1 and RELU6 are"),
    })
}

/// Batch, height, width and channels.
pub fn picture(tensor: &Tensor) -> Result<[usize; 4]> {
    let shape: Result<[usize; 4], _> = tensor.shape[..].try_into();
    shape.ok().with_context(|| format!("\"{}\": expected 4 axes, found shape {:?}", tensor.short_name(), tensor.shape))
}

/// Rows or columns of a picture that a larger or smaller one takes, each the nearest, as the reference rounds.
pub fn nearest(length: usize, output: usize, align_corners: bool, half_pixels: bool) -> Vec<i32> {
    let scale = if align_corners && output > 1 {
        (length - 1) as f32 / (output - 1) as f32
    } else {
        length as f32 / output as f32
    };
    let offset = if half_pixels { 0.5 } else { 0.0 };
    let place = |at: usize| {
        let real = (at as f32 + offset) * scale;
        let whole = if align_corners { real.round() } else { real.floor() } as i32;
        whole.min(length as i32 - 1).max(0)
    };
    (0..output).map(place).collect()
}

/// The axes that a reduction takes, in order.
pub fn axes(list: &Tensor, rank: usize) -> Result<Vec<usize>> {
    let mut axes: Vec<usize> = list.counts()?.into_iter().map(|axis| axis_of(axis, rank)).collect::<Result<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    ensure!(!axes.is_empty(), "expected axes, found none");
    Ok(axes)
}

/// What is added before and behind each axis.
pub fn paddings(file: &File, operator: &Operator) -> Result<Vec<(usize, usize)>> {
    let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
    let list = file.input(operator, 1)?.counts()?;
    ensure!(
        list.len() == 2 * input.shape.len() && output.shape.len() == input.shape.len(),
        "expected {} numbers to pad by, found {}",
        2 * input.shape.len(),
        list.len()
    );
    let length = |number: i64| {
        usize::try_from(number).ok().filter(|n| *n < 1 << 20).with_context(|| format!("a padding of {number}"))
    };
    let pairs: Vec<(usize, usize)> =
        list.chunks_exact(2).map(|pair| Ok((length(pair[0])?, length(pair[1])?))).collect::<Result<_>>()?;
    let expected: Vec<usize> =
        pairs.iter().zip(&input.shape).map(|((before, after), own)| before + own + after).collect();
    ensure!(expected == output.shape, "expected shape {expected:?}, found {:?}", output.shape);
    Ok(pairs)
}

/// The order of a transposition's axes.
pub fn order(file: &File, operator: &Operator) -> Result<Vec<usize>> {
    let rank = file.input(operator, 0)?.shape.len();
    let order: Vec<usize> =
        file.input(operator, 1)?.counts()?.into_iter().map(|axis| axis_of(axis, rank)).collect::<Result<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    ensure!(sorted.iter().copied().eq(0..rank), "expected each axis once, found {order:?}");
    Ok(order)
}

/// The tensor that is split, and along which axis.
pub fn split_axis(file: &File, operator: &Operator) -> Result<(usize, usize)> {
    let (input, axis) = if operator.code == code::SPLIT { (1, 0) } else { (0, 2) };
    let tensor = operator.inputs.get(input).copied().flatten().context("no input")?;
    let axis = *file.input(operator, axis)?.counts()?.first().context("no axis")?;
    Ok((tensor, axis_of(axis, file.tensors[tensor].shape.len())?))
}

/// The block of a StridedSlice or Slice: for each axis its start, its step and its length.
pub fn block(file: &File, operator: &Operator) -> Result<Vec<(usize, isize, usize)>> {
    let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
    let rank = input.shape.len();
    let list = |at: usize| -> Result<Vec<i64>> {
        let list = file.input(operator, at)?.counts()?;
        ensure!(list.len() == rank, "expected {rank} numbers for {rank} axes, found {}", list.len());
        Ok(list)
    };
    let (begin, end) = (list(1)?, list(2)?);
    let mut found = Vec::new();
    if operator.code == code::SLICE {
        for ((begin, size), length) in begin.into_iter().zip(end).zip(&input.shape) {
            let start =
                usize::try_from(begin).ok().filter(|start| start < length).context("a start outside the tensor")?;
            let size = if size == -1 { length - start } else { usize::try_from(size).context("a negative size")? };
            ensure!(size > 0 && start + size <= *length, "expected a block within the tensor");
            found.push((start, 1, size));
        }
    } else {
        let steps = list(3)?;
        let masks = [0, 1, 2, 3, 4].map(|at| operator.int(at, 0));
        let [begins, ends, ellipsis, new, shrink] = masks;
        let (begins, ends, shrink) = (begins?, ends?, shrink?);
        ensure!(ellipsis? == 0 && new? == 0, "ellipses and new axes in slices are not known");
        for (axis, &length) in input.shape.iter().enumerate() {
            let bit = |mask: i32| mask >> axis & 1 == 1;
            let (step, length) = (steps[axis], length as i64);
            ensure!(
                step != 0 && step.unsigned_abs() < 1 << 31,
                "expected steps other than 0 and below 2^31, found {step}"
            );
            let counted = |at: i64| if at < 0 { at + length } else { at };
            let (least, most) = if step > 0 { (0, length) } else { (-1, length - 1) };
            let start = if bit(begins) {
                if step > 0 { 0 } else { length - 1 }
            } else {
                counted(begin[axis]).clamp(least, most)
            };
            let stop =
                if bit(ends) { if step > 0 { length } else { -1 } } else { counted(end[axis]).clamp(least, most) };
            let (step, stop) = if bit(shrink) { (1, start + 1) } else { (step, stop) };
            let size = if step > 0 { (stop - start + step - 1) / step } else { (start - stop - step - 1) / -step };
            ensure!(size > 0 && (0..length).contains(&start), "expected a block within the tensor");
            found.push((start as usize, step as isize, size as usize));
        }
    }
    let numbers: usize = found.iter().map(|(_, _, size)| size).product();
    ensure!(numbers == output.numbers(), "expected {numbers} numbers, found shape {:?}", output.shape);
    Ok(found)
}
