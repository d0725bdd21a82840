//! `decomcam inspect`.

use super::output::{print, print_json};
use anyhow::{Context as _, Result};
use clap::Args;
use decomcam::onnx::inspect;
use decomcam::{Size, tflite};
use std::path::PathBuf;

/// What the end of `inspect --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam inspect resnet50.onnx
      Which layers can be explained, and which one is the default?
  decomcam explain photo.jpg -m resnet50.onnx --layer NAME
      Explain one of them.";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An ONNX file, or a network of TensorFlow Lite, of integers or of floats
    #[arg(value_name = "MODEL.onnx|.tflite")]
    pub file: PathBuf,
    /// Height and width of the network's input, in pixels [default: the file's own, or 224]
    #[arg(long, value_name = "PX|HxW", value_parser = super::model::size)]
    pub size: Option<Size>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks into a network.
pub fn run(args: &InspectArgs) -> Result<()> {
    let named = || args.file.display().to_string();
    let bytes = std::fs::read(&args.file).with_context(|| format!("{}: could not read the file", named()))?;
    let look = inspect::InspectOptions { folder: args.file.parent(), size: args.size, ..Default::default() };
    if tflite::is_one(&bytes) || args.file.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("tflite")) {
        let (found, ..) = tflite::inspect::inspect(&bytes, &look).with_context(named)?;
        return if args.json { print_json(&found) } else { print(&found.table()) };
    }
    let found = inspect::inspect(&bytes, &look).with_context(named)?;
    if args.json { print_json(&found) } else { print(&found.table()) }
}
