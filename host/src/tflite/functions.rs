//! Functions of one number, softmax and other steps of the same numbers, as steps of the plan.
//!
//! Bytes without sign: the reference computes some functions in single precision where it takes integers for int8. These are tables made ahead; exponentials are taken in
//! double precision and rounded, so that all machines make the same tables.

use super::file::{Operator, kind};
use super::options::{Levels, Width, code, quantised};
use super::planner::Maker;
use super::program::{Data, NO_TABLE};
use anyhow::{Context, Result, ensure};
use decomcam_int8::fixed::Multiplier;
use decomcam_int8::int16::{self, Curve, Rescale, Sigmoid, SigmoidTable};
use decomcam_int8::tables::{self, Quantised, Table};
use decomcam_int8::{Softmax, Work};
use std::sync::LazyLock;

impl Maker<'_> {
    pub(super) fn softmax(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let (from, to) = (quantised(input)?, quantised(output)?);
        let length = *input.shape.last().context("no axis")?;
        if self.width == Width::Sixteen {
            fixed(to, 1.0 / 32768.0, 0)?;
            let real = f64::from(from.scale) * f64::from(operator.float(0)?) / (10.0 / 65535.0);
            let work = int16::Softmax {
                rows: input.numbers() / length,
                length,
                multiplier: Multiplier::of(real).context("a beta or a scale out of range")?,
                exp: &EXP,
                reciprocal: &RECIPROCAL,
            };
            return self.simple(operator, int16::Work::Softmax(work), Data::default());
        }
        fixed(to, 1.0 / 256.0, -128)?;
        let work = Softmax::of(input.numbers() / length, length, from.scale, operator.float(0)?);
        self.simple(operator, Work::Softmax(work.context("a beta or a scale out of range")?), Data::default())
    }

    pub(super) fn requantise(&mut self, operator: &Operator) -> Result<()> {
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
        let (from, to) = (Levels::of(input)?, Levels::of(output)?);
        if (from.width, to.width) == (Width::Eight, Width::Eight) {
            let table = tables::requantise(from.steps, to.steps).context("scales too far apart")?;
            return self.table(operator, table);
        }
        ensure!(!self.without_sign, "the reference does not take uint8 to int16, nor back; convert the network again");
        let work = rescale(input.numbers(), from.steps, to);
        let work = work.context("scales too far apart")?;
        let work = match (from.width, to.width) {
            (Width::Eight, _) => int16::Work::Widen(work),
            (_, Width::Eight) => int16::Work::Narrow(work),
            _ => int16::Work::Rescale(work),
        };
        self.simple(operator, work, Data::default())
    }

    fn table(&mut self, operator: &Operator, table: Table) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        ensure!(input.numbers() == output.numbers(), "expected shape {:?}, found {:?}", input.shape, output.shape);
        let data = Data { table: Some(Box::new(table)), ..Data::default() };
        self.simple(operator, Work::Table { length: input.numbers(), table: &NO_TABLE }, data)
    }

    pub(super) fn function(&mut self, operator: &Operator) -> Result<()> {
        let (from, to) = (quantised(self.file.input(operator, 0)?)?, quantised(self.file.output(operator)?)?);
        if self.width == Width::Sixteen {
            return self.wide_function(operator, from, to);
        }
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
            code::LEAKY_RELU if self.without_sign => tables::leaky_relu_of_bytes(from, to, operator.float(0)?),
            code::LEAKY_RELU => tables::leaky_relu(from, to, operator.float(0)?),
            code::HARD_SWISH => tables::hard_swish(from, to),
            code::LOGISTIC => {
                fixed(to, 1.0 / 256.0, -128)?;
                if self.without_sign { Some(logistic(from, to)) } else { tables::logistic(from) }
            }
            _ => {
                fixed(to, 1.0 / 128.0, 0)?;
                if self.without_sign { Some(tanh(from, to)) } else { tables::tanh(from) }
            }
        };
        self.table(operator, table.context("scales out of range")?)
    }

    /// A function of numbers of 16 bits.
    fn wide_function(&mut self, operator: &Operator, from: Quantised, to: Quantised) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let length = input.numbers();
        ensure!(length == output.numbers(), "expected shape {:?}, found {:?}", input.shape, output.shape);
        let sigmoid = |wide: i32| -> Result<Sigmoid<'static>> {
            fixed(to, 1.0 / 32768.0, 0)?;
            sigmoid(length, from.scale, wide).context("a scale out of range")
        };
        let work = match operator.code {
            code::LOGISTIC => int16::Work::Logistic(sigmoid(0)?),
            code::TANH => int16::Work::Tanh(sigmoid(1)?),
            _ => {
                let plain = rescale(length, from, Levels::of(output)?).context("scales out of range")?;
                int16::Work::Rescale(match operator.code {
                    code::RELU => Rescale { low: 0, ..plain },
                    code::RELU6 => {
                        ensure!(from == to, "expected one quantisation for input and output");
                        Rescale { low: 0, high: from.step_of(6.0).clamp(0, 32_767) as i16, ..plain }
                    }
                    _ => {
                        let multipliers = tables::leaky_multipliers(from, to, operator.float(0)?);
                        let [above, below] = multipliers.context("scales out of range")?;
                        Rescale { above, below, ..plain }
                    }
                })
            }
        };
        self.simple(operator, work, Data::default())
    }
}

/// From one quantisation to another.
fn rescale(length: usize, from: Quantised, to: Levels) -> Option<Rescale> {
    let multiplier = Multiplier::of(f64::from(from.scale) / f64::from(to.steps.scale))?;
    let (low, high) = to.width.ends();
    Some(Rescale {
        length,
        zero: from.zero_point,
        output_zero: to.steps.zero_point,
        above: multiplier,
        below: multiplier,
        low: low as i16,
        high: high as i16,
    })
}

/// The logistic function at i/24, as the reference has it in a table: each number moved by half of what a straight line is off by behind it. It ends in 1.
static SIGMOID: LazyLock<SigmoidTable> = LazyLock::new(|| {
    let scaled = |i: f64| 65536.0 / (1.0 + (-i / 24.0).exp());
    let place = |at: usize| {
        let i = at as f64;
        let off = (scaled(i) + scaled(i + 1.0)) / 2.0 - scaled(i + 0.5);
        if at == 255 { u16::MAX } else { (scaled(i) - off / 2.0).round() as u16 }
    };
    std::array::from_fn(place)
});

/// The reference's curves for softmax.
static EXP: LazyLock<Curve> = LazyLock::new(|| curve(exp, -10.0, 0.0));
static RECIPROCAL: LazyLock<Curve> = LazyLock::new(|| curve(|x| 1.0 / (1.0 + x), 0.0, 1.0));

/// A function from -1 to 1 at 513 places, each moved by half of what a straight line is off by behind it; in single precision, as the reference makes it.
fn curve(of: impl Fn(f32) -> f32, from: f32, to: f32) -> Curve {
    let step = (to - from) / 512.0;
    let scaled = |x: f32| of(x) * 32768.0;
    let place = |at: usize| -> i16 {
        if at == 512 {
            return scaled(to).round() as i16;
        }
        let here = from + at as f32 * step;
        let sample = scaled(here).round();
        let straight = ((scaled(from + (at + 1) as f32 * step) + sample) / 2.0).round();
        let off = straight - scaled(here + step / 2.0).round();
        (sample - (off / 2.0).round()) as i16
    };
    std::array::from_fn(place)
}

/// How the reference takes numbers of a scale to its table. A scale of 2^-12, or up to 2^`most` times that, is exact.
fn sigmoid(length: usize, scale: f32, most: i32) -> Option<Sigmoid<'static>> {
    let log2 = f64::from(scale).log2();
    let left = 12 + log2.round() as i32;
    if (log2 - log2.round()).abs() < 1e-3 && (0..=most).contains(&left) {
        return Some(Sigmoid { length, multiplier: 3 << left, shift: 0, table: &SIGMOID });
    }
    let mut multiplier = f64::from(scale) * 4096.0 * 3.0;
    let mut shift = 0;
    while multiplier <= 32767.0 / 2.0 && shift <= 30 {
        shift += 1;
        multiplier *= 2.0;
    }
    (multiplier < 32768.0).then_some(Sigmoid { length, multiplier: multiplier as i32, shift, table: &SIGMOID })
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

/// A table whose index `q + 128` holds the output for the input `q`.
fn table(of: impl Fn(i32) -> i32) -> Table {
    let mut table = [0; 256];
    for (to, q) in table.iter_mut().zip(-128..) {
        *to = of(q).clamp(-128, 127) as i8;
    }
    table
}

/// A function of the real numbers, rounded to the steps of its output.
fn rounded(from: Quantised, to: Quantised, of: impl Fn(f32) -> f32) -> Table {
    let steps = 1.0 / to.scale;
    table(|q| (of(from.scale * (q - from.zero_point) as f32) * steps).round() as i32 + to.zero_point)
}

/// exp(x) in single precision.
fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

/// The logistic function.
pub fn logistic(from: Quantised, to: Quantised) -> Table {
    rounded(from, to, |x| 1.0 / (1.0 + exp(-x)))
}

/// The hyperbolic tangent.
pub fn tanh(from: Quantised, to: Quantised) -> Table {
    rounded(from, to, |x| f64::from(x).tanh() as f32)
}

/// From one quantisation to another, as a concatenation rescales its inputs.
pub fn rescaled(from: Quantised, to: Quantised) -> Table {
    let scale = from.scale * (1.0 / to.scale);
    // The reference reckons in bytes without sign.
    let bias = -(from.zero_point + 128) as f32 * scale;
    table(|q| (((q + 128) as f32 * scale + bias).round() as i32).saturating_add(to.zero_point))
}
