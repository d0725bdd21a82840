//! Int8 networks of TensorFlow Lite: the very file that is flashed.
//!
//! | file | what |
//! |---|---|
//! | [`file`] | the bytes, as tensors and operators |
//! | [`program`] | the operators in terms of [`decomcam_int8`], which computes what a board computes, bit for bit |
//! | [`arena`] | where each tensor lies |

pub mod arena;
pub mod file;
pub mod names;
pub mod program;

pub use file::{File, is_one};
pub use program::Program;
