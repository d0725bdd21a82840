//! Explanations on boards: the memory that they need, recordings that a board computes again, frames that a board sends, and what is linked so that a board explains
//! a network by itself.

pub mod budget;
pub mod capsule;
pub mod firmware;
pub mod frame;
