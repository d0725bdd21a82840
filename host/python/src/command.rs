//! The command `decomcam`, for the console script that `pip install` puts on the path: the very files of the binary.

use pyo3::prelude::*;
use std::ffi::OsString;

#[path = "../../src/cli/mod.rs"]
mod cli;

/// Runs the command with these arguments, the program's name first, and returns its exit code.
#[pyfunction]
pub fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| cli::main(arguments))
}
