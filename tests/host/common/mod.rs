//! What the host's tests share: the repository's files, `run` to run the command, `schema` to check the JSON that it writes, [`random`] for numbers,
//! [`towers`] for networks.

// Without the command, what reads its files has no use.
#![cfg_attr(not(feature = "cli"), allow(dead_code))]

pub mod animation;
#[cfg(feature = "cli")]
pub mod measure;
pub mod random;
#[cfg(feature = "cli")]
pub mod run;
#[cfg(feature = "cli")]
pub mod schema;
pub mod towers;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The photo of a cat, 451 x 300 pixels.
pub fn cat() -> PathBuf {
    root("tests/photos/chelsea.png")
}

/// A JSON file.
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The numbers of a key in each of a list's entries.
pub fn numbers(list: &Value, key: &str) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_f64().unwrap()).collect()
}

/// Shape and values of a .npy file of f32.
pub fn npy(path: impl AsRef<Path>) -> (Vec<u64>, Vec<f32>) {
    let file = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

/// The SHA-256 of a file.
pub fn sha256(path: impl AsRef<Path>) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names of the files and folders in a folder, sorted.
pub fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}
