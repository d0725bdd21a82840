//! The model and how it is run.

use super::misused;
use super::output::progress_bar;
use super::values::{FitArg, PresetArg};
use anyhow::Result;
use clap::Args;
use decomcam::model::ModelOptions;
use decomcam::{Session, SessionOptions, Size};
use std::path::PathBuf;

/// The model and how it is run.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A bundled model's name, a directory with a model.toml, or a classifier's ONNX file
    #[arg(long, value_name = "NAME|DIR|FILE", default_value = "lite")]
    pub model: String,
    /// Side of the network's input, in pixels [default: the model's own]
    #[arg(long, value_name = "PX")]
    pub size: Option<usize>,
    /// How the photo is made to fit the network's square input [default: the model's own]
    #[arg(long, value_enum)]
    pub fit: Option<FitArg>,
    /// With crop: pixels of the input cut off in total along the shorter side, beyond the square [default: the model's own]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u16).range(..=2048))]
    pub margin: Option<u16>,
    /// Round activations as an integer device does, instead of only clamping them: slower
    #[arg(long)]
    pub faithful: bool,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// What an ONNX file does not say.
    #[command(flatten)]
    pub onnx: OnnxArgs,
}

/// What an ONNX file without a manifest does not say.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for an ONNX file without a model.toml")]
pub struct OnnxArgs {
    /// Names of the classes, one a line [default: their numbers]
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// How the network wants its pictures
    #[arg(long, value_enum)]
    pub preset: Option<PresetArg>,
    /// Mean of red, green and blue on a scale of 0 to 1, such as 0.485,0.456,0.406 [default: the preset's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1..=3)]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of red, green and blue on a scale of 0 to 1 [default: the preset's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1..=3)]
    pub std: Option<Vec<f32>>,
    /// The output that scores the classes [default: the one of 1 x classes]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
}

/// One number for all colours, or three; another count ends the program as clap does.
fn levels(name: &str, given: Option<&[f32]>) -> Option<[f32; 3]> {
    match given? {
        &[grey] => Some([grey; 3]),
        &[red, green, blue] => Some([red, green, blue]),
        other => {
            let found = other.len();
            misused(format_args!("{name}: expected one number, or three for red, green and blue; found {found}"))
        }
    }
}

impl ModelArgs {
    /// Opens the model, with a progress bar; `layer` is the one that will be explained.
    pub fn open(&self, layer: Option<&str>) -> Result<Session> {
        let onnx = &self.onnx;
        let mut model = ModelOptions::new().faithful(self.faithful);
        model.labels.clone_from(&onnx.labels);
        model.preset = onnx.preset.map(|preset| preset.0);
        model.mean = levels("--mean", onnx.mean.as_deref());
        model.std = levels("--std", onnx.std.as_deref());
        model.output.clone_from(&onnx.output);
        model.layer = layer.map(str::to_owned);
        let mut options = SessionOptions::new().model(model);
        options.size = self.size.map(Size::square);
        options.fit = self.fit.map(|fit| fit.0);
        options.margin = self.margin.map(usize::from);
        options.threads = self.threads.map(usize::from);
        Ok(Session::open_with(&self.model, &options)?.watching(progress_bar()))
    }
}
