//! Operators that put numbers elsewhere, as steps of the plan: padding, concatenation, other shapes, transposition, parts, other sizes.

use super::file::{Operator, Tensor};
use super::functions;
use super::options::{
    Levels, Width, axis_of, block, code, nearest, order, paddings, picture, quantised, six, six_strides, split_axis,
    strides,
};
use super::planner::Maker;
use super::program::{Data, NO_TABLE, Source};
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::{Bilinear, Move, Nearest, Number as _, Work, int16};

impl Maker<'_> {
    pub(super) fn pad(&mut self, operator: &Operator) -> Result<()> {
        let file = self.file;
        let (input, output) = (file.input(operator, 0)?, file.output(operator)?);
        let value = match operator.inputs.get(2).copied().flatten() {
            Some(value) => {
                let value = &file.tensors[value];
                ensure!(value.kind == output.kind, "expected a number to pad with of the tensor's own type");
                value.bytes()?
            }
            None => Levels::of(output)?.bytes(std::iter::once(0.0)),
        };
        let length = output.numbers();
        let fill: int16::Work = match value[..] {
            [value, ..] if self.width == Width::Eight => Work::Fill { length, value }.into(),
            [low, high, ..] => int16::Work::Fill { length, value: i16::value([low, high]) as i16 },
            _ => bail!("no number to pad with"),
        };
        let before = paddings(file, operator)?;
        let to = before.iter().zip(strides(&output.shape)).map(|((before, _), stride)| before * stride).sum();
        let source = self.source(operator.inputs[0].context("no input")?)?;
        let held = self.hold(operator.outputs[0])?;
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
        self.step([source, Source::None], held, moved(self.width, work), Data::default())
    }

    pub(super) fn concatenation(&mut self, operator: &Operator) -> Result<()> {
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
            self.step([source, Source::None], held, moved(self.width, work), Data::default())?;
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
    pub(super) fn alias(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        ensure!(
            input.numbers() == output.numbers() && input.kind == output.kind,
            "expected {:?} and {:?} to hold the same numbers",
            input.shape,
            output.shape
        );
        self.share(operator)
    }

    pub(super) fn transpose(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let order = order(self.file, operator)?;
        let expected: Vec<usize> = order.iter().map(|axis| input.shape[*axis]).collect();
        ensure!(expected == output.shape, "expected shape {expected:?}, found {:?}", output.shape);
        self.simple(operator, moved(self.width, turned_by(&input.shape, &order)), Data::default())
    }

    pub(super) fn split(&mut self, operator: &Operator) -> Result<()> {
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
            self.step([source, Source::None], held, moved(self.width, work), Data::default())?;
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, operator: &Operator) -> Result<()> {
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
        self.simple(operator, moved(self.width, work), Data::default())
    }

    pub(super) fn resize(&mut self, operator: &Operator) -> Result<()> {
        let (input, output) = (self.file.input(operator, 0)?, self.file.output(operator)?);
        let [batch, height, width, channels] = picture(input)?;
        let [images, rows, columns, same] = picture(output)?;
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
        let work = match self.width {
            Width::Eight => Work::Nearest(work).into(),
            Width::Sixteen => int16::Work::Nearest(work),
        };
        self.simple(operator, work, data)
    }
}

/// Numbers of a width that change their places.
pub(super) fn moved(width: Width, work: Move) -> int16::Work<'static> {
    match width {
        Width::Eight => Work::Move(work).into(),
        Width::Sixteen => int16::Work::Move(work),
    }
}

/// A transposition as a move.
pub(super) fn turned_by(shape: &[usize], order: &[usize]) -> Move {
    let from = strides(shape);
    let lengths: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let mut from_strides = [0isize; 6];
    from_strides.iter_mut().rev().zip(order.iter().rev()).for_each(|(to, axis)| *to = from[*axis] as isize);
    Move { shape: six(&lengths), from: 0, from_strides, to: 0, to_strides: six_strides(&lengths) }
}
