//! Explanations on boards: the memory that they need, recordings that a board computes again, and frames that a board sends.

pub mod budget;
pub mod capsule;
pub mod frame;
