//! Explain a vision-language model's score of a photo, part by part.

pub mod args;
pub mod board;
pub mod compare;
pub mod dataset;
pub mod draw;
pub mod encoders;
pub mod error;
pub mod eval;
pub mod explain;
pub mod files;
pub mod hash;
pub mod methods;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod photo;
pub mod pool;
pub mod progress;
pub mod report;
pub mod score;
pub mod size;
pub mod stats;
pub mod timings;
pub mod workers;

pub use error::{Error, Result};
pub use size::Size;
