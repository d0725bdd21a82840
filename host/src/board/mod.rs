//! Explanations on boards: the memory that they need, and recordings that a board computes again.

pub mod budget;
pub mod capsule;
