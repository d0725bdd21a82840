//! Layers with numbers of their own, sums and products of tensors, pools and means, as steps of the plan.

use super::file::{Operator, Tensor, kind};
use super::moves::turned_by;
use super::options::{axes, bounds, code, picture, positive, quantised, six, six_strides, window};
use super::planner::Maker;
use super::program::{Data, Source};
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::fixed::Multiplier;
use decomcam_int8::tables::Quantised;
use decomcam_int8::{Arithmetic, Combination, Convolution, Mean, Pool, Work};

impl Maker<'_> {
    pub(super) fn convolution(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let depthwise = operator.code == code::DEPTHWISE_CONV_2D;
        let (input, weights, output) = (file.input(operator, 0)?, file.input(operator, 1)?, file.output(operator)?);
        let [batch, height, width, channels] = picture(input)?;
        let [first, tall, wide, last] = picture(weights)?;
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
        let (low, high) = range(operator.byte(3 + later)?, to)?;
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

    pub(super) fn fully_connected(&mut self, operator: &Operator) -> Result<()> {
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
        let (low, high) = range(operator.byte(0)?, to)?;
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

    pub(super) fn arithmetic(&mut self, operator: &Operator) -> Result<()> {
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
        let (low, high) = range(operator.byte(0)?, to)?;
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

    pub(super) fn pool(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
        let [batch, height, width, channels] = picture(input)?;
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
        let (low, high) = range(operator.byte(5)?, to)?;
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

    pub(super) fn mean(&mut self, operator: &Operator) -> Result<()> {
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
}

/// The smallest and largest output.
fn range(activation: i8, output: Quantised) -> Result<(i8, i8)> {
    let (low, high) = bounds(activation)?;
    let step = |real: f32| output.step_of(real).clamp(-128, 127) as i8;
    let (low, high) = (low.map_or(-128, step), high.map_or(127, step));
    ensure!(low <= high, "its activation leaves no number");
    Ok((low, high))
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
