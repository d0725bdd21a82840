//! `decomcam firmware`.

use super::headings::{ADVANCED, METHOD, MODEL, OUTPUT};
use super::model::{ModelArgs, OnnxArgs, size};
use super::output::{QuietArgs, print, wrote};
use super::values::FitArg;
use anyhow::Result;
use clap::Args;
use decomcam::board::firmware::{self, Wanted};
use decomcam::files::{self, Files};
use decomcam::owned::Inputs;
use decomcam::{Photo, Size};
use std::path::PathBuf;

/// What the end of `firmware --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam firmware person_detect.tflite --photo photo.jpg
      For a network that TensorFlow Lite Micro or CMSIS-NN runs: why/why.c, why/why.h, why/why.rs and a self-test.
  decomcam firmware person_detect.tflite --photo photo.jpg --network --out board/src
      The whole network as well, for decomcam-int8.";

/// Arguments of `firmware`.
#[derive(Debug, Args)]
pub struct FirmwareArgs {
    /// An int8 network of TensorFlow Lite, or an ONNX file
    #[arg(value_name = "MODEL.tflite|.onnx")]
    pub model: String,
    /// The photo of the self-test [default: noise]
    #[arg(long, value_name = "PHOTO", help_heading = METHOD)]
    pub photo: Option<PathBuf>,
    /// The layer; it has to be the one that the network averages [default: that one]
    #[arg(long, value_name = "NAME", help_heading = METHOD)]
    pub layer: Option<String>,
    /// Q, the number of parts [default: 10]
    #[arg(long, value_name = "Q", help_heading = METHOD)]
    pub components: Option<usize>,
    /// P, the number of channels that are decomposed, those with the largest weights [default: 100]
    #[arg(long, value_name = "P", help_heading = METHOD)]
    pub channels: Option<usize>,
    /// Also write the whole network as tables for decomcam-int8; for .tflite files
    #[arg(long, help_heading = OUTPUT)]
    pub network: bool,
    /// The directory for the files
    #[arg(short, long, value_name = "DIR", default_value = "why", help_heading = OUTPUT)]
    pub out: PathBuf,
    /// How much is said.
    #[command(flatten)]
    pub quiet: QuietArgs,
    /// Height and width of the network's input [default: the model's own]
    #[arg(long, value_name = "PX|HxW", help_heading = MODEL, value_parser = size)]
    pub size: Option<Size>,
    /// How the photo is made to fit the input [default: the model's own]
    #[arg(long, value_enum, help_heading = MODEL)]
    pub fit: Option<FitArg>,
    /// With --fit crop: pixels of the input that are cut off the shorter side as well, both ends together [default: the model's own]
    #[arg(long, value_name = "PX", help_heading = ADVANCED, hide_short_help = true, value_parser = clap::value_parser!(u16).range(..=2048))]
    pub margin: Option<u16>,
    /// What an ONNX file does not say.
    #[command(flatten)]
    pub onnx: OnnxArgs,
}

/// Writes the firmware.
pub fn run(args: &FirmwareArgs) -> Result<()> {
    files::prepare_directory(&args.out)?;
    let photo = args.photo.as_deref().map(Photo::open).transpose()?;
    let model = ModelArgs {
        model: args.model.clone(),
        size: args.size,
        fit: args.fit,
        margin: args.margin,
        faithful: false,
        threads: None,
        onnx: args.onnx.clone(),
    };
    let session = model.open(args.layer.as_deref(), true, args.quiet.quiet)?;
    let mut wanted = Wanted::new();
    wanted.layer = args.layer.as_deref();
    wanted.channels = args.channels;
    wanted.components = args.components;
    wanted.network = args.network;
    wanted.photo = photo.as_ref();
    let firmware = firmware::write(&session, &wanted)?;
    let inputs = Inputs::new(model.files().chain(args.photo.as_deref()));
    // The header is the library's own, which bears no mark.
    let mut files = Files::new(&args.out).sparing(inputs).replacing(["decomcam.h"]);
    for (name, bytes) in &firmware.files {
        files.add(name, |out| out.write_all(bytes))?;
    }
    let written = files.publish()?;
    if args.quiet.quiet { Ok(()) } else { print(&format!("{}{}", firmware.summary, wrote(&written))) }
}
