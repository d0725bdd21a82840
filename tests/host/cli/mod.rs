//! The command line from end to end, one command a file: what it writes, what it says, and every kind of bad input.

mod bench;
mod budget;
mod capture;
mod explain;
mod firmware;
mod manual;
mod misuse;
mod models;
mod owned;
mod questions;
mod rank;
#[cfg(target_os = "linux")]
mod threads;
mod unused;

use crate::common::cat;
use crate::common::run::{Run, decomcam};

/// A small input: enough for parts, and quick.
const SIZE: [&str; 2] = ["--size", "96"];

/// `explain` on the cat at a small size, with these arguments more.
fn explain(more: &[&str]) -> Run {
    decomcam(["explain"]).arg(cat()).args(SIZE).args(more)
}
