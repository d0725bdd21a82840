//! A network that is opened: what a board computes, and the same network in real numbers for its gradients.

use super::file::{File, kind};
use super::float::{self, Named};
use super::options::quantised;
use super::program::Program;
use crate::onnx::quantised::Steps;
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::tables::Quantised;
use std::collections::HashMap;

/// What a board computes with a `.tflite` file, in terms of the ONNX file that has its gradients.
#[derive(Debug)]
pub struct Integers {
    program: Program,
    /// What the picture's integers stand for.
    input: Quantised,
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
                "expected a network of 8-bit integers, found one of float32, input \"{}\"; convert it with a representative data set, or explain its ONNX export",
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
        let input = quantised(tensor)?;
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

    /// The steps of a tensor.
    pub fn steps_of(&self, name: &str) -> Option<Steps> {
        let Quantised { scale, zero_point } = self.tensor(name)?.quantised;
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

    /// The integers, height x width x channels, of a picture of channels x height x width in real numbers; those of bytes without sign less 128.
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
        let integer =
            |at: usize| self.input.step_of(picture[at % channels * area + at / channels]).clamp(-128, 127) as i8;
        Ok((0..picture.len()).map(integer).collect())
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
/// the pixels less 128, as boards compute them.
pub fn preparation(input: Quantised) -> Preparation {
    let Quantised { scale, zero_point } = input;
    let real = |q: i32| (q - zero_point) as f32 * scale;
    let (low, high) = (real(-128), real(127));
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

impl Named {
    /// The numbers that a tensor's integers stand for, in the ONNX file's order.
    pub fn real(&self, integers: &[i8]) -> Vec<f32> {
        let real = |q: i8| (i32::from(q) - self.quantised.zero_point) as f32 * self.quantised.scale;
        if !self.channels_first {
            return integers.iter().copied().map(real).collect();
        }
        let (channels, area) = (self.shape[1], self.shape[2] * self.shape[3]);
        let picture = |integers: &[i8]| -> Vec<f32> {
            (0..integers.len()).map(|at| real(integers[at % area * channels + at / area])).collect()
        };
        integers.chunks_exact(channels * area).flat_map(picture).collect()
    }
}
