//! `decomcam inspect`.

use super::output::{print, print_json};
use anyhow::{Context as _, Result};
use clap::Args;
use decomcam::Size;
use decomcam::onnx::inspect;
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
    /// An ONNX file
    #[arg(value_name = "MODEL.onnx")]
    pub file: PathBuf,
    /// Height and width of the network's input, in pixels [default: the file's own, or 224]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(8..=2048))]
    pub size: Option<u16>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks into a network.
pub fn run(args: &InspectArgs) -> Result<()> {
    let named = || args.file.display().to_string();
    let bytes = std::fs::read(&args.file).with_context(|| format!("{}: could not read the file", named()))?;
    let size = args.size.map(|size| Size::square(usize::from(size)));
    let look = inspect::Look { folder: args.file.parent(), size, ..Default::default() };
    let found = inspect::inspect(&bytes, &look).with_context(named)?;
    if args.json { print_json(&found) } else { print(&found.table()) }
}
