//! Sums with one fixed order of operations: what a program on a desktop uses where its numbers must have the bits of a board's.
//!
//! Sums run over eight independent lanes: element `i` goes to lane `i % 8`, and the lanes are added as a tree. A compiler may put the lanes into vector
//! registers of any width, or into none: the additions, and so the bits, are the same.

pub use crate::maths::{dot, mean, sum};
