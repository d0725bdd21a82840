//! Running the command and reading what it says: for the tests of it, as a module.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `decomcam ARGS NAME PATH ...`.
pub fn decomcam(args: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_decomcam"));
    command.args(args).stdin(Stdio::null());
    for (name, path) in paths {
        command.arg(name).arg(path);
    }
    command.output().unwrap()
}

/// All that it printed.
pub fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The numbers of a key in each of a list's entries.
pub fn numbers(list: &Value, key: &str) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_f64().unwrap()).collect()
}
