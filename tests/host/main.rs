//! The host's tests: one program, its modules named after the rooms of `host/src` that they test.

mod common;

mod draw;
mod methods;
mod metrics;
mod onnx;
mod photo;
mod pool;

// What runs the command.
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod eval;
#[cfg(all(feature = "cli", unix))]
mod snapshots;
