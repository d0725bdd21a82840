//! Layers with numbers of their own, sums and products of tensors, pools and means, as steps of the plan.

use super::file::{Operator, Tensor, kind};
use super::moves::{moved, turned_by};
use super::names;
use super::options::{Width, axes, bounds, code, picture, positive, quantised, six, six_strides, window};
use super::planner::Maker;
use super::program::{Data, Source};
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::fixed::Multiplier;
use decomcam_int8::tables::Quantised;
use decomcam_int8::{Arithmetic, Combination, Convolution, Mean, Number, Pool, Sum, Work, int16};

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
        let steps = WeightSteps::of(weights, if depthwise { 3 } else { 0 }, outputs)?;
        self.count(&[output.numbers(), tall, wide, if depthwise { 1 } else { last }])?;
        let geometry = Geometry {
            batch,
            input: [height, width, channels],
            output: [rows, columns, outputs],
            window: [tall, wide],
            stride,
            dilation,
            padding: [top, left],
        };
        let layer = Layer { geometry, steps, activation: operator.byte(3 + later)?, single: self.without_sign };
        self.layer(operator, &layer)
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
        let steps = WeightSteps::of(weights, 0, outputs)?;
        self.count(&[output.numbers(), inputs])?;
        let geometry = Geometry {
            batch,
            input: [1, 1, inputs],
            output: [1, 1, outputs],
            window: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
        };
        let layer = Layer { geometry, steps, activation: operator.byte(0)?, single: steps.scales.len() == 1 };
        self.layer(operator, &layer)
    }

    /// The step of a layer.
    fn layer(&mut self, operator: &Operator, layer: &Layer) -> Result<()> {
        let file = self.file;
        let (from, to) = (quantised(file.input(operator, 0)?)?, quantised(file.output(operator)?)?);
        let outputs = layer.geometry.output[2];
        let multipliers = multipliers(from, layer.steps, to, layer.single)
            .map(|real| Multiplier::of(real).with_context(|| format!("a multiplier of {real}")));
        let multipliers: Vec<Multiplier> = multipliers.collect::<Result<_>>()?;
        let mut data = Data {
            weights: file.input(operator, 1)?.bytes()?,
            multipliers: multipliers.iter().map(|multiplier| multiplier.value).collect(),
            shifts: multipliers.iter().map(|multiplier| multiplier.shift as i8).collect(),
            ..Data::default()
        };
        let bias = operator.inputs.get(2).copied().flatten().map(|bias| &file.tensors[bias]);
        // With a bias of 32 bits, the reference sums a convolution in as many.
        let narrow = operator.code == code::CONV_2D && bias.is_some_and(|bias| bias.kind == kind::INT32);
        if self.width == Width::Eight || narrow {
            data.bias = bias.map_or_else(|| Ok(Vec::new()), Tensor::integers)?;
        } else if let Some(bias) = bias {
            ensure!(
                bias.kind == kind::INT64,
                "expected biases of int64, as this kernel of int16 takes them, found {}",
                names::type_of(bias.kind)
            );
            data.wide_bias = bias.counts()?;
        }
        let found = data.bias.len().max(data.wide_bias.len());
        ensure!(found == 0 || found == outputs, "expected {outputs} biases, found {found}");
        let work: int16::Work = match (self.width, operator.code == code::DEPTHWISE_CONV_2D) {
            (Width::Eight, false) => Work::Convolution(layer.work(from, to)?).into(),
            (Width::Eight, true) => Work::Depthwise(layer.work(from, to)?).into(),
            (Width::Sixteen, true) => int16::Work::Depthwise(layer.work(from, to)?),
            (Width::Sixteen, false) if narrow => int16::Work::NarrowConvolution(layer.work(from, to)?),
            (Width::Sixteen, false) => int16::Work::Convolution(layer.work(from, to)?),
        };
        self.simple(operator, work, data)
    }

    pub(super) fn arithmetic(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (first, second, output) = (file.input(operator, 0)?, file.input(operator, 1)?, file.output(operator)?);
        let (a, b, to) = (quantised(first)?, quantised(second)?, quantised(output)?);
        let combination = match (operator.code, self.width) {
            (code::ADD, Width::Eight) => Combination::sum::<i8>(a, b, to),
            (code::ADD, Width::Sixteen) => Combination::sum::<i16>(a, b, to),
            (code::MUL, _) if self.without_sign => Combination::product_of_bytes(a, b, to),
            (code::SUB, Width::Eight) => Combination::difference::<i8>(a, b, to),
            (code::SUB, Width::Sixteen) => Combination::difference::<i16>(a, b, to),
            _ => Combination::product(a, b, to),
        };
        let combination = combination.context("scales too far apart")?;
        let repeated = |tensor: &Tensor| -> Result<[usize; 6]> {
            let (shape, full) = (six(&tensor.shape), six(&output.shape));
            let mut strides = six_strides(&tensor.shape);
            for ((stride, own), full) in strides.iter_mut().zip(shape).zip(full) {
                ensure!(own == full || own == 1, "shape {:?} cannot be repeated to {:?}", tensor.shape, output.shape);
                *stride = if own == 1 { 0 } else { *stride };
            }
            Ok(strides)
        };
        let strides = [repeated(first)?, repeated(second)?];
        let zeros = [a.zero_point, b.zero_point];
        let activation = operator.byte(0)?;
        let shape = six(&output.shape);
        let work: int16::Work = match self.width {
            Width::Eight => {
                let (low, high) = range(activation, to)?;
                let output_zero = to.zero_point;
                Work::Arithmetic(Arithmetic { shape, strides, zeros, output_zero, low, high, combination }).into()
            }
            Width::Sixteen => {
                let (low, high) = range(activation, to)?;
                let output_zero = to.zero_point;
                int16::Work::Arithmetic(Arithmetic { shape, strides, zeros, output_zero, low, high, combination })
            }
        };
        let sources = [
            self.source(operator.inputs[0].context("no input")?)?,
            self.source(operator.inputs[1].context("no second input")?)?,
        ];
        let held = self.hold(operator.outputs[0])?;
        self.step(sources, held, work, Data::default())
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
        self.count(&[output.numbers(), size[0], size[1]])?;
        let (activation, lift) = (operator.byte(5)?, if self.without_sign { 128 } else { 0 });
        let largest = operator.code == code::MAX_POOL_2D;
        let (input, output) = ([height, width, channels], [rows, columns]);
        let padding = [top, left];
        let work: int16::Work = match self.width {
            Width::Eight => {
                let (low, high) = range(activation, to)?;
                let pool = Pool { batch, input, output, window: size, stride, padding, lift, low, high };
                if largest { Work::MaxPool(pool) } else { Work::AveragePool(pool) }.into()
            }
            Width::Sixteen => {
                let (low, high) = range(activation, to)?;
                let pool = Pool { batch, input, output, window: size, stride, padding, lift, low, high };
                if largest { int16::Work::MaxPool(pool) } else { int16::Work::AveragePool(pool) }
            }
        };
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
            let turned = self.memory(input.numbers() * self.width.bytes());
            self.step(
                [source, Source::None],
                turned,
                moved(self.width, turned_by(&input.shape, &order)),
                Data::default(),
            )?;
            self.storages[turned].last = self.steps.len();
            source = Source::Arena(turned);
            shape = [output.numbers(), count, 1];
        }
        let work = Mean { shape, zero: from.zero_point, output_zero: to.zero_point, multiplier };
        let held = self.hold(operator.outputs[0])?;
        let work = match self.width {
            Width::Eight => Work::Mean(work).into(),
            Width::Sixteen => int16::Work::Mean(work),
        };
        self.step([source, Source::None], held, work, Data::default())
    }
}

/// Where a layer's windows lie.
struct Geometry {
    batch: usize,
    input: [usize; 3],
    output: [usize; 3],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 2],
}

/// A layer without its numbers.
struct Layer<'t> {
    geometry: Geometry,
    steps: WeightSteps<'t>,
    activation: i8,
    /// Whether the scales are multiplied in single precision, as the reference does here and there.
    single: bool,
}

impl Layer<'_> {
    fn work<N: Number + TryFrom<i32>, S: Sum>(
        &self,
        from: Quantised,
        to: Quantised,
    ) -> Result<Convolution<'static, N, S>> {
        let &Geometry { batch, input, output, window, stride, dilation, padding } = &self.geometry;
        let (low, high) = range(self.activation, to)?;
        Ok(Convolution {
            batch,
            input,
            output,
            window,
            stride,
            dilation,
            padding,
            zero: from.zero_point,
            weights_zero: self.steps.zero,
            output_zero: to.zero_point,
            low,
            high,
            weights: &[],
            bias: &[],
            multipliers: &[],
            shifts: &[],
        })
    }
}

/// The smallest and largest output.
fn range<N: Number + TryFrom<i32>>(activation: i8, output: Quantised) -> Result<(N, N)> {
    let (low, high) = bounds(activation)?;
    let end = |real: Option<f32>, free: i32| {
        let step = real.map_or(free, |real| output.step_of(real).clamp(N::LEAST, N::MOST));
        N::try_from(step).ok().context("a bound beyond the integers")
    };
    let (low, high) = (end(low, N::LEAST)?, end(high, N::MOST)?);
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
            weights.kind == kind::INT8,
            "\"{name}\": expected weights of int8, found {}",
            names::type_of(weights.kind)
        );
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
