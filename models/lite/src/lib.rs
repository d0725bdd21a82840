//! The model `lite` of [DecomCAM](https://docs.rs/decomcam): its manifest and its files, compiled in.
//!
//! Data only: this crate reads nothing, allocates nothing and knows no format. `decomcam` reads the manifest and runs the two ONNX files; the README
//! says what they compute, how good they are, and how they were built.

#![no_std]

/// The model's name.
pub const NAME: &str = "lite";

/// The manifest, `model.toml`: files with their SHA-256, how a photo is prepared, layers, scores, licences.
pub const MANIFEST: &str = include_str!("../model.toml");

/// The files that the manifest names: name and content.
pub const FILES: &[(&str, &[u8])] = &[
    ("image.onnx", include_bytes!("../image.onnx")),
    ("text.onnx", include_bytes!("../text.onnx")),
    ("vocab.txt", include_bytes!("../vocab.txt")),
    ("classes.txt", include_bytes!("../classes.txt")),
    ("words.txt", include_bytes!("../words.txt")),
];

/// What the model was made from, and the licences of these works.
pub const NOTICE: &str = include_str!("../NOTICE");

#[cfg(test)]
mod tests {
    use super::{FILES, MANIFEST};

    #[test]
    fn every_file_is_named_by_the_manifest() {
        for (name, bytes) in FILES {
            assert!(MANIFEST.split('"').any(|quoted| quoted == *name), "{name}");
            assert!(!bytes.is_empty(), "{name}");
        }
    }
}
