//! Explain a vision-language model's score of a photo, part by part.

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
pub mod program;
pub mod progress;
pub mod random;
pub mod report;
pub mod score;
pub mod session;
pub mod size;
pub mod stats;
pub mod timings;
pub mod workers;

pub use error::{Error, Result};
pub use explain::{Explanation, Integrate, Options};
pub use methods::{Method, Recipe};
pub use photo::Photo;
pub use score::{Prompt, Question};
pub use session::{Session, SessionOptions};
pub use size::Size;
