//! Networks of integers of TensorFlow Lite, int8 or int16 with weights of int8: the very file that is flashed.
//!
//! | file | what |
//! |---|---|
//! | [`file`](mod@file) | the bytes, as tensors and operators |
//! | [`options`] | options and shapes of operators, for the plan and for the network in real numbers alike |
//! | [`arena`] | where each tensor lies |
//! | [`program`] | the plan as data and its run, in terms of [`decomcam_int8`], which computes what a board computes, bit for bit |
//! | [`planner`] | from a file to its plan: memory and order |
//! | [`layers`], [`moves`], [`functions`] | the steps of each operator |
//! | [`float`] | the same network in real numbers, as ONNX, for gradients |
//! | [`inspect`] | what is in it, in words |
//! | [`head`] | the average and the linear layer at its end, for boards |
//! | [`tables`] | the plan as Rust source, for boards |
//! | [`integers`] | both together: what the rest of the program asks |

pub mod arena;
pub mod file;
pub mod float;
pub mod functions;
pub mod head;
pub mod inspect;
pub mod integers;
pub mod layers;
pub mod moves;
pub mod names;
pub mod options;
pub mod planner;
pub mod program;
pub mod tables;

pub use file::{File, is_one};
pub use integers::{Integers, Preparation};
pub use program::Program;
