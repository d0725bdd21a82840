//! ONNX networks: read into a graph of floats, inspected, differentiated, cut and shuffled, and run by kernels of their own.

pub mod constants;
pub mod ends;
pub mod evidence;
pub mod exact;
mod extent;
pub mod gradient;
pub mod guard;
pub mod head;
pub mod inspect;
pub mod kernels;
pub mod layout;
pub mod likeness;
mod mended;
pub mod normal;
mod operators;
pub mod path;
pub mod places;
pub mod quantised;
pub mod running;
mod sharing;
pub mod shuffle;
pub mod validate;
