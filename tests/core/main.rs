//! The core's tests: a module for each source file that can be tested on its own, `stages` for those along the path of the data, and `golden` for the
//! whole of it on real activations. One program, so that it is linked once.

mod cams;
mod capsule;
mod decompose;
mod draw;
mod environment;
#[cfg(feature = "capi")]
mod ffi;
mod frame;
mod golden;
#[cfg(feature = "capi")]
mod hostile;
mod scales;
mod sides;
mod stages;
mod svd;
