//! What turns a picture and a prompt into vectors, and the activations on the way.

pub mod activations;
mod flashed;
mod graph;
pub mod head;
pub mod image;
mod integers;
pub mod text;

pub(crate) use graph::Behind;
