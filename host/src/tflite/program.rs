//! The plan that `decomcam-int8` runs, as data with a place in the arena for each tensor, and its run.

use anyhow::{Context, Result, ensure};
use decomcam_int8::tables::Table;
use decomcam_int8::{Convolution, Nearest, Network, Place, Work, int16};

/// A network that `decomcam-int8` can run.
#[derive(Debug)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) arena: usize,
    /// For each tensor of the file: its place in the arena and its bytes; none for constants and for what is not computed.
    pub(super) places: Vec<Option<(usize, usize)>>,
    /// Tensors of the file, each with the number of steps after which it is whole.
    pub(super) shown: Vec<(usize, usize)>,
    pub(super) input: usize,
}

/// A kernel's work with its numbers.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) inputs: [Source; 2],
    /// First the number of the storage, in the end its place.
    pub(super) output: usize,
    pub(super) work: int16::Work<'static>,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Source {
    None,
    /// First the number of the storage, in the end its place.
    Arena(usize),
    Constant(Vec<i8>),
}

/// What a [`Work`] borrows.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) weights: Vec<i8>,
    pub(super) bias: Vec<i32>,
    pub(super) wide_bias: Vec<i64>,
    pub(super) multipliers: Vec<i32>,
    pub(super) shifts: Vec<i8>,
    pub(super) table: Option<Box<Table>>,
    pub(super) rows: Vec<i32>,
    pub(super) columns: Vec<i32>,
}

/// What a [`Work::Table`] holds before it borrows its own.
pub(super) static NO_TABLE: Table = [0; 256];

impl Step {
    pub(super) fn operator(&self) -> decomcam_int8::Operator<'_, int16::Work<'_>> {
        let Data { weights, bias, wide_bias, multipliers, shifts, table, rows, columns } = &self.data;
        let wide = |work: Convolution<'static, i16, i64>| Convolution {
            weights,
            bias: wide_bias,
            multipliers,
            shifts,
            ..work
        };
        let work = match self.work {
            int16::Work::Eight(work) => match work {
                Work::Convolution(work) => {
                    Work::Convolution(Convolution { weights, bias, multipliers, shifts, ..work })
                }
                Work::Depthwise(work) => Work::Depthwise(Convolution { weights, bias, multipliers, shifts, ..work }),
                Work::Table { length, .. } => Work::Table { length, table: table.as_deref().unwrap_or(&NO_TABLE) },
                Work::Nearest(work) => Work::Nearest(Nearest { rows, columns, ..work }),
                other => other,
            }
            .into(),
            int16::Work::Convolution(work) => int16::Work::Convolution(wide(work)),
            int16::Work::Depthwise(work) => int16::Work::Depthwise(wide(work)),
            int16::Work::NarrowConvolution(work) => {
                int16::Work::NarrowConvolution(Convolution { weights, bias, multipliers, shifts, ..work })
            }
            int16::Work::Nearest(work) => int16::Work::Nearest(Nearest { rows, columns, ..work }),
            other => other,
        };
        let [first, second] = &self.inputs;
        decomcam_int8::Operator { inputs: [first.place(), second.place()], output: self.output, work }
    }
}

/// An operator without numbers of 16 bits.
fn eight_bits<'p>(operator: decomcam_int8::Operator<'p, int16::Work<'p>>) -> Option<decomcam_int8::Operator<'p>> {
    let decomcam_int8::Operator { inputs, output, work } = operator;
    match work {
        int16::Work::Eight(work) => Some(decomcam_int8::Operator { inputs, output, work }),
        _ => None,
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
    /// Bytes of the arena.
    pub fn arena(&self) -> usize {
        self.arena
    }

    /// The operators, as the crate takes them.
    pub fn operators(&self) -> Vec<decomcam_int8::Operator<'_, int16::Work<'_>>> {
        self.steps.iter().map(Step::operator).collect()
    }

    /// The operators of a network that has no numbers of 16 bits; of another none.
    pub fn operators_of_bytes(&self) -> Option<Vec<decomcam_int8::Operator<'_>>> {
        self.operators().into_iter().map(eight_bits).collect()
    }

    /// The tensor that takes the picture: the file's input, or what a float input is quantised to.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Where a tensor of the file lies in the arena while it is needed, and its bytes.
    pub fn place(&self, tensor: usize) -> Option<(usize, usize)> {
        self.places.get(tensor).copied().flatten()
    }

    /// Tensors of the file, each with the number of operators after which it is whole; the first ones are the input's.
    pub fn shown(&self) -> &[(usize, usize)] {
        &self.shown
    }

    /// Computes the network for the bytes of an input in steps of its quantisation; `see` is shown the bytes of each tensor that is computed, by its number in the
    /// file. Bytes without sign are shown less 128, numbers of 16 bits as two bytes, the lower one first.
    ///
    /// # Errors
    /// An input of another length.
    pub fn run(&self, input: &[i8], mut see: impl FnMut(usize, &[i8])) -> Result<()> {
        let (from, length) = self.place(self.input).context("no input")?;
        ensure!(input.len() == length, "expected an input of {length} bytes, found {}", input.len());
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
