//! A network that is opened: what a board computes, and the same network in real numbers for its gradients.

use super::file::{File, kind};
use super::float::{self, Named};
use super::options::{Levels, Width};
use super::program::Program;
use crate::onnx::quantised::Steps;
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::tables::Quantised;
use std::collections::HashMap;

/// What a board computes with a `.tflite` file, in terms of the ONNX file that has its gradients.
#[derive(Debug)]
pub struct Integers {
    program: Program,
    /// The picture's integers.
    input: Levels,
    /// Height, width and channels of the picture.
    shape: [usize; 3],
    /// Tensors by their names in the ONNX file.
    tensors: HashMap<String, Named>,
}

/// Ranges of real numbers that pictures are prepared to, with mean and deviation of red, green and blue from 0 to 255.
const RANGES: [(&str, f32, f32); 4] =
    [("0 to 1", 0.0, 1.0), ("0 to 255", 0.0, 255.0), ("-1 to 1", -1.0, 1.0), ("-128 to 127", -128.0, 127.0)];

/// How a picture becomes an input's integers.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    /// Of all colours, from 0 to 255.
    pub mean: f32,
    /// Of all colours.
    pub std: f32,
    /// The same in words.
    pub words: String,
}

impl Integers {
    /// Opens a file; the second is the same network in ONNX.
    ///
    /// # Errors
    /// A file that is damaged, or holds what is not known: the message names the operator and its place.
    pub fn open(bytes: &[u8]) -> Result<(Self, Vec<u8>)> {
        let file = File::read(bytes)?;
        let given = file.inputs.first().map(|input| &file.tensors[*input]);
        if let Some(given) = given.filter(|given| given.kind == kind::FLOAT)
            && !file.operators.iter().any(|operator| operator.name == "QUANTIZE")
        {
            bail!(
                "expected a network of integers, found one of float32, input \"{}\"; convert it with a representative data set, or explain its ONNX export",
                given.short_name()
            );
        }
        let program = Program::of(&file)?;
        let written = float::write(&file, &program)?;
        let tensor = &file.tensors[program.input()];
        let [1, height, width, channels] = tensor.shape[..] else {
            bail!("expected a picture of 1 x height x width x channels, found shape {:?}", tensor.shape);
        };
        ensure!(
            matches!(channels, 1 | 3),
            "expected a picture of 1 or 3 channels, which come last, found shape {:?}",
            tensor.shape
        );
        let input = Levels::of(tensor)?;
        let named = written.unheld.into_iter().chain(written.tensors);
        let tensors = named.map(|named| (named.name.clone(), named)).collect();
        Ok((Self { program, input, shape: [height, width, channels], tensors }, written.onnx))
    }

    /// The plan that is run.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// A tensor by its name in the ONNX file.
    pub fn tensor(&self, name: &str) -> Option<&Named> {
        self.tensors.get(name)
    }

    /// The steps of a tensor of bytes.
    pub fn steps_of(&self, name: &str) -> Option<Steps> {
        let levels = self.tensor(name)?.levels;
        let Quantised { scale, zero_point } = Some(levels.steps).filter(|_| levels.width == Width::Eight)?;
        Some(Steps { scale, zero_point: u8::try_from(zero_point + 128).ok()? })
    }

    /// How pictures are prepared: [`preparation`].
    pub fn preparation(&self) -> Preparation {
        preparation(self.input)
    }

    /// Height, width and channels of the picture.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The bytes of the integers, height x width x channels, of a picture of channels x height x width in real numbers; those without sign less 128.
    ///
    /// # Errors
    /// A picture of another size.
    pub fn picture(&self, picture: &[f32]) -> Result<Vec<i8>> {
        let [height, width, channels] = self.shape;
        let area = height * width;
        ensure!(
            picture.len() == area * channels,
            "expected {channels} x {height} x {width} numbers, found {}",
            picture.len()
        );
        Ok(self.input.bytes((0..picture.len()).map(|at| picture[at % channels * area + at / channels])))
    }

    /// The tensors of these names for a picture of channels x height x width in real numbers: the numbers that their integers stand for.
    ///
    /// # Errors
    /// A picture of another size, or a name that is not known.
    pub fn compute(&self, picture: &[f32], names: &[String]) -> Result<Vec<Vec<f32>>> {
        let input = self.picture(picture)?;
        let wanted: Vec<&Named> = names
            .iter()
            .map(|name| self.tensor(name).with_context(|| format!("no tensor \"{name}\"")))
            .collect::<Result<_>>()?;
        let mut found: Vec<Vec<f32>> = vec![Vec::new(); wanted.len()];
        self.program.run(&input, |tensor, integers| {
            for (named, to) in wanted.iter().zip(&mut found).filter(|(named, _)| named.tensor == tensor) {
                *to = named.real(integers);
            }
        })?;
        Ok(found)
    }
}

/// How pictures are prepared, as scale and zero point of the input say: the smallest and the largest integer stand for the ends of a usual range, and the integers are
/// the pixels less 128, as boards compute them. Those of 16 bits reach as far below 0 as above.
pub fn preparation(input: Levels) -> Preparation {
    let (low, high) = input.reach();
    if input.width == Width::Sixteen {
        return of_sixteen_bits(high);
    }
    let Quantised { scale, zero_point } = input.steps;
    let near = |real: f32, end: f32, span: f32| (real - end).abs() <= 0.02 * span;
    let range =
        RANGES.iter().find(|(_, least, most)| near(low, *least, most - least) && near(high, *most, most - least));
    let why = match range {
        Some((name, ..)) => format!("its steps reach over {name}"),
        None => format!(
            "its steps reach from {low:.3} to {high:.3}, which is no usual range: --preset, or --mean and --std, say another preparation"
        ),
    };
    Preparation {
        mean: (128 + zero_point) as f32,
        std: 1.0 / scale,
        words: format!("integers of the input are the pixels less 128; {why}"),
    }
}

/// How pictures are prepared for integers of 16 bits, which reach to a number and to its negative.
fn of_sixteen_bits(reach: f32) -> Preparation {
    let near = |end: f32| (reach - end).abs() <= 0.02 * end;
    let bytes = format!("its steps reach from {:.3} to {reach:.3}", -reach);
    let (mean, std, words) = if near(255.0) {
        (0.0, 1.0, format!("{bytes}: pixels from 0 to 255"))
    } else if near(128.0) {
        (128.0, 1.0, format!("{bytes}: pixels from -128 to 127"))
    } else {
        let why = if near(1.0) {
            "as those of pixels from 0 to 1 do, which --mean 0 and --std 1 say"
        } else {
            "and --preset, or --mean and --std, say another preparation"
        };
        (127.5, 127.5 / reach, format!("{bytes}, over which pixels are spread; {why}"))
    };
    Preparation { mean, std, words }
}

impl Named {
    /// The numbers that a tensor's integers stand for, of their bytes, in the ONNX file's order.
    pub fn real(&self, bytes: &[i8]) -> Vec<f32> {
        let reals = self.levels.reals(bytes);
        if !self.channels_first {
            return reals;
        }
        let (channels, area) = (self.shape[1], self.shape[2] * self.shape[3]);
        let picture = |reals: &[f32]| -> Vec<f32> {
            (0..reals.len()).map(|at| reals[at % area * channels + at / area]).collect()
        };
        reals.chunks_exact(channels * area).flat_map(picture).collect()
    }
}
