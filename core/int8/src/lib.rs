//! Int8 networks of TensorFlow Lite, run bit for bit as its reference kernels run them: the very integers that a board computes.
//!
//! A [`Network`] is a list of [`Operator`]s over one array of bytes that the caller owns, the arena. The list is made ahead, by a program on a desktop, and lies in
//! flash: where each tensor lies in the arena, weights, multipliers, tables of functions. [`Network::new`] checks all of it once; [`Network::run`] computes.
//!
//! | module | what |
//! |---|---|
//! | [`fixed`] | fixed-point numbers, with gemmlowp's rounding |
//! | [`tables`] | functions of one number, as tables of 256: ReLU, logistic, tanh, hard swish, requantising |
//! | [`plan`] | the network as borrowed data, and its check |
//! | [`number`] | numbers of 8 and of 16 bits in the arena's bytes, and sums of their products |
//! | [`convolution`], [`pool`], [`arithmetic`], [`moves`] | the kernels |
//! | [`int16`] | networks of 16 bits with weights of 8 (int16x8) |
//!
//! Few kernels make many operators: a fully connected layer is a convolution of a column; whatever works on one number is a [`Work::Table`]; concatenation, padding,
//! slices and transposition are [`Work::Fill`] and [`Work::Move`].
//!
//! # Same bits
//! Everything is integers, and sums of products are exact, whatever their order: the compiler may vectorise, and all machines give the same bytes.
//!
//! # No heap, no panic, no unsafe
//! Every length is checked when a [`Network`] is made, and each kernel still asks for its slices: bad data gives a [`Fault`].
//!
//! # Example
//! ```
//! use decomcam_int8::{Network, Operator, Place, Work, tables};
//!
//! // ReLU of three numbers, in steps of 0.1 that begin at -128.
//! let steps = tables::Quantised { scale: 0.1, zero_point: -100 };
//! let relu = tables::relu(steps, steps).unwrap();
//! let operators = [Operator { inputs: [Place::Arena(0), Place::NONE], output: 3, work: Work::Table { length: 3, table: &relu } }];
//! let network = Network::new(&operators, 6).unwrap();
//! let mut arena = [-128, -100, 20, 0, 0, 0];
//! network.run(&mut arena).unwrap();
//! assert_eq!(arena[3..], [-100, -100, 20]);
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]

pub mod arithmetic;
pub mod convolution;
pub mod fixed;
pub mod int16;
pub mod moves;
pub mod number;
pub mod plan;
pub mod pool;
pub mod tables;

pub use arithmetic::{Arithmetic, Combination, Softmax};
pub use convolution::Convolution;
pub use moves::{Bilinear, Move, Nearest};
pub use number::{Number, Sum};
pub use plan::{Fault, Kernel, Network, Operator, Place, Work};
pub use pool::{Mean, Pool};
