//! Explanations on boards: what they cost, and recordings that a board computes again.

pub mod budget;
pub mod capsule;
