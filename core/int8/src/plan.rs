//! A network as borrowed data: operators over one arena of bytes.

use crate::arithmetic::{Arithmetic, Softmax};
use crate::convolution::Convolution;
use crate::moves::{Bilinear, Move, Nearest};
use crate::pool::{Mean, Pool};
use crate::tables::Table;

/// The most numbers that a window, and the most bytes that a tensor or the arena may have: indices then fit 32 bits on every board.
pub const LARGEST: usize = 1 << 30;

/// Why a network cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator of this number, counted from 0, does not fit together: lengths that contradict each other, or what is out of range.
    Operator(usize),
    /// The operator of this number reads or writes outside the arena, or writes over what it reads.
    Place(usize),
    /// The arena given is smaller than the network's.
    Arena,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Operator(at) => write!(out, "operator {at} does not fit together"),
            Self::Place(at) => write!(out, "operator {at} lies outside the arena or writes over what it reads"),
            Self::Arena => out.write_str("the arena is smaller than the network's"),
        }
    }
}

impl core::error::Error for Fault {}

/// Where a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the arena, from this byte on.
    Arena(usize),
    /// Elsewhere: it never changes.
    Constant(&'a [i8]),
}

impl Place<'_> {
    /// What an operator with one input has as its second.
    pub const NONE: Place<'static> = Place::Constant(&[]);
}

/// One step of a network; `W` is [`int16::Work`](crate::int16::Work) in networks of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operator<'a, W = Work<'a>> {
    /// What it reads.
    pub inputs: [Place<'a>; 2],
    /// The first byte in the arena that it writes.
    pub output: usize,
    /// What it does.
    pub work: W,
}

/// How an operator computes, from bytes to bytes.
pub trait Kernel {
    /// How many bytes it reads from each input and writes, at most [`LARGEST`]. None if it does not fit together.
    fn bytes(&self) -> Option<([usize; 2], usize)>;

    /// Computes the output from as many bytes as [`Kernel::bytes`] says. None if there are others.
    fn run(&self, first: &[i8], second: &[i8], output: &mut [i8]) -> Option<()>;
}

/// What an operator does with numbers of 8 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work<'a> {
    /// Conv2D and FullyConnected.
    Convolution(Convolution<'a>),
    /// DepthwiseConv2D.
    Depthwise(Convolution<'a>),
    /// AveragePool2D, half away from zero.
    AveragePool(Pool),
    /// MaxPool2D.
    MaxPool(Pool),
    /// Mean over the middle of three axes.
    Mean(Mean),
    /// Add, Sub and Mul.
    Arithmetic(Arithmetic),
    /// A function of each number.
    Table {
        /// How many numbers.
        length: usize,
        /// Output by input plus 128.
        table: &'a Table,
    },
    /// Softmax over the last axis.
    Softmax(Softmax),
    /// A number, over and over.
    Fill {
        /// How many.
        length: usize,
        /// Which.
        value: i8,
    },
    /// A tensor's numbers to other places.
    Move(Move),
    /// ResizeBilinear.
    Bilinear(Bilinear),
    /// ResizeNearestNeighbor.
    Nearest(Nearest<'a>),
}

impl Kernel for Work<'_> {
    fn bytes(&self) -> Option<([usize; 2], usize)> {
        // Numbers are bytes.
        let ([first, second], output) = match self {
            Self::Convolution(work) => work.numbers(false)?,
            Self::Depthwise(work) => work.numbers(true)?,
            Self::AveragePool(work) | Self::MaxPool(work) => work.numbers()?,
            Self::Mean(work) => work.numbers::<i8>()?,
            Self::Arithmetic(work) => work.numbers()?,
            Self::Table { length, .. } => ([*length, 0], *length),
            Self::Softmax(work) => work.numbers()?,
            Self::Fill { length, .. } => ([0, 0], *length),
            Self::Move(work) => work.numbers()?,
            Self::Bilinear(work) => work.numbers()?,
            Self::Nearest(work) => work.numbers()?,
        };
        (first.max(second).max(output) <= LARGEST).then_some(([first, second], output))
    }

    fn run(&self, first: &[i8], second: &[i8], output: &mut [i8]) -> Option<()> {
        match self {
            Self::Convolution(work) => work.run(first, output),
            Self::Depthwise(work) => work.run_depthwise(first, output),
            Self::AveragePool(work) => work.run_average(first, output),
            Self::MaxPool(work) => work.run_max(first, output),
            Self::Mean(work) => work.run::<i8>(first, output),
            Self::Arithmetic(work) => work.run(first, second, output),
            Self::Table { table, .. } => {
                for (to, from) in output.iter_mut().zip(first) {
                    *to = *table.get((i16::from(*from) + 128) as usize)?;
                }
                Some(())
            }
            Self::Softmax(work) => work.run(first, output),
            Self::Fill { value, .. } => {
                output.fill(*value);
                Some(())
            }
            Self::Move(work) => work.run::<i8>(first, output),
            Self::Bilinear(work) => work.run(first, output),
            Self::Nearest(work) => work.run::<i8>(first, output),
        }
    }
}

/// The product of lengths, none of them zero, up to [`LARGEST`].
pub(crate) fn volume(lengths: &[usize]) -> Option<usize> {
    lengths
        .iter()
        .try_fold(1usize, |volume, &length| volume.checked_mul(length).filter(|volume| (1..=LARGEST).contains(volume)))
}

/// A network whose operators have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a, W = Work<'a>> {
    operators: &'a [Operator<'a, W>],
    arena: usize,
}

impl<'a, W: Kernel> Network<'a, W> {
    /// Checks a network whose arena has so many bytes.
    ///
    /// # Errors
    /// The first operator that does not fit together or leaves the arena.
    pub fn new(operators: &'a [Operator<'a, W>], arena: usize) -> Result<Self, Fault> {
        if arena > LARGEST {
            return Err(Fault::Arena);
        }
        for (at, operator) in operators.iter().enumerate() {
            let (inputs, length) = operator.work.bytes().ok_or(Fault::Operator(at))?;
            let end = operator.output.checked_add(length).filter(|end| *end <= arena).ok_or(Fault::Place(at))?;
            for (place, length) in operator.inputs.iter().zip(inputs) {
                let fits = match place {
                    Place::Constant(bytes) => bytes.len() >= length,
                    Place::Arena(from) => {
                        let to = from.checked_add(length).filter(|to| *to <= arena);
                        to.is_some_and(|to| to <= operator.output || *from >= end)
                    }
                };
                if !fits {
                    return Err(Fault::Place(at));
                }
            }
        }
        Ok(Self { operators, arena })
    }

    /// Bytes of the arena.
    pub fn arena(&self) -> usize {
        self.arena
    }

    /// The operators, in their order.
    pub fn operators(&self) -> &'a [Operator<'a, W>] {
        self.operators
    }

    /// Computes the network: its input lies in the arena before, and its output after, at the places that the plan's maker knows.
    ///
    /// # Errors
    /// An arena that is too small; the arena is then left alone.
    pub fn run(&self, arena: &mut [i8]) -> Result<(), Fault> {
        self.run_seeing(arena, |_, _| ())
    }

    /// As [`Network::run`]; `see` is shown the number of each operator and the arena as the operator left it.
    ///
    /// # Errors
    /// Those of [`Network::run`].
    pub fn run_seeing(&self, arena: &mut [i8], mut see: impl FnMut(usize, &[i8])) -> Result<(), Fault> {
        let arena = arena.get_mut(..self.arena).ok_or(Fault::Arena)?;
        for (at, operator) in self.operators.iter().enumerate() {
            let (inputs, length) = operator.work.bytes().ok_or(Fault::Operator(at))?;
            let (first, second, output) = parts(arena, operator, inputs, length).ok_or(Fault::Place(at))?;
            operator.work.run(first, second, output).ok_or(Fault::Operator(at))?;
            see(at, arena);
        }
        Ok(())
    }
}

/// An operator's inputs and output, as slices that do not overlap.
fn parts<'m, W>(
    arena: &'m mut [i8],
    operator: &Operator<'m, W>,
    [first, second]: [usize; 2],
    length: usize,
) -> Option<(&'m [i8], &'m [i8], &'m mut [i8])> {
    let (before, rest) = arena.split_at_mut_checked(operator.output)?;
    let (output, after) = rest.split_at_mut_checked(length)?;
    let (before, after): (&[i8], &[i8]) = (before, after);
    let end = operator.output.checked_add(length)?;
    let slice = |place: Place<'m>, length: usize| match place {
        Place::Constant(bytes) => bytes.get(..length),
        Place::Arena(from) if from < operator.output => before.get(from..from.checked_add(length)?),
        Place::Arena(from) => after.get(from.checked_sub(end)?..)?.get(..length),
    };
    let [one, two] = operator.inputs;
    // An operator of one input may have any second one.
    let two = if second == 0 { &[][..] } else { slice(two, second)? };
    let one = if first == 0 { &[][..] } else { slice(one, first)? };
    Some((one, two, output))
}
