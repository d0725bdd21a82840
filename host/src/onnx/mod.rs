//! ONNX networks: read into a graph of floats, inspected, differentiated, cut and shuffled.

pub mod gradient;
pub mod guard;
pub mod inspect;
pub mod layout;
pub mod quantised;
pub mod shuffle;
pub mod validate;
