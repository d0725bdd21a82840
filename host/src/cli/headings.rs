//! The sections of every command's help, in the order in which they stand.

/// What the explanation is of.
pub const WHAT: &str = "What to explain";
/// Photos of a data set.
pub const PHOTOS: &str = "Photos and annotations";
/// How it is explained.
pub const METHOD: &str = "Method";
/// What is measured.
pub const METRICS: &str = "Metrics";
/// What is written and printed.
pub const OUTPUT: &str = "Output";
/// Which network, and how it sees photos.
pub const MODEL: &str = "Model";
/// Choices that the defaults make well.
pub const ADVANCED: &str = "Advanced";
/// What an ONNX file alone does not say.
pub const ONNX: &str = "Network without a model.toml";
