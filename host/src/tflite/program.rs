//! From a file to the plan that `decomcam-int8` runs: each operator in terms of its kernels, and a place in the arena for each tensor.

use super::arena::{self, Storage};
use super::file::{File, Operator, Tensor, kind};
use super::functions;
use super::names;
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::fixed::Multiplier;
use decomcam_int8::tables::{self, Quantised, Table};
use decomcam_int8::{
    Arithmetic, Bilinear, Combination, Convolution, Mean, Move, Nearest, Network, Place, Pool, Softmax, Work,
};

/// Most bytes of the arena; more is damage, or nothing that a board runs.
const MOST_BYTES: usize = 1 << 28;
/// Most products of numbers for one picture.
const MOST_PRODUCTS: u64 = 1 << 38;

/// A network that `decomcam-int8` can run.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    arena: usize,
    /// For each tensor of the file: its place in the arena and its length; none for constants and for what is not computed.
    places: Vec<Option<(usize, usize)>>,
    /// Tensors of the file, each with the number of steps after which it is whole.
    shown: Vec<(usize, usize)>,
    input: usize,
}

/// A kernel's work with its numbers.
#[derive(Debug)]
struct Step {
    inputs: [Source; 2],
    /// First the number of the storage, in the end its place.
    output: usize,
    work: Work<'static>,
    data: Data,
}

#[derive(Debug)]
enum Source {
    None,
    /// First the number of the storage, in the end its place.
    Arena(usize),
    Constant(Vec<i8>),
}

/// What a [`Work`] borrows.
#[derive(Debug, Default)]
struct Data {
    weights: Vec<i8>,
    bias: Vec<i32>,
    multipliers: Vec<i32>,
    shifts: Vec<i8>,
    table: Option<Box<Table>>,
    rows: Vec<i32>,
    columns: Vec<i32>,
}

/// What a [`Work::Table`] holds before it borrows its own.
static NO_TABLE: Table = [0; 256];

impl Step {
    fn operator(&self) -> decomcam_int8::Operator<'_> {
        let Data { weights, bias, multipliers, shifts, table, rows, columns } = &self.data;
        let filled =
            |convolution: Convolution<'static>| Convolution { weights, bias, multipliers, shifts, ..convolution };
        let work = match self.work {
            Work::Convolution(work) => Work::Convolution(filled(work)),
            Work::Depthwise(work) => Work::Depthwise(filled(work)),
            Work::Table { length, .. } => Work::Table { length, table: table.as_deref().unwrap_or(&NO_TABLE) },
            Work::Nearest(work) => Work::Nearest(Nearest { rows, columns, ..work }),
            other => other,
        };
        let [first, second] = &self.inputs;
        decomcam_int8::Operator { inputs: [first.place(), second.place()], output: self.output, work }
    }
}

impl Source {
    fn place(&self) -> Place<'_> {
        match self {
            Self::None => Place::NONE,
            Self::Arena(at) => Place::Arena(*at),
            Self::Constant(numbers) => Place::Constant(numbers),
        }
    }
}

impl Program {
    /// Makes the plan of a file.
    ///
    /// # Errors
    /// An operator, a type or an option that is not known, with its place; tensors that contradict each other.
    pub fn of(file: &File) -> Result<Self> {
        let mut maker = Maker::of(file)?;
        for at in 0..file.operators.len() {
            maker.add(&file.operators[at]).with_context(|| file.place(at))?;
        }
        maker.finish()
    }

    /// Bytes of the arena.
    pub fn arena(&self) -> usize {
        self.arena
    }

    /// The operators, as the crate takes them.
    pub fn operators(&self) -> Vec<decomcam_int8::Operator<'_>> {
        self.steps.iter().map(Step::operator).collect()
    }

    /// The tensor that takes the picture: the file's input, or what a float input is quantised to.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Where a tensor of the file lies in the arena while it is needed, and its length.
    pub fn place(&self, tensor: usize) -> Option<(usize, usize)> {
        self.places.get(tensor).copied().flatten()
    }

    /// Tensors of the file, each with the number of operators after which it is whole; the first ones are the input's.
    pub fn shown(&self) -> &[(usize, usize)] {
        &self.shown
    }

    /// Computes the network for an input in steps of its quantisation; `see` is shown each tensor that is computed, by its number in the file. Bytes without
    /// sign are shown less 128.
    ///
    /// # Errors
    /// An input of another length.
    pub fn run(&self, input: &[i8], mut see: impl FnMut(usize, &[i8])) -> Result<()> {
        let (from, length) = self.place(self.input).context("no input")?;
        ensure!(input.len() == length, "expected an input of {length} numbers, found {}", input.len());
        let operators = self.operators();
        let network = Network::new(&operators, self.arena).context("the network's plan")?;
        let mut arena = vec![0i8; self.arena];
        arena[from..][..length].copy_from_slice(input);
        let mut show = |steps: usize, arena: &[i8]| {
            for (_, tensor) in self.shown.iter().filter(|(after, _)| *after == steps) {
                if let Some((from, length)) = self.place(*tensor) {
                    see(*tensor, &arena[from..][..length]);
                }
            }
        };
        show(0, &arena);
        network.run_seeing(&mut arena, |step, arena| show(step + 1, arena))?;
        Ok(())
    }
}

/// A program in the making.
struct Maker<'f> {
    file: &'f File<'f>,
    steps: Vec<Step>,
    storages: Vec<Storage>,
    /// The storage of each tensor.
    held: Vec<Option<usize>>,
    shown: Vec<(usize, usize)>,
    input: usize,
    products: u64,
    /// Whether the operator that is added works on bytes without sign, which the reference rounds in other ways.
    without_sign: bool,
}

/// Lengths of axes, aligned at the last, 1 for those that are lacking.
fn six(shape: &[usize]) -> [usize; 6] {
    let mut six = [1; 6];
    six.iter_mut().rev().zip(shape.iter().rev()).for_each(|(to, from)| *to = *from);
    six
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

fn six_strides(shape: &[usize]) -> [usize; 6] {
    let mut six = [0; 6];
    six.iter_mut().rev().zip(strides(shape).iter().rev()).for_each(|(to, from)| *to = *from);
    six
}

/// Steps of a tensor of bytes; those without sign are held less 128.
pub fn quantised(tensor: &Tensor) -> Result<Quantised> {
    let name = tensor.short_name();
    let offset = match tensor.kind {
        kind::INT8 => 0,
        kind::UINT8 => 128,
        other => bail!("\"{name}\": expected int8, found {}", names::type_of(other)),
    };
    let scale = *tensor.scales.first().with_context(|| format!("\"{name}\": expected a scale, found none"))?;
    let given = tensor.zero_points.first().copied().unwrap_or(0);
    ensure!(
        scale > 0.0 && tensor.scales.iter().all(|other| *other == scale),
        "\"{name}\": expected one scale above 0, found {:?}",
        &tensor.scales[..tensor.scales.len().min(4)]
    );
    ensure!(
        (offset - 128..=offset + 127).contains(&given),
        "\"{name}\": expected a zero point among the integers of its type, found {given}"
    );
    Ok(Quantised { scale, zero_point: (given - offset) as i32 })
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

impl<'f> Maker<'f> {
    fn of(file: &'f File<'f>) -> Result<Self> {
        let [input] = file.inputs[..] else {
            bail!("expected one input, a picture, found {}", file.inputs.len());
        };
        let mut maker = Self {
            file,
            steps: Vec::new(),
            storages: Vec::new(),
            held: vec![None; file.tensors.len()],
            shown: Vec::new(),
            input,
            products: 0,
            without_sign: false,
        };
        if file.tensors[input].kind != kind::FLOAT {
            quantised(&file.tensors[input])?;
            maker.hold(input)?;
        }
        Ok(maker)
    }

    /// Memory for a tensor that is computed next.
    fn hold(&mut self, tensor: usize) -> Result<usize> {
        ensure!(self.held[tensor].is_none(), "a tensor is computed twice");
        let storage = self.memory(self.file.tensors[tensor].numbers());
        self.held[tensor] = Some(storage);
        Ok(storage)
    }

    fn memory(&mut self, length: usize) -> usize {
        let now = self.steps.len();
        self.storages.push(Storage { length, first: now, last: now });
        self.storages.len() - 1
    }

    /// Where a tensor is read from, by the next step.
    fn source(&mut self, tensor: usize) -> Result<Source> {
        let found = &self.file.tensors[tensor];
        if let Some(storage) = self.held[tensor] {
            self.storages[storage].last = self.storages[storage].last.max(self.steps.len());
            return Ok(Source::Arena(storage));
        }
        ensure!(found.data.is_some(), "\"{}\" is read before it is computed", found.short_name());
        Ok(Source::Constant(found.bytes()?))
    }

    fn step(&mut self, inputs: [Source; 2], output: usize, work: Work<'static>, data: Data) -> Result<()> {
        let now = self.steps.len();
        let storage = &mut self.storages[output];
        (storage.first, storage.last) = (storage.first.min(now), storage.last.max(now));
        let step = Step { inputs, output, work, data };
        step.operator().work.lengths().context("its tensors contradict each other")?;
        self.steps.push(step);
        Ok(())
    }

    fn count(&mut self, lengths: &[usize]) -> Result<()> {
        let products = lengths.iter().try_fold(1u64, |products, length| products.checked_mul(*length as u64));
        let all = products.and_then(|products| self.products.checked_add(products));
        self.products = all.filter(|all| *all <= MOST_PRODUCTS).context("more products than any board computes")?;
        Ok(())
    }

    fn add(&mut self, operator: &'f Operator<'f>) -> Result<()> {
        let file = self.file;
        let whole = |tensor: &usize| matches!(file.tensors[*tensor].kind, kind::INT32 | kind::INT64);
        if !operator.outputs.is_empty() && operator.outputs.iter().all(whole) {
            // Shapes are computed with these. Those of the tensors are in the file.
            return Ok(());
        }
        self.without_sign = without_sign(file, operator)?;
        match operator.code {
            code::CONV_2D | code::DEPTHWISE_CONV_2D => self.convolution(operator)?,
            code::FULLY_CONNECTED => self.fully_connected(operator)?,
            code::ADD | code::SUB | code::MUL => self.arithmetic(operator)?,
            code::AVERAGE_POOL_2D | code::MAX_POOL_2D => self.pool(operator)?,
            code::MEAN => self.mean(operator)?,
            code::PAD | code::PADV2 => self.pad(operator)?,
            code::CONCATENATION => self.concatenation(operator)?,
            code::RESHAPE | code::SQUEEZE | code::EXPAND_DIMS => self.alias(operator)?,
            code::SOFTMAX => self.softmax(operator)?,
            code::QUANTIZE | code::DEQUANTIZE => self.requantise(operator)?,
            code::RELU
            | code::RELU6
            | code::RELU_N1_TO_1
            | code::LEAKY_RELU
            | code::LOGISTIC
            | code::TANH
            | code::HARD_SWISH => self.function(operator)?,
            code::TRANSPOSE => self.transpose(operator)?,
            code::SPLIT | code::SPLIT_V => self.split(operator)?,
            code::SLICE | code::STRIDED_SLICE => self.slice(operator)?,
            code::RESIZE_BILINEAR | code::RESIZE_NEAREST_NEIGHBOR => self.resize(operator)?,
            _ => bail!(
                "this operator is not known; export the network to ONNX, or leave the operator out of the part that is deployed"
            ),
        }
        for output in &operator.outputs {
            if self.held[*output].is_some() && !self.shown.iter().any(|(_, shown)| shown == output) {
                self.shown.push((self.steps.len(), *output));
            }
        }
        Ok(())
    }

    /// Batch, height, width and channels.
    fn picture(tensor: &Tensor) -> Result<[usize; 4]> {
        let shape: Result<[usize; 4], _> = tensor.shape[..].try_into();
        shape
            .ok()
            .with_context(|| format!("\"{}\": expected 4 axes, found shape {:?}", tensor.short_name(), tensor.shape))
    }

    /// The smallest and largest output.
    fn range(activation: i8, output: Quantised) -> Result<(i8, i8)> {
        let (low, high) = bounds(activation)?;
        let step = |real: f32| output.step_of(real).clamp(-128, 127) as i8;
        let (low, high) = (low.map_or(-128, step), high.map_or(127, step));
        ensure!(low <= high, "its activation leaves no number");
        Ok((low, high))
    }

    fn convolution(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let depthwise = operator.code == code::DEPTHWISE_CONV_2D;
        let (input, weights, output) = (file.input(operator, 0)?, file.input(operator, 1)?, file.output(operator)?);
        let [batch, height, width, channels] = Self::picture(input)?;
        let [first, tall, wide, last] = Self::picture(weights)?;
        let outputs = if depthwise { last } else { first };
        ensure!(
            !depthwise || first == 1,
            "expected depthwise weights of 1 x height x width x channels, found {:?}",
            weights.shape
        );
        // A depthwise convolution has its depth multiplier as option 3, which its weights say, too.
        let later = usize::from(depthwise);
        let stride = [positive(operator.int(2, 0)?, "strides")?, positive(operator.int(1, 0)?, "strides")?];
        let dilation =
            [positive(operator.int(5 + later, 1)?, "dilations")?, positive(operator.int(4 + later, 1)?, "dilations")?];
        let padding = operator.byte(0)?;
        let (rows, top) = window(height, tall, stride[0], dilation[0], padding)?;
        let (columns, left) = window(width, wide, stride[1], dilation[1], padding)?;
        let expected = [batch, rows, columns, outputs];
        ensure!(output.shape == expected, "expected an output of {expected:?}, found {:?}", output.shape);
        let (from, to) = (quantised(input)?, quantised(output)?);
        let (low, high) = Self::range(operator.byte(3 + later)?, to)?;
        let axis = if depthwise { 3 } else { 0 };
        let steps = WeightSteps::of(weights, axis, outputs)?;
        let data = self.weighed(operator, weights, multipliers(from, steps, to, self.without_sign), outputs)?;
        self.count(&[output.numbers(), tall, wide, if depthwise { 1 } else { last }])?;
        let work = Convolution {
            batch,
            input: [height, width, channels],
            output: [rows, columns, outputs],
            window: [tall, wide],
            stride,
            dilation,
            padding: [top, left],
            zero: from.zero_point,
            weights_zero: steps.zero,
            output_zero: to.zero_point,
            low,
            high,
            weights: &[],
            bias: &[],
            multipliers: &[],
            shifts: &[],
        };
        let work = if depthwise { Work::Depthwise(work) } else { Work::Convolution(work) };
        self.simple(operator, work, data)
    }

    /// Weights, biases and multipliers of a layer.
    fn weighed(
        &self,
        operator: &Operator,
        weights: &Tensor,
        multipliers: impl Iterator<Item = f64>,
        outputs: usize,
    ) -> Result<Data> {
        let multipliers =
            multipliers.map(|real| Multiplier::of(real).with_context(|| format!("a multiplier of {real}")));
        let multipliers: Vec<Multiplier> = multipliers.collect::<Result<_>>()?;
        let bias = match operator.inputs.get(2).copied().flatten() {
            Some(bias) => self.file.tensors[bias].integers()?,
            None => Vec::new(),
        };
        ensure!(bias.is_empty() || bias.len() == outputs, "expected {outputs} biases, found {}", bias.len());
        Ok(Data {
            weights: weights.bytes()?,
            bias,
            multipliers: multipliers.iter().map(|multiplier| multiplier.value).collect(),
            shifts: multipliers.iter().map(|multiplier| multiplier.shift as i8).collect(),
            ..Data::default()
        })
    }

    fn fully_connected(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, weights, output) = (file.input(operator, 0)?, file.input(operator, 1)?, file.output(operator)?);
        let [outputs, inputs] = weights.shape[..] else {
            bail!("expected weights of outputs x inputs, found {:?}", weights.shape);
        };
        ensure!(operator.byte(1)? == 0, "weights in another order than outputs x inputs are not known");
        let batch = input.numbers() / inputs;
        ensure!(
            batch * inputs == input.numbers() && batch * outputs == output.numbers(),
            "expected an input of {inputs} numbers a row and an output of {outputs}, found {:?} and {:?}",
            input.shape,
            output.shape
        );
        let (from, to) = (quantised(input)?, quantised(output)?);
        let (low, high) = Self::range(operator.byte(0)?, to)?;
        let steps = WeightSteps::of(weights, 0, outputs)?;
        let single = steps.scales.len() == 1;
        let data = self.weighed(operator, weights, multipliers(from, steps, to, single), outputs)?;
        self.count(&[output.numbers(), inputs])?;
        let work = Convolution {
            batch,
            input: [1, 1, inputs],
            output: [1, 1, outputs],
            window: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            zero: from.zero_point,
            weights_zero: steps.zero,
            output_zero: to.zero_point,
            low,
            high,
            weights: &[],
            bias: &[],
            multipliers: &[],
            shifts: &[],
        };
        self.simple(operator, Work::Convolution(work), data)
    }

    /// A step from an operator's first input to its output.
    fn simple(&mut self, operator: &Operator, work: Work<'static>, data: Data) -> Result<()> {
        let source = self.source(operator.inputs.first().copied().flatten().context("no input")?)?;
        let output = self.hold(*operator.outputs.first().context("no output")?)?;
        self.step([source, Source::None], output, work, data)
    }

    fn arithmetic(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (first, second, output) = (file.input(operator, 0)?, file.input(operator, 1)?, file.output(operator)?);
        let (a, b, to) = (quantised(first)?, quantised(second)?, quantised(output)?);
        let combination = match operator.code {
            code::ADD => Combination::sum(a, b, to),
            code::SUB if self.without_sign => Combination::difference_of_bytes(a, b, to),
            code::MUL if self.without_sign => Combination::product_of_bytes(a, b, to),
            code::SUB => Combination::difference(a, b, to),
            _ => Combination::product(a, b, to),
        };
        let (low, high) = Self::range(operator.byte(0)?, to)?;
        let repeated = |tensor: &Tensor| -> Result<[usize; 6]> {
            let (shape, full) = (six(&tensor.shape), six(&output.shape));
            let mut strides = six_strides(&tensor.shape);
            for ((stride, own), full) in strides.iter_mut().zip(shape).zip(full) {
                ensure!(own == full || own == 1, "shape {:?} cannot be repeated to {:?}", tensor.shape, output.shape);
                *stride = if own == 1 { 0 } else { *stride };
            }
            Ok(strides)
        };
        let work = Arithmetic {
            shape: six(&output.shape),
            strides: [repeated(first)?, repeated(second)?],
            zeros: [a.zero_point, b.zero_point],
            output_zero: to.zero_point,
            low,
            high,
            combination: combination.context("scales too far apart")?,
        };
        let sources = [
            self.source(operator.inputs[0].context("no input")?)?,
            self.source(operator.inputs[1].context("no second input")?)?,
        ];
        let held = self.hold(operator.outputs[0])?;
        self.step(sources, held, Work::Arithmetic(work), Data::default())
    }

    fn pool(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
        let [batch, height, width, channels] = Self::picture(input)?;
        let stride = [positive(operator.int(2, 0)?, "strides")?, positive(operator.int(1, 0)?, "strides")?];
        let size = [positive(operator.int(4, 0)?, "windows")?, positive(operator.int(3, 0)?, "windows")?];
        let padding = operator.byte(0)?;
        let (rows, top) = window(height, size[0], stride[0], 1, padding)?;
        let (columns, left) = window(width, size[1], stride[1], 1, padding)?;
        let expected = [batch, rows, columns, channels];
        ensure!(output.shape == expected, "expected an output of {expected:?}, found {:?}", output.shape);
        let (from, to) = (quantised(input)?, quantised(output)?);
        ensure!(
            (from.scale - to.scale).abs() <= 1e-6 && from.zero_point == to.zero_point,
            "expected one quantisation for input and output"
        );
        let (low, high) = Self::range(operator.byte(5)?, to)?;
        self.count(&[output.numbers(), size[0], size[1]])?;
        let work = Pool {
            batch,
            input: [height, width, channels],
            output: [rows, columns],
            window: size,
            stride,
            padding: [top, left],
            lift: if self.without_sign { 128 } else { 0 },
            low,
            high,
        };
        let work = if operator.code == code::MAX_POOL_2D { Work::MaxPool(work) } else { Work::AveragePool(work) };
        self.simple(operator, work, Data::default())
    }

    fn mean(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
        let axes = axes(file.input(operator, 1)?, input.shape.len())?;
        let (from, to) = (quantised(input)?, quantised(output)?);
        let count: usize = axes.iter().map(|axis| input.shape[*axis]).product();
        ensure!(
            output.numbers() * count == input.numbers(),
            "expected a mean of {count} numbers each, found {:?}",
            output.shape
        );
        let multiplier =
            Mean::multiplier(f64::from(from.scale) / f64::from(to.scale), count).context("scales too far apart")?;
        let mut source = self.source(operator.inputs[0].context("no input")?)?;
        let (first, last) = (axes.first().copied().unwrap_or(0), axes.last().copied().unwrap_or(0));
        let mut shape =
            [input.shape[..first].iter().product::<usize>(), count, input.shape[last + 1..].iter().product::<usize>()];
        if axes.len() != last + 1 - first {
            // Those that are averaged become the last axes.
            let order: Vec<usize> =
                (0..input.shape.len()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
            let turned = self.memory(input.numbers());
            self.step([source, Source::None], turned, Work::Move(turned_by(&input.shape, &order)), Data::default())?;
            self.storages[turned].last = self.steps.len();
            source = Source::Arena(turned);
            shape = [output.numbers(), count, 1];
        }
        let work = Mean { shape, zero: from.zero_point, output_zero: to.zero_point, multiplier };
        let held = self.hold(operator.outputs[0])?;
        self.step([source, Source::None], held, Work::Mean(work), Data::default())
    }

    fn pad(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
        let value = match operator.inputs.get(2).copied().flatten() {
            Some(value) => *file.tensors[value].bytes()?.first().context("no number to pad with")?,
            None => quantised(output)?.zero_point as i8,
        };
        let before = paddings(file, operator)?;
        let to = before.iter().zip(strides(&output.shape)).map(|((before, _), stride)| before * stride).sum();
        let source = self.source(operator.inputs[0].context("no input")?)?;
        let held = self.hold(operator.outputs[0])?;
        let fill = Work::Fill { length: output.numbers(), value };
        self.step([Source::None, Source::None], held, fill, Data::default())?;
        if let Source::Arena(storage) = source {
            self.storages[storage].last = self.steps.len();
        }
        let work = Move {
            shape: six(&input.shape),
            from: 0,
            from_strides: six_strides(&input.shape).map(|stride| stride as isize),
            to,
            to_strides: six_strides(&output.shape),
        };
        self.step([source, Source::None], held, Work::Move(work), Data::default())
    }

    fn concatenation(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let output = file.output(operator)?;
        let axis = axis_of(operator.int(0, 0)?.into(), output.shape.len())?;
        ensure!(operator.byte(1)? == 0, "an activation behind it is not known");
        let held = self.hold(operator.outputs[0])?;
        let to_strides = six_strides(&output.shape);
        let mut at = 0;
        for input in &operator.inputs {
            let input = input.context("an input is left out")?;
            let tensor = &file.tensors[input];
            let fits = tensor.shape.len() == output.shape.len()
                && tensor.shape.iter().zip(&output.shape).enumerate().all(|(k, (own, all))| k == axis || own == all);
            ensure!(fits, "shape {:?} does not fit into {:?}", tensor.shape, output.shape);
            let source = self.in_steps_of(output, input)?;
            let work = Move {
                shape: six(&tensor.shape),
                from: 0,
                from_strides: six_strides(&tensor.shape).map(|stride| stride as isize),
                to: at * strides(&output.shape)[axis],
                to_strides,
            };
            self.step([source, Source::None], held, Work::Move(work), Data::default())?;
            at += tensor.shape[axis];
        }
        ensure!(at == output.shape[axis], "expected {} along axis {axis}, found {at}", output.shape[axis]);
        Ok(())
    }

    /// Where a tensor is read from once it is in the steps of another: those of bytes without sign are rescaled.
    fn in_steps_of(&mut self, output: &Tensor, tensor: usize) -> Result<Source> {
        let found = &self.file.tensors[tensor];
        let (from, to) = (quantised(found)?, quantised(output)?);
        let source = self.source(tensor)?;
        if from == to {
            return Ok(source);
        }
        ensure!(self.without_sign, "expected one quantisation for inputs and output");
        let rescaled = self.memory(found.numbers());
        let data = Data { table: Some(Box::new(functions::rescaled(from, to))), ..Data::default() };
        self.step([source, Source::None], rescaled, Work::Table { length: found.numbers(), table: &NO_TABLE }, data)?;
        self.storages[rescaled].last = self.steps.len();
        Ok(Source::Arena(rescaled))
    }

    /// The same numbers as another tensor.
    fn alias(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        ensure!(
            input.numbers() == output.numbers() && input.kind == output.kind,
            "expected {:?} and {:?} to hold the same numbers",
            input.shape,
            output.shape
        );
        self.share(operator)
    }

    fn share(&mut self, operator: &Operator) -> Result<()> {
        let (from, to) = (operator.inputs[0].context("no input")?, *operator.outputs.first().context("no output")?);
        ensure!(self.held[to].is_none(), "a tensor is computed twice");
        let storage = self.held[from].with_context(|| {
            let tensor = &self.file.tensors[from];
            format!(
                "\"{}\" ({}) is not computed from the picture in integers",
                tensor.short_name(),
                names::type_of(tensor.kind)
            )
        })?;
        self.held[to] = Some(storage);
        Ok(())
    }

    fn softmax(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let (from, to) = (quantised(input)?, quantised(output)?);
        fixed(to, 1.0 / 256.0, -128)?;
        let length = *input.shape.last().context("no axis")?;
        let work = Softmax::of(input.numbers() / length, length, from.scale, operator.float(0)?);
        self.simple(operator, Work::Softmax(work.context("a beta or a scale out of range")?), Data::default())
    }

    fn requantise(&mut self, operator: &Operator) -> Result<()> {
        let (from, to) = (
            operator.inputs.first().copied().flatten().context("no input")?,
            *operator.outputs.first().context("no output")?,
        );
        let (input, output) = (&self.file.tensors[from], &self.file.tensors[to]);
        if from == self.file.inputs[0] && input.kind == kind::FLOAT && self.held[self.input].is_none() {
            // The picture is given in the steps that this operator would round it to.
            quantised(output)?;
            self.input = to;
            self.hold(to)?;
            return Ok(());
        }
        if output.kind == kind::FLOAT {
            ensure!(
                self.file.outputs.contains(&to),
                "numbers go on as float32, which boards compute with other operators; only a network's output may be dequantised"
            );
            quantised(input)?;
            return self.share(operator);
        }
        let table = tables::requantise(quantised(input)?, quantised(output)?).context("scales too far apart")?;
        self.table(operator, table)
    }

    fn table(&mut self, operator: &Operator, table: Table) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        ensure!(input.numbers() == output.numbers(), "expected shape {:?}, found {:?}", input.shape, output.shape);
        let data = Data { table: Some(Box::new(table)), ..Data::default() };
        self.simple(operator, Work::Table { length: input.numbers(), table: &NO_TABLE }, data)
    }

    fn function(&mut self, operator: &Operator) -> Result<()> {
        let (from, to) = (quantised(self.file.input(operator, 0)?)?, quantised(self.file.output(operator)?)?);
        let clamped = |low: f32, high: f32| -> Result<Table> {
            ensure!(from == to, "expected one quantisation for input and output");
            Ok(tables::clamp(from, low, high))
        };
        let table = match operator.code {
            code::RELU if self.without_sign => tables::clamp_of_bytes(from, to, 0.0, None),
            code::RELU6 if self.without_sign => tables::clamp_of_bytes(from, to, 0.0, Some(6.0)),
            code::RELU_N1_TO_1 if self.without_sign => tables::clamp_of_bytes(from, to, -1.0, Some(1.0)),
            code::RELU => tables::relu(from, to),
            code::RELU6 => Some(clamped(0.0, 6.0)?),
            code::RELU_N1_TO_1 => Some(clamped(-1.0, 1.0)?),
            code::LEAKY_RELU => tables::leaky_relu(from, to, operator.float(0)?),
            code::HARD_SWISH => tables::hard_swish(from, to),
            code::LOGISTIC => {
                fixed(to, 1.0 / 256.0, -128)?;
                if self.without_sign { Some(functions::logistic(from, to)) } else { tables::logistic(from) }
            }
            _ => {
                fixed(to, 1.0 / 128.0, 0)?;
                if self.without_sign { Some(functions::tanh(from, to)) } else { tables::tanh(from) }
            }
        };
        self.table(operator, table.context("scales out of range")?)
    }

    fn transpose(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let order = order(self.file, operator)?;
        let expected: Vec<usize> = order.iter().map(|axis| input.shape[*axis]).collect();
        ensure!(expected == output.shape, "expected shape {expected:?}, found {:?}", output.shape);
        self.simple(operator, Work::Move(turned_by(&input.shape, &order)), Data::default())
    }

    fn split(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, axis) = split_axis(file, operator)?;
        let tensor = &file.tensors[input];
        let strides = six_strides(&tensor.shape);
        let mut at = 0;
        for &output in &operator.outputs {
            let part = &file.tensors[output];
            let fits = part.shape.len() == tensor.shape.len()
                && part.shape.iter().zip(&tensor.shape).enumerate().all(|(k, (own, all))| k == axis || own == all);
            ensure!(fits, "shape {:?} is no part of {:?}", part.shape, tensor.shape);
            let work = Move {
                shape: six(&part.shape),
                from: at * strides[6 - tensor.shape.len() + axis],
                from_strides: strides.map(|stride| stride as isize),
                to: 0,
                to_strides: six_strides(&part.shape),
            };
            at += part.shape[axis];
            ensure!(at <= tensor.shape[axis], "expected parts of {} along axis {axis}, found {at}", tensor.shape[axis]);
            let source = self.source(input)?;
            let held = self.hold(output)?;
            self.step([source, Source::None], held, Work::Move(work), Data::default())?;
        }
        Ok(())
    }

    fn slice(&mut self, operator: &Operator) -> Result<()> {
        let input = self.file.input(operator, 0)?;
        let block = block(self.file, operator)?;
        let strides = strides(&input.shape);
        let sizes: Vec<usize> = block.iter().map(|(_, _, size)| *size).collect();
        let mut from_strides = [0isize; 6];
        for (to, ((_, step, _), stride)) in from_strides.iter_mut().rev().zip(block.iter().zip(&strides).rev()) {
            *to = step * *stride as isize;
        }
        let work = Move {
            shape: six(&sizes),
            from: block.iter().zip(&strides).map(|((start, _, _), stride)| start * stride).sum(),
            from_strides,
            to: 0,
            to_strides: six_strides(&sizes),
        };
        self.simple(operator, Work::Move(work), Data::default())
    }

    fn resize(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let [batch, height, width, channels] = Self::picture(input)?;
        let [images, rows, columns, same] = Self::picture(output)?;
        ensure!(
            images == batch && same == channels,
            "expected {batch} pictures of {channels} channels, found {:?}",
            output.shape
        );
        if operator.code == code::RESIZE_BILINEAR {
            let work = Bilinear {
                batch,
                input: [height, width, channels],
                output: [rows, columns],
                align_corners: operator.flag(2)?,
                half_pixels: operator.flag(3)?,
            };
            return self.simple(operator, Work::Bilinear(work), Data::default());
        }
        let (align, half) = (operator.flag(0)?, operator.flag(1)?);
        let data = Data {
            rows: nearest(height, rows, align, half),
            columns: nearest(width, columns, align, half),
            ..Data::default()
        };
        let work = Nearest { batch, input: [height, width, channels], rows: &[], columns: &[] };
        self.simple(operator, Work::Nearest(work), data)
    }

    fn finish(mut self) -> Result<Program> {
        let last = self.steps.len();
        for &output in &self.file.outputs {
            let storage = self.held[output].with_context(|| {
                let tensor = &self.file.tensors[output];
                format!(
                    "output \"{}\" ({}) is not computed in integers",
                    tensor.short_name(),
                    names::type_of(tensor.kind)
                )
            })?;
            self.storages[storage].last = last;
        }
        let input = self.held[self.input].context("the input is not used")?;
        self.storages[input].first = 0;
        let total = self.storages.iter().try_fold(0usize, |total, storage| total.checked_add(storage.length));
        ensure!(total.is_some(), "tensors too large");
        let (places, arena) = arena::places(&self.storages);
        ensure!(arena <= MOST_BYTES, "expected an arena of at most {MOST_BYTES} bytes, found {arena}");
        for step in &mut self.steps {
            step.output = places[step.output];
            for source in &mut step.inputs {
                if let Source::Arena(at) = source {
                    *at = places[*at];
                }
            }
        }
        let mut shown = self.shown;
        shown.insert(0, (0, self.input));
        let place = |storage: usize| (places[storage], self.storages[storage].length);
        let program = Program {
            steps: self.steps,
            arena,
            places: self.held.iter().map(|held| held.map(place)).collect(),
            shown,
            input: self.input,
        };
        Network::new(&program.operators(), arena).context("its tensors contradict each other")?;
        Ok(program)
    }
}

/// A transposition as a move.
fn turned_by(shape: &[usize], order: &[usize]) -> Move {
    let from = strides(shape);
    let lengths: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let mut from_strides = [0isize; 6];
    from_strides.iter_mut().rev().zip(order.iter().rev()).for_each(|(to, axis)| *to = from[*axis] as isize);
    Move { shape: six(&lengths), from: 0, from_strides, to: 0, to_strides: six_strides(&lengths) }
}

/// Whether an output has the quantisation that a function's results always have.
fn fixed(found: Quantised, scale: f32, zero_point: i32) -> Result<()> {
    ensure!(
        (found.scale - scale).abs() <= 0.001 * scale && found.zero_point == zero_point,
        "expected an output of scale {scale} and zero point {zero_point}, found {} and {}",
        found.scale,
        found.zero_point
    );
    Ok(())
}

/// What the integers of weights stand for: (w - zero) scale.
#[derive(Debug, Clone, Copy)]
pub struct WeightSteps<'t> {
    /// One, or one for each output.
    pub scales: &'t [f32],
    /// Of all outputs; that of bytes without sign less 128, as these are held.
    pub zero: i32,
}

impl<'t> WeightSteps<'t> {
    /// Those of a tensor whose outputs lie along an axis.
    ///
    /// # Errors
    /// No scales, or what the kernels do not take.
    pub fn of(weights: &'t Tensor, axis: usize, outputs: usize) -> Result<Self> {
        let name = weights.short_name();
        let scales = &weights.scales[..];
        ensure!(!scales.is_empty(), "\"{name}\": expected scales of weights, found none");
        ensure!(
            scales.len() == 1 || scales.len() == outputs && weights.axis == axis,
            "\"{name}\": expected one scale or {outputs} along axis {axis}, found {} along axis {}",
            scales.len(),
            weights.axis
        );
        if weights.kind == kind::UINT8 {
            ensure!(
                scales.len() == 1,
                "\"{name}\": expected one scale, as kernels of uint8 take it, found {}",
                scales.len()
            );
            return Ok(Self { scales, zero: quantised(weights)?.zero_point });
        }
        ensure!(
            weights.zero_points.iter().all(|zero| *zero == 0),
            "\"{name}\": expected weights whose zero point is 0, as int8 kernels take them, found {:?}",
            weights.zero_points.iter().find(|zero| **zero != 0)
        );
        Ok(Self { scales, zero: 0 })
    }

    /// Real number of one step of an output's weights.
    pub fn scale(&self, output: usize) -> f32 {
        if self.scales.len() == 1 { self.scales[0] } else { self.scales[output] }
    }

    /// What a weight of an output stands for.
    pub fn real(&self, q: i8, output: usize) -> f32 {
        (i32::from(q) - self.zero) as f32 * self.scale(output)
    }
}

/// From sums of products to an output's steps, for each scale of the weights; `single` multiplies the scales in single precision, as the reference does here and there.
fn multipliers(from: Quantised, weights: WeightSteps, to: Quantised, single: bool) -> impl Iterator<Item = f64> {
    weights.scales.iter().map(move |scale| {
        let product = if single { f64::from(from.scale * *scale) } else { f64::from(from.scale) * f64::from(*scale) };
        product / f64::from(to.scale)
    })
}

/// Whether an operator works on bytes without sign.
fn without_sign(file: &File, operator: &Operator) -> Result<bool> {
    let mut kinds = operator.inputs.iter().flatten().chain(&operator.outputs).map(|tensor| file.tensors[*tensor].kind);
    let is_byte = |kind: &i8| matches!(*kind, kind::INT8 | kind::UINT8);
    let kinds: Vec<i8> = kinds.by_ref().filter(is_byte).collect();
    let unsigned = kinds.contains(&kind::UINT8);
    if matches!(operator.code, code::QUANTIZE | code::DEQUANTIZE) {
        return Ok(unsigned);
    }
    ensure!(
        !(unsigned && kinds.contains(&kind::INT8)),
        "expected tensors of one type, found int8 and uint8 side by side"
    );
    ensure!(
        !(unsigned && matches!(operator.code, code::RESIZE_BILINEAR)),
        "the reference computes this operator of uint8 in real numbers, which is not known here; convert the network to int8"
    );
    Ok(unsigned)
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
