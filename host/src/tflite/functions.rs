//! Functions of one number, softmax and other steps of the same numbers, as steps of the plan.
//!
//! Bytes without sign: the reference computes some functions in single precision where it takes integers for int8. These are tables made ahead; exponentials are taken in
//! double precision and rounded, so that all machines make the same tables.

use super::file::{Operator, kind};
use super::options::{code, quantised};
use super::planner::Maker;
use super::program::{Data, NO_TABLE};
use anyhow::{Context, Result, ensure};
use decomcam_int8::tables::{self, Quantised, Table};
use decomcam_int8::{Softmax, Work};

impl Maker<'_> {
    pub(super) fn softmax(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let (from, to) = (quantised(input)?, quantised(output)?);
        fixed(to, 1.0 / 256.0, -128)?;
        let length = *input.shape.last().context("no axis")?;
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
        let table = tables::requantise(quantised(input)?, quantised(output)?).context("scales too far apart")?;
        self.table(operator, table)
    }

    fn table(&mut self, operator: &Operator, table: Table) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        ensure!(input.numbers() == output.numbers(), "expected shape {:?}, found {:?}", input.shape, output.shape);
        let data = Data { table: Some(Box::new(table)), ..Data::default() };
        self.simple(operator, Work::Table { length: input.numbers(), table: &NO_TABLE }, data)
    }

    pub(super) fn function(&mut self, operator: &Operator) -> Result<()> {
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
                if self.without_sign { Some(logistic(from, to)) } else { tables::logistic(from) }
            }
            _ => {
                fixed(to, 1.0 / 128.0, 0)?;
                if self.without_sign { Some(tanh(from, to)) } else { tables::tanh(from) }
            }
        };
        self.table(operator, table.context("scales out of range")?)
    }
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
