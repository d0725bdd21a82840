//! The plan that `decomcam-int8` runs, as data with a place in the arena for each tensor, and its run.

use anyhow::{Context, Result, ensure};
use decomcam_int8::tables::Table;
use decomcam_int8::{Convolution, Nearest, Network, Place, Work};

/// A network that `decomcam-int8` can run.
#[derive(Debug)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) arena: usize,
    /// For each tensor of the file: its place in the arena and its length; none for constants and for what is not computed.
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
    pub(super) work: Work<'static>,
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
    pub(super) multipliers: Vec<i32>,
    pub(super) shifts: Vec<i8>,
    pub(super) table: Option<Box<Table>>,
    pub(super) rows: Vec<i32>,
    pub(super) columns: Vec<i32>,
}

/// What a [`Work::Table`] holds before it borrows its own.
pub(super) static NO_TABLE: Table = [0; 256];

impl Step {
    pub(super) fn operator(&self) -> decomcam_int8::Operator<'_> {
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
