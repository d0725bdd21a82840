//! The host's tests: one program, its modules named after the rooms of `host/src` that they test.

mod common;

mod animation;
mod dataset;
mod draw;
mod explain;
mod house;
mod methods;
mod metrics;
mod onnx;
mod photo;
mod questions;
mod score;
mod session;
mod tflite;

// What runs the command.
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod compare;
#[cfg(feature = "cli")]
mod eval;
#[cfg(feature = "cli")]
mod frames;
#[cfg(all(feature = "cli", feature = "hub", unix))]
mod hub;
#[cfg(feature = "cli")]
mod many;
#[cfg(feature = "cli")]
mod pool;
#[cfg(feature = "cli")]
mod report;
#[cfg(feature = "cli")]
mod schemas;
#[cfg(all(feature = "cli", unix))]
mod snapshots;
#[cfg(all(feature = "cli", feature = "tokenizers"))]
mod text;
